# SPDX-License-Identifier: Apache-2.0
"""`./dbms estimate`: the SOC over a recording of one cell, by the estimator of the node."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dbms_pack import load_cell
from dbms_pack.errors import PackError
from dbms_pack.model import CellModel

from .offline import Estimate, estimate
from .records import Record, RecordError, read_record, write_columns

LONG = 5000  # rows from which a bar is shown


def main(argv: Sequence[str] | None = None) -> int:
    """Estimate the SOC over a CSV file; return 1 if something is wrong with the files."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.plot:
            from .plots import draw_estimate  # now: before the work, not after it
        record = read_record(arguments.input)
        for written in (arguments.output, arguments.plot):
            if written and written.resolve() == arguments.input.resolve():
                raise RecordError(written, 0, '', 'is the input itself', 'name another file')
        cell = load_cell(arguments.cell)
        result = _estimate(record, cell, arguments.initial_soc)
        write_columns(arguments.output, result.columns(record))
        if arguments.plot:
            draw_estimate(record, result, cell.name, arguments.plot)
    except (RecordError, PackError) as error:
        print(f'estimate: {error}', file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f'estimate: --plot needs {error.name}, which is not installed', file=sys.stderr)
        print('  ./dbms test installs the development tools, it among them', file=sys.stderr)
        return 1
    except OSError as error:
        print(f'estimate: {error.filename}: {error.strerror}', file=sys.stderr)
        return 1
    return _summary(record, result, arguments.output)


def _estimate(record: Record, cell: CellModel, initial_soc: float | None) -> Estimate:
    """Estimate, with a bar on a terminal where it takes some time."""
    if len(record.time) < LONG or not sys.stderr.isatty():
        return estimate(record, cell, initial_soc)
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task('estimating', total=len(record.time))
        return estimate(
            record, cell, initial_soc, progress=lambda k: bar.update(task, completed=k)
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='./dbms estimate',
        description='Estimate the state of charge over a recording of one cell.',
        epilog='INPUT has the columns time_s, current_A (positive while charging), voltage_V and '
        'temperature_degC. A blank field was not measured. OUTPUT has a row for each of its rows.',
    )
    parser.add_argument('input', type=Path, metavar='INPUT.csv')
    parser.add_argument('--cell', required=True, help='cell file, or name of a shipped one')
    parser.add_argument(
        '--initial-soc',
        type=_share,
        metavar='X',
        help='0..1, what the cell is believed to start with; left out: what its voltage says',
    )
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='OUTPUT.csv')
    parser.add_argument('--plot', type=Path, metavar='FILE.png')
    return parser


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f'{text!r} is no number from 0 to 1')
    return value


def _summary(record: Record, result: Estimate, output: Path) -> int:
    """Tell what came out; return 1 if that is nothing."""
    for what, count in sorted(result.refused.items()):
        print(f'estimate: {count} {what}', file=sys.stderr)
    if np.isnan(result.soc[-1]):
        print(
            f'estimate: {output}: no SOC: the recording has no voltage that could be used; '
            '--initial-soc would be a beginning',
            file=sys.stderr,
        )
        return 1
    print(
        f'{output}: {len(record.time)} rows, SOC {result.soc[-1]:.1%} '
        f'+- {result.soc_std[-1]:.1%} at the end'
    )
    return 0
