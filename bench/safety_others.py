# SPDX-License-Identifier: Apache-2.0
"""What else the guard has to see: losses, what boards report of themselves, contactors."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.safety_stimuli import CARRIED, CELL, SCAN, SENSOR, Patient, Stimulus, frames_of
from dbms_drivers import codec
from dbms_pack import Level, LossRule, Pack
from dbms_pack.limits_table import CYCLE, LIMITS_PERIOD
from dbms_protection.contactors import State

Apply = Callable[[Patient, float, float], None]
REPORT = 0.05  # s, between reports of a contactor unit
HELD_UP = 0.6  # s


@dataclass(frozen=True)
class Other:
    """A fault that is no limit of a quantity. `promised`: s from its beginning to the action."""

    fault: str
    level: Level
    action: str
    place: str
    promised: float
    stimulus: Stimulus


def _injected(name: str, kind: str, **parameters: object) -> Apply:
    def apply(patient: Patient, value: float, t: float) -> None:
        module = patient.board.module.name
        place = {
            'cell': f'{module}:{CELL}', 'sensor': f'{module}:t{SENSOR}', 'module': module,
            'string': patient.string.name,
        }[kind]  # fmt: skip
        world = patient.loop.world
        if not any((fault.kind.name, str(fault.place)) == (name, place) for fault in world.faults):
            world.inject(name, place, parameters, patient.loop.now)

    return apply


def _held_up(patient: Patient, value: float, t: float) -> None:
    patient.loop.held_up = t < HELD_UP


def _driver(attribute: str) -> Apply:
    return lambda patient, value, t: setattr(patient.loop, attribute, True)


def _leaving(patient: Patient) -> None:
    """Let the plus contactor weld, and open."""
    loop = patient.loop
    loop.world.inject('contactor_welded', patient.string.name, {'contactor': 'plus'}, loop.now)
    loop.guard.command('disconnect', 'campaign', 'to be open', [], loop.now)
    loop.run(loop.now + 5.0, lambda: patient.state is State.OPENING)


def _bridged(patient: Patient) -> None:
    """Pull the plug of the board, until the rest of its string tells of its cells."""
    _injected('board_silent', 'module')(patient, 0.0, 0.0)
    patient.loop.run(patient.loop.now + 2.0)


def _beyond(volts: Callable[[Pack], float]) -> Apply:
    """Return what brings the cells that nobody measures to that voltage, by their string's."""

    def apply(patient: Patient, value: float, t: float) -> None:
        cells = patient.board.module.cells
        plant = patient.loop.world.feed.plant
        gap = cells * (volts(patient.pack) - float(plant.voltages.mean()))
        patient.sensor.string = patient.sensor.link = lambda true: true + gap

    return apply


def _nothing(patient: Patient, value: float, t: float) -> None:
    """What is wrong was done before."""


def _of(
    apply: Apply, *manners: str, delay: float = SCAN,
    load: float = -25.0, before: Callable[[Patient], None] | None = None,
    everywhere: bool = False,
) -> Stimulus:  # fmt: skip
    return Stimulus(
        apply, lambda patient: 0.0, delay, load, manners, before=before, everywhere=everywhere
    )


MEASURED = ('fast', 'start', 'precharge', 'balancing')


def others(pack: Pack) -> Iterator[Other]:
    """Yield what a pack is guarded against beside its limits."""
    yield from _losses(pack)
    yield from _bridging(pack)
    yield from _reports(pack)
    yield from _contactors(pack)


def _losses(pack: Pack) -> Iterator[Other]:
    limits = pack.limits
    leave = max(s.contactors.grace + s.contactors.feedback_timeout for s in pack.strings)
    for fault, place, rule, apply, delay in (
        ('MODULE_LOST', 'module', limits.module_lost, _injected('board_silent', 'module'), SCAN),
        ('STRING_LOST', 'string', limits.string_lost, _injected('current_lost', 'string'),
         CARRIED),
        ('CELL_NOT_MEASURED', 'cell', limits.module_lost, _injected('sensor_sentinel', 'cell'),
         SCAN),
        ('TEMPERATURE_NOT_MEASURED', 'sensor', limits.module_lost,
         _injected('sensor_sentinel', 'sensor'), SCAN),
        *(
            (flag.upper(), 'module', limits.module_lost,
             _injected('board_flag', 'module', flag=flag), SCAN)
            for flag in ('open_wire', 'self_test_failed', 'reference_failed')
        ),
    ):  # fmt: skip
        yield _derated(fault, place, rule, apply, delay)
        total = rule.timeout + rule.open_after + CYCLE + leave
        stimulus = _of(apply, 'fast', 'balancing', delay=delay)
        yield Other(fault, Level.MSL, 'leave', place, total, stimulus)


