# SPDX-License-Identifier: Apache-2.0
"""What each fault of `faults` does to the units and cells of a world, and how it is mended.

Communication breaks in wall time, cells and sensors drift in battery time.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dbms_sim.boards import VirtualBoard
from dbms_sim.bus_faults import FRAME_BITS, Arbitration
from dbms_sim.contactor_unit import Contactor, VirtualContactorUnit
from dbms_sim.current_sensor import VirtualCurrentSensor
from dbms_sim.distortions import Distortion, Forced, Noise, Offset, OpenWire, Stuck
from dbms_sim.faults import Fault, FaultError
from dbms_sim.feeds import ModelFeed

if TYPE_CHECKING:
    from dbms_sim.world import World

FloatArray = npt.NDArray[np.float64]

COLLAPSE_AT = 130.0  # degC, the separator melts
COLLAPSE_RATE = 100.0  # C, the current of its short at nominal voltage


@dataclass
class Effect:
    """A fault at work. `short` (cells,) S and `heat` (cells,) W are added to the plant's."""

    stop: Callable[[], None]
    step: Callable[[float, float], None] | None = None  # now in s, position in s
    short: FloatArray | None = None
    heat: FloatArray | None = None


def begin(world: 'World', fault: Fault, now: float) -> Effect:
    """Let a fault begin; FaultError if what it would break is not played here."""
    return _BUILDERS[fault.kind.name](world, fault, now)


def _board(world: 'World', fault: Fault) -> VirtualBoard:
    board = world.boards.get(fault.place.name)
    if board is None:
        raise FaultError(f'{fault}: the board is not played here; {", ".join(world.boards)} are')
    return board


def _unit(world: 'World', fault: Fault) -> VirtualContactorUnit:
    if fault.place.name not in world.units:
        raise FaultError(f'{fault}: contactor units are not played here')
    return world.units[fault.place.name]


def _sensor(world: 'World', fault: Fault) -> VirtualCurrentSensor:
    if fault.place.name not in world.sensors:
        raise FaultError(f'{fault}: current sensors are not played here')
    return world.sensors[fault.place.name]


def _feed(world: 'World', fault: Fault) -> ModelFeed:
    if not isinstance(world.feed, ModelFeed):
        raise FaultError(f'{fault}: a recording is played, its cells are as they were measured')
    return world.feed


# Measuring


def _distort(world: 'World', fault: Fault, make: Callable[[int], Distortion]) -> Effect:
    board = _board(world, fault)
    where = board.cell_faults if fault.place.kind == 'cell' else board.temperature_faults
    where[fault.key] = make(fault.place.index)
    return Effect(lambda: _forget(where, fault.key))


def _shifted(sign: float) -> Callable[['World', Fault, float], Effect]:
    def build(world: 'World', fault: Fault, now: float) -> Effect:
        if fault.values['at'] is not None:
            return _distort(world, fault, lambda i: Forced(i, fault.number('at')))
        offset = sign * fault.number('offset')
        return _distort(world, fault, lambda i: Offset(i, offset, 0.0, 0.0))

    return build


def _offset(name: str) -> Callable[['World', Fault, float], Effect]:
    def build(world: 'World', fault: Fault, now: float) -> Effect:
        return _distort(world, fault, lambda i: Offset(i, fault.number(name), 0.0, 0.0))

    return build


def _stuck(world: 'World', fault: Fault, now: float) -> Effect:
    return _distort(world, fault, Stuck)


def _drift(world: 'World', fault: Fault, now: float) -> Effect:
    rate, start = fault.number('rate'), world.feed.position
    return _distort(world, fault, lambda i: Offset(i, 0.0, rate, start))


def _noise(world: 'World', fault: Fault, now: float) -> Effect:
    return _distort(world, fault, lambda i: Noise(i, fault.number('sigma'), world.random))


def _sentinel(world: 'World', fault: Fault, now: float) -> Effect:
    value = str(fault.values['value'])
    return _distort(world, fault, lambda i: Forced.sentinel(i, value))


def _open_wire(world: 'World', fault: Fault, now: float) -> Effect:
    board = _board(world, fault)
    board.cell_faults[fault.key] = OpenWire(fault.place.index)
    detected = now + fault.number('detected')

    def step(now: float, position: float) -> None:
        if now >= detected:
            board.flags[fault.key] = 'open_wire'

    def stop() -> None:
        _forget(board.cell_faults, fault.key)
        _forget(board.flags, fault.key)

    return Effect(stop, step)


# Boards and buses


