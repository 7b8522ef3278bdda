# SPDX-License-Identifier: Apache-2.0
"""`./dbms convert`: CAN logs and CSV files as bags."""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import can

from dbms_pack import Pack, PackError, load_pack, paths

from .can_logs import LOGS, LogError, frames_of
from .convert import Converter, ConvertError, play
from .field_csv import FieldError, read_layout, rewrite
from .gvret import is_gvret


def main(argv: Sequence[str] | None = None) -> int:
    """Convert; 0: done, 1: nothing of the pack was in it, 2: it could not be read."""
    value = _parser().parse_args(argv)
    try:
        pack = load_pack(value.pack)
        with tempfile.TemporaryDirectory() as folder:
            inputs = value.inputs
            if value.columns:
                inputs = [_renamed(value, Path(folder))]
            problems: Counter[str] = Counter()
            source = _source(pack, inputs, value.speed, problems)
            converter = Converter(pack, value.output, value.speed)
            try:
                for bus, message in source:
                    converter.feed(bus, message)
            finally:
                refused = converter.close() + problems
    except (ConvertError, FieldError, LogError, PackError) as error:
        print(f'dbms convert: {error}', file=sys.stderr)
        return 2
    print(f'{value.output}: {converter.messages} messages of pack {pack.name}')
    for name, count in sorted(refused.items()):
        print(f'  refused or lost   {count} {name}')
    if not converter.messages:
        print(f'dbms convert: no measurement of pack {pack.name} in it', file=sys.stderr)
    return 0 if converter.messages else 1


def _renamed(value: argparse.Namespace, folder: Path) -> str:
    """Write the CSV file anew by the layout of its columns; return where."""
    if len(value.inputs) != 1:
        raise ConvertError('--columns goes with one CSV file')
    layout = read_layout(paths.find('recordings', value.columns))
    target = folder / 'columns.csv'
    first, count = value.rows
    rewrite(Path(value.inputs[0]), target, layout, first, count)
    return str(target)


def _source(
    pack: Pack, inputs: list[str], speed: float, problems: Counter[str]
) -> Iterable[tuple[str, can.Message]]:
    if len(inputs) == 1 and '=' not in inputs[0]:
        path = Path(inputs[0])
        if not path.exists():
            raise ConvertError(f'{path}: no such file')
        if path.suffix.lower() not in LOGS and not is_gvret(path):
            return play(pack, path, speed)
        if len(pack.buses) > 1:
            raise ConvertError(
                f'pack {pack.name} has the buses {", ".join(pack.buses)}: give BUS=FILE for each'
            )
        return frames_of({next(iter(pack.buses)): path}, problems)
    files = {}
    for word in inputs:
        bus, _, name = word.partition('=')
        if bus not in pack.buses or not name:
            raise ConvertError(f'{word}: BUS=FILE with a bus of {", ".join(pack.buses)}')
        files[bus] = Path(name)
    return frames_of(files, problems)


def _parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(
        prog='./dbms convert',
        description='Make a bag of a CAN log (candump .log, .asc, .blf, .trc, CSV of GVRET) '
        'or of a CSV file with cell voltages, through the checks of the CAN driver.',
    )
    add = words.add_argument
    add('inputs', nargs='+', metavar='[BUS=]FILE', help='a log per bus of the pack, or a CSV file')
    add('--pack', required=True, help='pack file, or name of a shipped one')
    add('-o', '--output', type=Path, required=True, metavar='OUT.mcap')
    add('--columns', metavar='FILE', help='layout of a CSV file with other names: ev_field, ...')
    add('--rows', type=_rows, default=(0, None), metavar='FIRST:COUNT', help='with --columns')
    add('--speed', type=_speed, default=1.0, metavar='N', help='of a CSV file: N times faster')
    return words


def _rows(text: str) -> tuple[int, int | None]:
    first, _, count = text.partition(':')
    if not first.isdigit() or not (count.isdigit() or not count):
        raise argparse.ArgumentTypeError(f'{text!r}: as 1000:200, or 1000')
    return int(first), int(count) if count else None


def _speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.001 <= value <= 10_000.0:
        raise argparse.ArgumentTypeError(f'{text!r}: 0.001 to 10000')
    return value


if __name__ == '__main__':
    sys.exit(main())