def _derated(
    fault: str, place: str, rule: LossRule, apply: Apply,
    delay: float,
) -> Other:  # fmt: skip
    total = rule.timeout + CYCLE + LIMITS_PERIOD
    stimulus = _of(apply, *MEASURED, delay=delay)
    return Other(fault, Level.RSL, 'derate', place, total, stimulus)


def _bridging(pack: Pack) -> Iterator[Other]:
    """Yield what still guards cells that are not measured; nothing where the pack bridges none."""
    limits = pack.limits
    if limits.module_lost.bridge is None:
        return
    feedback = max(string.contactors.feedback_timeout for string in pack.strings)
    leave = max(string.contactors.grace for string in pack.strings) + feedback
    for fault, levels, action, sign in (
        ('BRIDGED_OVERVOLTAGE', limits.cell_overvoltage, 'open', 1.0),
        ('BRIDGED_UNDERVOLTAGE', limits.cell_undervoltage, 'leave', -1.0),
    ):
        limit = levels[Level.MSL]
        at = limit.at + sign * 0.02
        total = limit.debounce + CYCLE + (leave if action == 'leave' else feedback)
        stimulus = _of(
            _beyond(lambda pack, at=at: at), 'fast', delay=SCAN + CARRIED, before=_bridged
        )
        yield Other(fault, Level.MSL, action, 'module', total, stimulus)
    # The last voltage counts until it is three periods old.
    stale = max(4.0 * string.current_sensor.voltage_period for string in pack.strings)
    total = stale + limits.module_lost.timeout + CYCLE + leave
    silent = frames_of(codec.STRING_VOLTAGES)
    stimulus = _of(silent, 'fast', delay=SCAN + CARRIED, before=_bridged)
    yield Other('BRIDGE_LOST', Level.MSL, 'leave', 'string', total, stimulus)


def _reports(pack: Pack) -> Iterator[Other]:
    units = [string.contactors for string in pack.strings]
    feedback = max(unit.feedback_timeout for unit in units)
    leave = max(unit.grace for unit in units) + feedback
    yield Other(
        'INTERLOCK_OPEN', Level.MSL, 'open', 'string', feedback,
        _of(_injected('interlock_open', 'string'), *MEASURED, delay=REPORT),
    )  # fmt: skip
    yield Other(
        'COIL_FAULT', Level.MSL, 'leave', 'string', leave,
        _of(_injected('coil_fault', 'string'), *MEASURED, delay=REPORT),
    )  # fmt: skip
    for fault, name, parameters in (
        ('SUPPLY_LOW', 'supply_low', {}),
        ('CURRENT_SENSOR_FAULT', 'current_lost', {'how': 'fault'}),
    ):
        apply = _injected(name, 'string', **parameters)
        stimulus = _of(apply, *MEASURED, delay=REPORT + CARRIED)
        yield Other(fault, Level.MOL, 'warn', 'string', 0.0, stimulus)


def _contactors(pack: Pack) -> Iterator[Other]:
    units = [string.contactors for string in pack.strings]
    feedback, lease = max(u.feedback_timeout for u in units), max(u.lease for u in units)
    grace = max(unit.grace for unit in units)
    lied = 'contactor_feedback'

    def other(fault: str, action: str, promised: float, stimulus: Stimulus) -> Other:
        return Other(fault, Level.MSL, action, 'string', promised, stimulus)

    yield other(
        'CONTACTOR_FEEDBACK', 'open', 2 * feedback + CYCLE,
        _of(_injected(lied, 'string', contactor='minus', reads='open'), 'fast', 'balancing'),
    )  # fmt: skip
    yield other(
        'CONTACTOR_FEEDBACK_LOST', 'leave', 2 * feedback + CYCLE + grace,
        _of(_injected(lied, 'string', contactor='minus', reads='unknown'), 'fast', 'balancing'),
    )  # fmt: skip
    yield other(
        'CONTACTOR_WELDED', 'open', feedback + lease + CYCLE,
        _of(_nothing, 'fast', load=0.0, before=_leaving),
    )  # fmt: skip
    charge = max((unit.precharge for unit in units), key=lambda one: one.timeout)
    each = charge.timeout + charge.pause + 2 * CYCLE + feedback
    yield other(
        'PRECHARGE_FAILED', 'open', 1.0 + charge.attempts * each,
        _of(_injected('precharge_open', 'string'), 'start', load=0.0),
    )  # fmt: skip
    yield other(
        'LEASE_EXPIRED',
        'open',
        HELD_UP + CYCLE,
        _of(_held_up, 'fast', 'balancing', everywhere=True),
    )
    yield other(
        'CONTACTOR_DRIVER_LOST', 'open', lease + CYCLE,
        _of(_driver('driver_mute'), 'fast', 'balancing', everywhere=True),
    )  # fmt: skip
    yield other(
        'CONTACTOR_REFUSED',
        'open',
        lease,
        _of(_driver('driver_refuses'), 'fast', 'balancing', everywhere=True),
    )