def _silent(world: 'World', fault: Fault, now: float) -> Effect:
    board = _board(world, fault)
    board.plug(False, fault.kind.name)
    return Effect(lambda: board.plug(True, fault.kind.name))


def _reboot(world: 'World', fault: Fault, now: float) -> Effect:
    board, down = _board(world, fault), fault.number('down')
    every = fault.number('every') if fault.values['every'] is not None else math.inf
    board.plug(False, fault.kind.name)

    def step(later: float, position: float) -> None:
        since = later - now
        if math.isfinite(every):
            since = math.fmod(since, max(every, down))
        board.plug(since >= down, fault.kind.name)

    return Effect(lambda: board.plug(True, fault.kind.name), step)


def _pace(inverse: bool) -> Callable[['World', Fault, float], Effect]:
    def build(world: 'World', fault: Fault, now: float) -> Effect:
        board, factor = _board(world, fault), fault.number('factor')
        board.set_pace(fault.kind.name, 1.0 / factor if inverse else factor)
        return Effect(lambda: board.set_pace(fault.kind.name, 1.0))

    return build


def _wrong_crc(world: 'World', fault: Fault, now: float) -> Effect:
    key = _board(world, fault).frames_key
    world.troubles.crc[key] = fault.number('share')
    return Effect(lambda: _forget(world.troubles.crc, key))


def _duplicate(world: 'World', fault: Fault, now: float) -> Effect:
    world.add_intruder(_board(world, fault).module, int(fault.number('serial')))
    return Effect(lambda: _forget(world.intruders, fault.place.name))


def _flag(world: 'World', fault: Fault, now: float) -> Effect:
    board = _board(world, fault)
    board.flags[fault.key] = str(fault.values['flag'])
    return Effect(lambda: _forget(board.flags, fault.key))


def _bus_off(world: 'World', fault: Fault, now: float) -> Effect:
    bus = world.troubles.bus(fault.place.name)
    bus.off = True
    return Effect(lambda: setattr(bus, 'off', False))


def _overload(world: 'World', fault: Fault, now: float) -> Effect:
    bus = world.troubles.bus(fault.place.name)
    left = (1.0 - fault.number('share')) * world.pack.buses[fault.place.name].bitrate
    bus.arbitration = Arbitration(left / FRAME_BITS, int(fault.number('above')), now)
    return Effect(lambda: setattr(bus, 'arbitration', None))


def _disturbed(world: 'World', fault: Fault, now: float) -> Effect:
    bus = world.troubles.bus(fault.place.name)
    bus.delay, bus.loss = fault.number('delay'), fault.number('loss')

    def stop() -> None:
        bus.delay = bus.loss = 0.0

    return Effect(stop)


# Strings


def _lost(world: 'World', fault: Fault, now: float) -> Effect:
    sensor = _sensor(world, fault)
    sensor.lost = str(fault.values['how'])
    return Effect(lambda: setattr(sensor, 'lost', ''))


def _current(
    change: Callable[['World', Fault, float], float],
) -> Callable[['World', Fault, float], Effect]:
    def build(world: 'World', fault: Fault, now: float) -> Effect:
        sensor = _sensor(world, fault)
        sensor.errors[fault.kind.name] = lambda current: change(world, fault, current)
        return Effect(lambda: _forget(sensor.errors, fault.kind.name))

    return build


def _insulation(world: 'World', fault: Fault, now: float) -> Effect:
    insulation, pole = world.insulation, str(fault.values['pole'])
    _sensor(world, fault)  # nobody else would tell of it
    insulation.break_down(fault.key, _string(world, fault), pole, fault.number('resistance'))
    return Effect(lambda: insulation.mend(fault.key))


def _fuse(world: 'World', fault: Fault, now: float) -> Effect:
    path, index = _feed(world, fault).path, _string(world, fault)
    path.open[index] = True
    return Effect(lambda: path.open.__setitem__(index, False))


def _busbar(world: 'World', fault: Fault, now: float) -> Effect:
    path, index = _feed(world, fault).path, _string(world, fault)
    more = fault.number('resistance')
    path.resistance[index] += more
    return Effect(lambda: path.resistance.__setitem__(index, path.resistance[index] - more))


def _string(world: 'World', fault: Fault) -> int:
    return [string.name for string in world.pack.strings].index(fault.place.name)


def _contact(change: Callable[[Contactor, Fault | None], None]) -> Callable[..., Effect]:
    def build(world: 'World', fault: Fault, now: float) -> Effect:
        contactor = _unit(world, fault).contactors[str(fault.values['contactor']).capitalize()]
        change(contactor, fault)
        return Effect(lambda: change(contactor, None))

    return build


