# SPDX-License-Identifier: Apache-2.0
"""What is reported about buses, modules and strings, as plain values."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from dbms_drivers.assembler import ModuleAssembler
from dbms_drivers.bus import CanLink, LinkState
from dbms_drivers.decoder import BusDecoder
from dbms_drivers.lease import ContactorLease
from dbms_drivers.link import Silence, classify, silence_timeout
from dbms_drivers.statistics import as_dict, total
from dbms_drivers.strings import FEEDBACK_PERIOD, StringTracker

OK, WARN, ERROR = 0, 1, 2  # as in diagnostic_msgs/DiagnosticStatus
RECENT = 3.0  # s, how long a refused frame is worth a warning


@dataclass(frozen=True, slots=True)
class Report:
    """One line of diagnostics."""

    name: str
    level: int
    text: str
    hardware_id: str
    values: Callable[[], dict[str, object]]  # asked for only when it is told


def report_bus(link: CanLink, decoder: BusDecoder, recent: bool, now: float) -> Report:
    """Report on a bus; `recent`: frames were refused since the last report."""
    quiet = now - decoder.last_heard
    if link.state is not LinkState.UP:
        level, text = ERROR, f'{link.state.value}: {link.error}'
    elif quiet > 1.0:
        level, text = ERROR, 'up, but no board speaks'
    elif decoder.statistics.foreign:
        level, text = ERROR, 'another controller commands boards of this pack'
    elif recent:
        level, text = WARN, 'frames are refused'
    else:
        level, text = OK, 'up'
    return Report(
        f'bus {link.bus.name}',
        level,
        text,
        link.bus.channel,
        functools.partial(_bus_values, link, decoder),
    )


def _bus_values(link: CanLink, decoder: BusDecoder) -> dict[str, object]:
    return {
        'state': link.state.value,
        'interface': f'{link.bus.interface} {link.bus.channel}',
        'last error': link.error,
        'frames': link.frames,
        'sent': link.sent,
        'send failures': link.send_failures,
        'late': link.late,
        'times lost': link.losses,
        'handler errors': link.handler_errors,
        **as_dict(total(decoder.sources)),
        **as_dict(decoder.statistics),
    }


def report_module(
    assembler: ModuleAssembler, link: CanLink, decoder: BusDecoder, recent: bool, now: float
) -> Report:
    """Report on a module's board; `recent`: frames were refused since the last report."""
    up = link.state is LinkState.UP
    timeout = silence_timeout(assembler.module.period)
    silence = classify(assembler.last_scan, decoder.last_heard, up, timeout, now)
    contested = assembler.serials.contested(now)
    if contested:
        serials = ', '.join(f'{serial:04X}' for serial in contested)
        level, text = ERROR, f'duplicate address: boards {serials}'
    elif assembler.mismatch:
        level, text = ERROR, assembler.mismatch
    elif silence is not Silence.NONE:
        level, text = ERROR, silence.value
    elif recent:
        level, text = WARN, 'frames are refused or lost'
    else:
        level, text = OK, 'speaking'
    identity = assembler.identity
    trusted = assembler.serials.trusted
    serial = f'{identity[2]:08X}' if identity else '' if trusted is None else f'{trusted:04X}'
    values = functools.partial(_module_values, assembler, now)
    return Report(f'module {assembler.module.name}', level, text, serial, values)


def _module_values(assembler: ModuleAssembler, now: float) -> dict[str, object]:
    return {
        'silent since': _age(assembler.last_scan, now),
        'address': assembler.module.address,
        **as_dict(assembler.statistics),
    }


def report_string(
    tracker: StringTracker, lease: ContactorLease | None, recent: bool, now: float
) -> Report:
    """Report on a string's sensor and, if its lease is kept here, on its contactor unit."""
    problems = []
    if now - tracker.current_heard > silence_timeout(tracker.string.current_sensor.period):
        problems.append('current sensor silent')
    if lease and now - tracker.feedback_heard > silence_timeout(FEEDBACK_PERIOD):
        problems.append('contactor unit silent')
    level = ERROR if problems else WARN if recent else OK
    text = ', '.join(problems) or ('frames are refused or lost' if recent else 'speaking')
    values = functools.partial(_string_values, tracker, lease, now)
    return Report(f'string {tracker.string.name}', level, text, '', values)


def _string_values(
    tracker: StringTracker, lease: ContactorLease | None, now: float
) -> dict[str, object]:
    values: dict[str, object] = {
        'current silent since': _age(tracker.current_heard, now),
        'feedback silent since': _age(tracker.feedback_heard, now),
        'sequence of the unit': tracker.unit_sequence,
    }
    if lease is not None:
        values['contactors asked closed'] = lease.closed
        values['lease remaining'] = f'{lease.remaining(now):.3f} s'
        values['leases expired'] = lease.expired
        values['sequence asked'] = lease.sequence
    for kind, statistics in (
        ('sensor', tracker.sensor_statistics),
        ('unit', tracker.unit_statistics),
    ):
        values |= {f'{kind} {name}': count for name, count in as_dict(statistics).items()}
    return values


class Reporter:
    """Reports on everything that one driver drives."""

    def __init__(
        self,
        links: Mapping[str, CanLink],
        decoders: Mapping[str, BusDecoder],
        assemblers: Iterable[ModuleAssembler],
        trackers: Iterable[StringTracker],
        leases: Mapping[str, ContactorLease],
    ) -> None:
        self._links = links
        self._decoders = decoders
        self._assemblers = list(assemblers)
        self._trackers = list(trackers)
        self._leases = leases
        self._counts: dict[str, int] = {}
        self._grown: dict[str, float] = {}

    def reports(self, now: float) -> list[Report]:
        """Return a report per bus, module and string; `now` in s, steady."""
        reports = []
        for name, link in self._links.items():
            decoder = self._decoders[name]
            rejected = sum(source.rejected for source in decoder.sources)
            recent = self._recently(f'bus {name}', rejected, now)
            reports.append(report_bus(link, decoder, recent, now))
        for assembler in self._assemblers:
            bus, counts = assembler.module.bus, assembler.statistics
            recent = self._recently(assembler.module.name, counts.rejected + counts.lost, now)
            reports.append(
                report_module(assembler, self._links[bus], self._decoders[bus], recent, now)
            )
        for tracker in self._trackers:
            name = tracker.string.name
            sensor, unit = tracker.sensor_statistics, tracker.unit_statistics
            count = sensor.rejected + sensor.lost + unit.rejected + unit.lost
            recent = self._recently(f'string {name}', count, now)
            reports.append(report_string(tracker, self._leases.get(name), recent, now))
        return reports

    def _recently(self, name: str, count: int, now: float) -> bool:
        """Return whether `count` has grown within the last seconds."""
        if count != self._counts.get(name, 0):
            self._counts[name] = count
            self._grown[name] = now
        return now - self._grown.get(name, -math.inf) < RECENT


def signature(reports: Iterable[Report]) -> tuple[tuple[str, int, str], ...]:
    """Return what has to be told at once when it changes."""
    return tuple((report.name, report.level, report.text) for report in reports)


def _age(heard: float, now: float) -> str:
    return 'never heard' if math.isinf(heard) else f'{now - heard:.2f} s'
