# SPDX-License-Identifier: Apache-2.0
"""Protection limits of a pack as immutable values, and the catalogue of what can be limited."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum


class Level(IntEnum):
    """How bad it is, as foxBMS 2 names it; the numbers are those of dbms_msgs/Fault."""

    MOL = 1  # maximum operating limit: warn
    RSL = 2  # recommended safety limit: lower the power limits
    MSL = 3  # maximum safety limit: open the contactors


@dataclass(frozen=True)
class Limit:
    """One level of one quantity."""

    at: float  # in the unit of the quantity
    debounce: float  # s, the condition must hold this long
    hysteresis: float  # it ends when the value is back by this much
    latch: bool  # stays until reset_faults
    leak: float = 0.0  # >0: time beyond `at` adds up, and drains this many times as fast
    by_temperature: tuple[tuple[float, ...], tuple[float, ...]] | None = None  # degC, at
    by_state: Mapping[str, float] = field(default_factory=dict)  # `at` by STATES of the string
    action: str = ''  # of an MSL: 'leave', 'open', or '' for what the catalogue says
    reset: str = 'over'  # or 'named': the reason of reset_faults must name the fault
    derate: float | None = None  # of an RSL: factor on the limits of the string while it stands


STATES = ('charge', 'discharge', 'rest', 'open')


@dataclass(frozen=True)
class LossRule:
    """What happens when a source of measurements falls silent."""

    timeout: float  # s of silence until it counts as lost
    derate: float  # 0..1, factor on the limits while it is lost
    open_after: float  # s, from the loss to the announced opening; 0: at once
    bridge: float | None = None  # V, margin per cell of what the string tells of the missing ones


FactorTable = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class DeratingRules:
    """What lowers the limits before any level is reached; pairs are (charge, discharge)."""

    soc: tuple[FactorTable | None, FactorTable | None] = (None, None)  # 0..1, factor
    temperature: tuple[FactorTable | None, FactorTable | None] = (None, None)  # degC, factor
    power: bool = False  # keep to the power that estimation tells


@dataclass(frozen=True)
class Trigger:
    """A quantity that a pack may limit, at the levels it chooses."""

    levels: Mapping[Level, Limit]
    window: float = 0.0  # s, time constant of what it is filtered with


@dataclass(frozen=True)
class Limits:
    """All protection limits of the pack. None has a default.

    Over-quantities rise from MOL over RSL to MSL, under-quantities fall. Current limits are per
    string and magnitudes. `short_circuit` has only an MSL. What `more` does not name is not
    judged, and `check --limits` says so.
    """

    cell_overvoltage: Mapping[Level, Limit]
    cell_undervoltage: Mapping[Level, Limit]
    overtemperature_charge: Mapping[Level, Limit]
    undertemperature_charge: Mapping[Level, Limit]
    overtemperature_discharge: Mapping[Level, Limit]
    undertemperature_discharge: Mapping[Level, Limit]
    overcurrent_charge: Mapping[Level, Limit]
    overcurrent_discharge: Mapping[Level, Limit]
    short_circuit: Mapping[Level, Limit]
    module_lost: LossRule
    string_lost: LossRule  # no measurement of the string's current
    rest_current: float  # A, below it a string counts as neither charging nor discharging
    more: Mapping[str, Trigger] = field(default_factory=dict)  # by a key of QUANTITIES
    derating: DeratingRules | None = None


@dataclass(frozen=True)
class Quantity:
    """What can be limited: where, in which unit, on which side, and how an MSL opens."""

    key: str  # in the pack file; the fault is its upper case
    unit: str
    place: str  # cell, sensor, module or string
    under: bool = False
    urgent: bool = False  # an MSL opens at once and not announced
    required: bool = False  # a pack without it is refused


QUANTITIES: Mapping[str, Quantity] = {
    quantity.key: quantity
    for quantity in (
        Quantity('cell_overvoltage', 'V', 'cell', urgent=True, required=True),
        Quantity('cell_undervoltage', 'V', 'cell', under=True, required=True),
        Quantity('overtemperature_charge', 'degC', 'sensor', required=True),
        Quantity('undertemperature_charge', 'degC', 'sensor', under=True, required=True),
        Quantity('overtemperature_discharge', 'degC', 'sensor', required=True),
        Quantity('undertemperature_discharge', 'degC', 'sensor', under=True, required=True),
        Quantity('overcurrent_charge', 'A', 'string', urgent=True, required=True),
        Quantity('overcurrent_discharge', 'A', 'string', urgent=True, required=True),
        Quantity('short_circuit', 'A', 'string', urgent=True, required=True),
        Quantity('deep_discharge', 'V', 'cell', under=True),
        Quantity('voltage_jump', 'V', 'cell'),
        Quantity('voltage_stuck', 'V', 'cell'),
        Quantity('voltage_spread', 'V', 'string'),
        Quantity('temperature_rise', 'K/min', 'sensor'),
        Quantity('temperature_jump', 'K', 'sensor'),
        Quantity('temperature_stuck', 'K', 'sensor'),
        Quantity('temperature_spread', 'K', 'string'),
        Quantity('temperature_mismatch', 'K', 'module'),
        Quantity('clock_skew', '1', 'module'),
        Quantity('string_overvoltage', 'V', 'string', urgent=True),
        Quantity('string_undervoltage', 'V', 'string', under=True),
        Quantity('link_overvoltage', 'V', 'string', urgent=True),
        Quantity('link_mismatch', 'V', 'string'),
        Quantity('voltage_mismatch', 'V', 'string'),
        Quantity('overload', 'A', 'string'),
        Quantity('current_mismatch', 'A', 'string'),
        Quantity('open_current', 'A', 'string'),
        Quantity('open_link', '1', 'string'),
        Quantity('precharge_current', 'A', 'string', urgent=True),
        Quantity('insulation', 'Ohm/V', 'string', under=True),
        Quantity('voltage_age', 's', 'string'),
        Quantity('insulation_age', 's', 'string'),
    )
}


def levels_of(limits: Limits) -> dict[str, Mapping[Level, Limit]]:
    """Return every limited quantity with its levels, in the order of the catalogue."""
    found: dict[str, Mapping[Level, Limit]] = {}
    for key, quantity in QUANTITIES.items():
        if quantity.required:
            found[key] = getattr(limits, key)
        elif key in limits.more:
            found[key] = limits.more[key].levels
    return found


def action_of(key: str, level: Level, limit: Limit) -> str:
    """Return what a level does: warn, derate, leave (open announced) or open (at once)."""
    if level is Level.MSL:
        return limit.action or ('open' if QUANTITIES[key].urgent else 'leave')
    return 'warn' if level is Level.MOL else 'derate'
