# SPDX-License-Identifier: Apache-2.0
"""What contactors have been through, and when that is what they are made for."""

from collections.abc import Iterable, Iterator

from dbms_pack import Pack

from .contactors import NAMES
from .event_log import WearRow

NEAR = 0.9  # share of the expected life from which on it is told


class Wear:
    """Counts closings and arcs of every contactor of a pack, from those that were kept before."""

    def __init__(self, pack: Pack, kept: Iterable[WearRow]) -> None:
        self._units = {string.name: string.contactors for string in pack.strings}
        self._rows = {(row.string, row.contactor): row for row in kept}
        self._changed: set[tuple[str, str]] = set()

    def _row(self, string: str, contactor: str) -> WearRow:
        known = self._rows.get((string, contactor))
        return known or WearRow(string, contactor, 0, 0, 0.0)

    def moved(self, string: str, contactor: str, closes: bool, share: float) -> None:
        """Count a move; `share`: current that it breaks, in break currents."""
        row = self._row(string, contactor)
        if closes:
            row = row._replace(cycles=row.cycles + 1)
        elif share > 1.0:
            row = row._replace(loaded=row.loaded + 1, arcs=row.arcs + share * share)
        self._keep(row)

    def renew(self, string: str) -> None:
        """Count anew for the contactors of a string that were told and have been replaced."""
        for contactor in NAMES:
            if max(self.spent(string, contactor)) >= NEAR:
                self._keep(WearRow(string, contactor, 0, 0, 0.0))

    def _keep(self, row: WearRow) -> None:
        self._rows[row.string, row.contactor] = row
        self._changed.add((row.string, row.contactor))

    def taken(self) -> list[WearRow]:
        """Return what has changed since the last call."""
        changed, self._changed = self._changed, set()
        return [self._rows[key] for key in sorted(changed)]

    @property
    def changed(self) -> bool:
        """Tell whether there is anything to keep."""
        return bool(self._changed)

    def spent(self, string: str, contactor: str) -> tuple[float, float]:
        """Return the shares of the expected closings and arcs that a contactor has had."""
        unit, row = self._units[string], self._row(string, contactor)
        return row.cycles / unit.expected_cycles, row.arcs / unit.expected_arcs

    def worn(self, string: str) -> str:
        """Say which contactors of a string are near what they are made for or beyond it."""
        said = []
        for contactor in NAMES:
            row = self._row(string, contactor)
            for share, done in zip(
                self.spent(string, contactor),
                (f'closed {row.cycles} times', f'broken {row.arcs:.0f} times its break current'),
                strict=True,
            ):
                if share >= NEAR:
                    said.append(f'{contactor} has {done}, {share:.0%} of what it is made for')
        return '; '.join(said)

    def all_worn(self) -> str:
        """Say the same of all strings."""
        found = ((string, self.worn(string)) for string in self._units)
        return '; '.join(f'string {string}: {worn}' for string, worn in found if worn)

    def told(self) -> Iterator[tuple[str, str]]:
        """Yield name and life of every contactor, for a person."""
        for string, unit in self._units.items():
            for contactor in NAMES:
                row = self._row(string, contactor)
                yield (
                    f'{string} {contactor}',
                    f'{row.cycles} of {unit.expected_cycles:g} closings, '
                    f'{row.loaded} under load, {row.arcs:.1f} of {unit.expected_arcs:g} arcs',
                )
