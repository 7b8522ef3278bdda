# SPDX-License-Identifier: Apache-2.0
"""Fixtures of pytest for replay tests of a pack of one's own.

pytest finds them by the entry point of dbms_bringup; nothing has to be imported:

    def test_last_summer_still_trips(battery_replay):
        outcome = battery_replay('summer.mcap', pack='my_pack.yaml')
        assert outcome.trips == ['CELL_OVERVOLTAGE m1:3']
        outcome.must_meet('summer.yaml')

Paths are relative to the file of the test.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# What is not needed is not imported: pytest loads this file in runs of any project.


@dataclass(frozen=True)
class Replayed:
    """What came of a replay; `outcome` has all of it."""

    outcome: Any  # dbms_replay.outcome.Outcome
    folder: Path

    @property
    def trips(self) -> list[str]:
        """Faults of level MSL as 'NAME place', in the order they came."""
        events = self.outcome.events
        return [f'{e.what} {e.place}' for e in events if e.kind == 'fault' and e.level == 'MSL']

    @property
    def states(self) -> list[str]:
        """States of the strings as 'place STATE', in the order they came."""
        return [f'{e.place} {e.what}' for e in self.outcome.events if e.kind == 'state']

    def when(self, what: str, place: str = '') -> float:
        """Return when a fault came or a state was reached first, in s; AssertionError if never."""
        for event in self.outcome.events:
            if event.what == what and event.kind != 'over' and place in ('', event.place):
                return float(event.time)
        raise AssertionError(f'{what} {place}'.strip() + ' never came')

    def value(self, name: str, at: float) -> float:
        """Return a number of the pack ('soc', 'charge_limit', ...) as it was at a time in s."""
        series = self.outcome.series
        before = series.time.searchsorted(at, side='right') - 1
        assert before >= 0, f'nothing is known at {at:g} s'
        return float(series[name][before])

    def must_meet(self, file: str | Path) -> None:
        """Fail, in words, with what is not as a file of expectations says."""
        from dbms_replay import expect

        differences = expect.compare(expect.load(self.folder / file), self.outcome)
        if differences:
            text = '\n'.join(str(one) for one in differences)
            pytest.fail(f'{file}: not as expected\n{text}', pytrace=False)


@pytest.fixture
def battery_replay(request: pytest.FixtureRequest) -> Callable[..., Replayed]:
    """Replay a recording: `battery_replay(bag, pack=None, until=inf, **options of Replay)`."""
    folder = Path(request.path).parent

    def replay(
        bag: str | Path, pack: Any = None, *, until: float = float('inf'), **options: Any
    ) -> Replayed:
        from dbms_replay.bags import Bag
        from dbms_replay.replay import Replay

        # A file beside the test comes first; anything else is the name of a shipped pack.
        if isinstance(pack, str) and (folder / pack).exists():
            pack = folder / pack
        return Replayed(Replay(Bag(folder / bag), pack, **options).run(until), folder)

    return replay


@pytest.fixture
def battery_bag(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Convert a CAN log or CSV file: `battery_bag('drive.blf', pack=...)` returns a bag."""
    folder = Path(request.path).parent

    def convert(source: str | Path, pack: str | Path, *options: str) -> Path:
        from dbms_replay.convert_cli import main

        target = tmp_path / f'{Path(source).name}.mcap'
        name = folder / pack if (folder / pack).exists() else pack
        words = [str(folder / source), '--pack', str(name), '-o', str(target), *options]
        assert main(words) == 0, f'{source} was not converted'
        return target

    yield convert