def _weld(contactor: Contactor, fault: Fault | None) -> None:
    contactor.welded = fault is not None


def _stick(contactor: Contactor, fault: Fault | None) -> None:
    contactor.stuck_open = fault is not None


def _lie(contactor: Contactor, fault: Fault | None) -> None:
    contactor.reads = str(fault.values['reads']) if fault else ''


def _unit_switch(name: str) -> Callable[['World', Fault, float], Effect]:
    def build(world: 'World', fault: Fault, now: float) -> Effect:
        unit = _unit(world, fault)
        setattr(unit, name, True)
        return Effect(lambda: setattr(unit, name, False))

    return build


# Cells


def _short(world: 'World', fault: Fault, now: float) -> Effect:
    feed, pack = _feed(world, fault), world.pack
    cell = pack.module(fault.place.name).first_cell + fault.place.index
    first, growth, most = (fault.number(name) for name in ('leakage', 'growth', 'most'))
    start, short = feed.position, np.zeros(pack.cells)

    def step(now: float, position: float) -> None:
        leakage = min(first + growth * (position - start), max(most, first))
        short[cell] = leakage / pack.cell.voltage_nominal

    return Effect(lambda: None, step, short=short)


def _runaway(world: 'World', fault: Fault, now: float) -> Effect:
    """Heat one cell after the other, outwards, up to its peak; each collapses on the way."""
    feed, pack = _feed(world, fault), world.pack
    module = pack.module(fault.place.name)
    cells = np.arange(module.first_cell, module.first_cell + module.cells)
    starts = np.abs(np.arange(module.cells) - fault.place.index) * fault.number('delay')
    starts = starts + feed.position
    peak = fault.number('peak')
    power = fault.number('rate') * pack.cell.heat_capacity * pack.parallel
    melted = np.zeros(module.cells, dtype=bool)
    short, heat = np.zeros(pack.cells), np.zeros(pack.cells)

    def step(now: float, position: float) -> None:
        temperature = feed.plant.temperature[cells]
        burning = position >= starts
        heat[cells] = np.where(burning & (temperature < peak), power, 0.0)
        melted[burning & (temperature >= min(COLLAPSE_AT, peak - 1.0))] = True
        # A cell that is burnt out has little left to give: only its voltage goes on falling.
        rate = np.where(feed.plant.soc[cells] > 0.02, COLLAPSE_RATE, 0.01 * COLLAPSE_RATE)
        collapsed = rate * feed.plant.capacity[cells] / pack.cell.voltage_nominal
        short[cells] = np.where(melted, collapsed, 0.0)

    return Effect(lambda: None, step, short=short, heat=heat)


def _forget(known: dict, key: object) -> None:  # type: ignore[type-arg]
    known.pop(key, None)


_BUILDERS: Mapping[str, Callable[['World', Fault, float], Effect]] = {
    'cell_overvoltage': _shifted(1.0),
    'cell_undervoltage': _shifted(-1.0),
    'cell_offset': _offset('volts'),
    'temperature_offset': _offset('kelvin'),
    'internal_short': _short,
    'thermal_runaway': _runaway,
    'open_wire': _open_wire,
    'sensor_stuck': _stuck,
    'sensor_drift': _drift,
    'sensor_noise': _noise,
    'sensor_sentinel': _sentinel,
    'board_silent': _silent,
    'board_reboot': _reboot,
    'board_babbling': _pace(inverse=True),
    'board_slow_clock': _pace(inverse=False),
    'board_wrong_crc': _wrong_crc,
    'board_duplicate': _duplicate,
    'board_flag': _flag,
    'bus_off': _bus_off,
    'bus_overload': _overload,
    'bus_disturbed': _disturbed,
    'current_lost': _lost,
    'current_offset': _current(lambda world, fault, current: current + fault.number('amperes')),
    'current_gain': _current(lambda world, fault, current: current * fault.number('factor')),
    'current_noise': _current(
        lambda world, fault, current: current + world.random.normal(0.0, fault.number('sigma'))
    ),
    'current_reversed': _current(lambda world, fault, current: -current),
    'contactor_welded': _contact(_weld),
    'contactor_stuck_open': _contact(_stick),
    'contactor_feedback': _contact(_lie),
    'coil_fault': _unit_switch('coil_fault'),
    'supply_low': _unit_switch('supply_low'),
    'interlock_open': _unit_switch('interlock_open'),
    'fuse_open': _fuse,
    'busbar_loose': _busbar,
    'precharge_open': _unit_switch('resistor_open'),
    'insulation_low': _insulation,
}
