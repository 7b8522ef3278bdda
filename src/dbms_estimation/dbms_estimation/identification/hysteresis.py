# SPDX-License-Identifier: Apache-2.0
"""The hysteresis of the OCV: where between its two branches a history of charge leaves a cell.

The state is a play: it goes with the SOC, and stands still at -1 or 1. A small charge within a
long discharge moves it a little and is taken back again, as measured on LFP: there a state that
decays towards the sign of the current ends half way between the branches while a load brakes and
pulls, and misses the rest voltages by 10 mV where the play misses them by 2 mV.
"""

from dataclasses import dataclass

import numpy as np

from dbms_pack.model import FloatArray

from .ocv import Leg, Ocv

REFERENCE = 25.0  # degC, of the OCV table
KNOTS = np.r_[0.0, 0.02, np.linspace(0.05, 0.95, 19), 0.98, 1.0]
LEG_WEIGHT = 0.5  # of a slow leg, where a drive cycle has 1
_GAP_SIGMA = 0.010  # V: half of what a slow leg's gap may hold of polarisation
ENTROPIC_SIGMA = 3e-4  # V/K
_STRENGTH = 1e-6  # of these expectations; of a file, per V**2, 1
SOC_ERROR = 0.004  # of the counters: where the OCV is steep it counts as voltage
LEG_SOC_ERROR = 0.012  # the same of slow legs: another campaign, another full and empty
_VOLTAGE_ERROR = 0.004  # V


@dataclass(frozen=True)
class Branches:
    """What slow legs at several temperatures tell of the OCV beyond its mean at 25 degC.

    The gap between the branches of slow legs holds polarisation: the more, the colder. It is told
    apart from hysteresis, which stays while the cell rests, by a fit with the drive cycles; so is
    the change of the OCV with temperature. Both are linear between `KNOTS` of SOC.
    """

    legs: tuple[Leg, ...]
    change: float = ENTROPIC_SIGMA  # V/K, of the OCV, that is expected
    turning: bool = True  # whether there is hysteresis

    @property
    def coldest(self) -> float:
        """Temperature in degC; infinite without legs."""
        places = (float(leg.measurement.temperature.mean()) for leg in self.legs)
        return min(places, default=np.inf)

    def columns(
        self, weights: FloatArray, temperature: FloatArray, state: FloatArray
    ) -> FloatArray:
        """Return what entropic and gap add, (rows, 2 KNOTS); weights: hats over KNOTS."""
        warmer = (temperature - REFERENCE)[:, None]
        turned = state[:, None] if self.turning else 0.0
        return np.concatenate([weights * warmer, weights * turned], axis=1)

    def expected(self) -> FloatArray:
        """Return what is expected of both without data, as normal equations."""
        count = len(KNOTS)
        bend = np.diff(np.eye(count), 2, axis=0)
        one = 0.1 * np.eye(count) + bend.T @ bend
        result = np.zeros((2 * count, 2 * count))
        result[:count, :count] = one * (_STRENGTH / self.change**2)
        result[count:, count:] = one * (_STRENGTH / _GAP_SIGMA**2)
        return result


def steepness_weight(ocv: Ocv, soc: FloatArray, error: float) -> FloatArray:
    """Return 0..1: what a voltage tells of the model where the SOC is off by `error`."""
    between = 0.5 * (ocv.soc[1:] + ocv.soc[:-1])
    slope = np.interp(soc, between, np.diff(ocv.voltage) / np.diff(ocv.soc))
    return np.asarray(1.0 / (1.0 + np.square(slope * error / _VOLTAGE_ERROR)))


def begins_charged(soc: FloatArray) -> float:
    """Return the state before a file: full by a charge, empty by a discharge."""
    return 1.0 if soc[0] > 0.5 else -1.0


def play(soc: FloatArray, span: float, begin: float) -> FloatArray:
    """Return the state -1..1 along a history of SOC.

    `span` is the change of SOC that takes the state from the middle to an edge; `begin` is the
    state before the first row.
    """
    steps = np.diff(soc, prepend=soc[0]) / span
    state, result = begin, np.empty(len(soc))
    for k, step in enumerate(steps.tolist()):
        state = min(max(state + step, -1.0), 1.0)
        result[k] = state
    return result
