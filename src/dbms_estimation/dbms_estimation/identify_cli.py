# SPDX-License-Identifier: Apache-2.0
"""`./dbms identify`: a cell file from laboratory measurements."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dbms_pack.errors import PackError
from dbms_pack.loader import load_cell_text

from .identification.cell_file import cell_text
from .identification.identify import Identified, identify, matched
from .identification.laboratory import (
    LaboratoryError,
    Layout,
    read_layout,
    read_measurement,
    read_ocv_table,
)
from .identification.ocv import (
    Leg,
    Ocv,
    counted_from_empty,
    from_measurements,
    from_rests,
    from_table,
    rising,
    slow_legs,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Identify a cell; return 1 if a file cannot be used."""
    arguments = _parser().parse_args(argv)
    try:
        layout = read_layout(arguments.columns)
        ocv, legs = _ocv(arguments.ocv, layout)
        pulses = [read_measurement(path, layout) for path in arguments.pulse]
        cycles = [read_measurement(path, layout) for path in arguments.cycle]
        if layout.ocv_matched:
            ocv = matched(ocv, pulses)
        if not pulses and not cycles:
            raise LaboratoryError('give at least one --pulse or --cycle file')
        found = identify(ocv, pulses, cycles, layout, legs)
        text = cell_text(arguments.cell, layout, found)
        load_cell_text(text, arguments.output)  # what is written can be read
        if arguments.report:
            from .identification.report import write_report

            write_report(found, arguments.cell, arguments.report)
        arguments.output.write_text(text, encoding='utf-8')
    except (LaboratoryError, PackError) as error:
        print(f'identify: {error}', file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f'identify: --report needs {error.name}; ./dbms test installs it', file=sys.stderr)
        return 1
    except OSError as error:
        print(f'identify: {error.filename}: {error.strerror}', file=sys.stderr)
        return 1
    _summary(found, arguments.output)
    return 0


def _ocv(paths: Sequence[Path], layout: Layout) -> tuple[Ocv, tuple[Leg, ...]]:
    legs: tuple[Leg, ...] = ()
    if layout.ocv_table:
        ocv = from_table(*read_ocv_table(paths[0], layout), layout.capacity or 1.0)
    elif layout.ocv_from_rests:
        ocv = from_rests(read_measurement(paths[0], layout))
    else:
        measurements = [read_measurement(path, layout) for path in paths]
        ocv, legs = from_measurements(measurements), slow_legs(measurements)
        if not layout.hysteresis:  # a charge takes in more than comes out: its SOC is another
            ocv = replace(ocv, voltage=rising(ocv.voltage - ocv.gap), gap=0.0 * ocv.gap)
    if layout.capacity and legs:
        return counted_from_empty(ocv, legs, layout.capacity)
    return (replace(ocv, capacity=layout.capacity) if layout.capacity else ocv), legs


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='./dbms identify', description='Make a cell file from laboratory measurements.'
    )
    parser.add_argument('--cell', required=True, metavar='NAME')
    parser.add_argument(
        '--columns',
        type=Path,
        required=True,
        metavar='FILE.yaml',
        help='what the columns mean; examples in config/laboratories',
    )
    for name, text in (
        ('ocv', 'slow discharge and charge'),
        ('pulse', 'pulses and rests'),
        ('cycle', 'any other load, from full'),
    ):
        parser.add_argument(
            f'--{name}', type=Path, nargs='+', default=[], required=name == 'ocv', help=text
        )
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FILE.yaml')
    parser.add_argument('--report', type=Path, metavar='FOLDER', help='plots and residuals')
    return parser


def _summary(found: Identified, output: Path) -> None:
    print(f'{output}: {found.ocv.capacity:.4g} Ah')
    for place, error in zip(found.errors.temperatures, found.errors.voltage, strict=True):
        capacity = found.capacities.get(place)
        more = f', capacity {capacity:.3f} Ah' if capacity else ''
        print(f'  {place:5.0f} degC: error {1e3 * error:.1f} mV{more}')
