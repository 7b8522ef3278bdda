# SPDX-License-Identifier: Apache-2.0
"""How long what a quantity is filtered with hides a step from its limit."""

import math
from collections.abc import Callable, Mapping

from .limits import Limit
from .model import Pack

# Share of a new interval in the mean scan period of a board: a mean of about ten.
SKEW_SHARE = 0.1


def hidden_for(pack: Pack, key: str, at: float, value: float) -> float:
    """Return the s from a step to `value` until the quantity is at its limit `at`; 0: unfiltered.

    `at` and `value` in the unit of the quantity; inf: the step does not go beyond the limit.
    """
    if key not in _FILTERED:
        return 0.0
    return _FILTERED[key](pack, at, value) if value > at else math.inf


def reference(pack: Pack, key: str, limit: Limit) -> float:
    """Return the step with which a filter is told: to twice the limit.

    Of an overload to what the over-current opens at, where that is less: more ends sooner.
    """
    twice = 2.0 * limit.at
    if key == 'overload':
        ways = (pack.limits.overcurrent_charge, pack.limits.overcurrent_discharge)
        opens = max(worst.at for levels in ways for level, worst in levels.items())
        return min(twice, opens) if opens > limit.at else twice
    return twice


def _rise(pack: Pack, at: float, value: float) -> float:
    return -_window(pack, 'temperature_rise') * math.log(1.0 - at / value)


def _overload(pack: Pack, at: float, value: float) -> float:
    return -_window(pack, 'overload') * math.log(1.0 - (at / value) ** 2)


def _mean(pack: Pack, at: float, value: float) -> float:
    return _window(pack, 'voltage_mismatch')  # whatever the step: then it is all there


def _skew(pack: Pack, at: float, value: float) -> float:
    period = max(module.period for module in pack.modules)
    scans = math.ceil(math.log(1.0 - at / value) / math.log(1.0 - SKEW_SHARE))
    return (1.0 + value) * period * scans  # of a clock that is slow: one that is fast scans more


def _opened(pack: Pack, at: float, value: float) -> float:
    return _window(pack, 'open_link')  # counts from the opening


def _window(pack: Pack, key: str) -> float:
    return pack.limits.more[key].window


_FILTERED: Mapping[str, Callable[[Pack, float, float], float]] = {
    'temperature_rise': _rise,
    'overload': _overload,
    'voltage_mismatch': _mean,
    'clock_skew': _skew,
    'open_link': _opened,
}
