# SPDX-License-Identifier: Apache-2.0
"""What a filter of many cells knows of each of them, and how it begins."""

import numpy as np

from dbms_pack.model import FloatArray

from .ecm import REFERENCE, CellTables
from .filter_options import FilterOptions
from .frozen import FrozenReadings

SIGMA_MAX = 12**-0.5  # of a value that may be anywhere in 0..1
STATES = 6
SOC, V1, V2, BIAS, OFFSET, RESISTANCE = range(STATES)
CHARGED = 0.9  # SOC above which a cell has most likely been charged last
DISCHARGED, EITHER = -0.5, 0.5  # hysteresis state of one that was not, and its error
_TINY = 1e-12
_COLUMNS = (  # what a column has beside state and covariance
    *('started', 'hysteresis', 'expected', 'innovation', 'evidence', '_model_error'),
    *('_bias_size', '_drift', '_load', '_gated', '_warm', 'fresh'),
)


class CellColumns:
    """Knowledge of n cells, or hypotheses about cells, in arrays.

    Attributes of shape (n,): `started`, `soc`, `sigma`, `bias` (A, what the current sensor shows
    too much) and `bias_sigma`, `expected` (V, what the model foretold for the last step),
    `innovation` (V, by how much the reading was off that; NaN without a reading), `v1`, `v2`,
    `offset` (V), `resistance` (share), `hysteresis` (-1 after a long discharge .. 1 after a long
    charge), `evidence` (logarithm of how probable the last reading was), `fresh` (whether it has
    started and taken no step yet). `state` has the shape (6, n), `covariance` (6, 6, n).
    """

    def __init__(
        self,
        tables: CellTables,
        cells: int,
        capacity: float,
        current_offset: FloatArray,
        options: FilterOptions | None = None,
    ) -> None:
        """Take the capacity of a cell in Ah and the offset error of its current sensor in A."""
        self.options = (options or FilterOptions()).of_cell(tables.load_error)
        self._tables = tables
        self._one_c = capacity
        self._charge_of_full: FloatArray = np.full(cells, capacity * 3600.0)
        self.health: FloatArray = np.ones(cells)  # capacity over the rated one; may be set
        self._model_error: FloatArray = np.full(cells, self.options.model_error)
        least = self.options.current_bias * capacity
        self._bias_size = np.maximum(np.broadcast_to(current_offset, (cells,)), least)
        self.started = np.zeros(cells, dtype=bool)
        self._hold(np.zeros((STATES, cells)), np.zeros((STATES, STATES, cells)))
        self.soc[:] = 0.5
        self.hysteresis: FloatArray = np.zeros(cells)
        self.expected: FloatArray = np.full(cells, np.nan)
        self.innovation: FloatArray = np.full(cells, np.nan)
        self.evidence: FloatArray = np.zeros(cells)
        self._drift: FloatArray = np.zeros(cells)  # SOC per s, slow
        self._load: FloatArray = np.zeros(cells)  # V, what the current added, of late
        self._warm = np.ones(cells, dtype=bool)  # whether its temperature is measured
        self._gated = np.zeros(cells)  # s without a believed reading
        self._frozen = FrozenReadings(cells, self.options.frozen)
        self.fresh = np.zeros(cells, dtype=bool)  # what is left in its RC pairs is not known

    def _hold(self, state: FloatArray, covariance: FloatArray) -> None:
        self.state, self.covariance = state, covariance
        self.soc, self.v1, self.v2, self.bias, self.offset, self.resistance = state

    def take(self, columns: np.ndarray) -> None:
        """Go on with these columns only, by index or mask; an index may come more than once."""
        self._hold(self.state[:, columns], self.covariance[:, :, columns])
        for name in (*_COLUMNS, '_charge_of_full', 'health'):
            setattr(self, name, getattr(self, name)[columns])
        self._frozen.take(columns)

    @property
    def sigma(self) -> FloatArray:
        """Standard deviation of the SOC."""
        return np.minimum(np.sqrt(self.covariance[SOC, SOC]), SIGMA_MAX)

    @property
    def bias_sigma(self) -> FloatArray:
        """Standard deviation of the current sensor's offset in A."""
        return np.sqrt(self.covariance[BIAS, BIAS])

    def start(
        self, where: np.ndarray, voltage: FloatArray, current: FloatArray, temperature: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Start the cells `where` (a mask) from their voltage; return OCV and its sigma in V.

        Without current the voltage is the OCV; under load, or with an unknown current (NaN), it
        is corrected as far as known and sigma is as wide as what is not known.
        """
        known = np.isfinite(current)
        load = np.where(known, current, 0.0)
        unknown = np.where(known, np.abs(load), self._one_c)
        tables, celsius = self._tables, celsius_of(temperature)
        z = tables.impedance(tables.soc(voltage, celsius), celsius)
        # How far the RC pairs have come since the load was switched on is not known: half way.
        v1, v2 = 0.5 * z.r1 * load, 0.5 * z.r2 * load
        ocv = voltage - tables.drop(z.r0, load)[0] - v1 - v2
        error = np.where(known, 0.5 * (z.r1 + z.r2), z.r0 + z.r1 + z.r2) * unknown
        error = np.hypot(error, self.options.start_voltage_error)
        soc = tables.soc(ocv, celsius)
        error += tables.hysteresis(soc)
        # On the flat part of an OCV it reaches much farther to one side.
        above, below = (tables.soc(ocv + side * error, celsius) for side in (1, -1))
        sigma = np.maximum(above - soc, soc - below)
        sigma = np.clip(sigma, self.options.start_sigma, SIGMA_MAX)
        self.reset(where, soc, sigma, v1, v2)
        self.fresh &= ~where
        self.expected[where] = voltage[where]
        self.covariance[V1, V1][where] = (np.square(0.5 * z.r1 * unknown) + 1e-6)[where]
        self.covariance[V2, V2][where] = (np.square(0.5 * z.r2 * unknown) + 1e-6)[where]
        return ocv, error

    def likelihood(
        self, columns: np.ndarray, ocv: FloatArray, error: FloatArray, temperature: FloatArray
    ) -> FloatArray:
        """Return how probable an OCV with that error, both in V, is in each of the columns."""
        there, slope = self._tables.ocv(self.soc[columns], celsius_of(temperature))
        variance = np.square(error) + np.square(slope) * self.covariance[SOC, SOC][columns]
        return np.exp(-0.5 * np.square(ocv - there) / variance) / np.sqrt(variance) + _TINY

    def reset(
        self,
        where: np.ndarray,
        soc: FloatArray,
        sigma: FloatArray,
        v1: FloatArray | float = 0.0,
        v2: FloatArray | float = 0.0,
    ) -> None:
        """Set the state of the cells `where` (a mask) to a known one."""
        options = self.options
        self.state[:, where] = 0.0
        self.soc[where] = soc[where]
        self.v1[where] = np.broadcast_to(v1, soc.shape)[where]
        self.v2[where] = np.broadcast_to(v2, soc.shape)[where]
        self._drift[where] = 0.0
        self._load[where] = 0.0
        sizes = np.stack(
            [
                np.broadcast_to(sigma, soc.shape),
                np.full(len(soc), 1e-3),
                np.full(len(soc), 1e-3),
                self._bias_size,
                self._offset_size(),
                np.full(len(soc), options.resistance_error),
            ]
        )
        self.covariance[:, :, where] = 0.0
        for k in range(STATES):
            self.covariance[k, k][where] = np.square(sizes[k])[where]
        self.forget_branch(where)
        self.started |= where
        self.fresh = self.fresh | where
        self._warm = self._warm | where
        self._gated[where] = 0.0
        self._frozen.reset(where)

    def forget_branch(self, where: np.ndarray) -> None:
        """Take the columns `where`, a mask or indices, for cells of which no past is known.

        A full cell has been charged; another one most often comes from a discharge, but may be
        on the other branch of its OCV.
        """
        full = self.soc > CHARGED
        self.take_branch(where, np.where(full, 1.0, DISCHARGED), np.where(full, 1.0, EITHER))

    def take_branch(self, where: np.ndarray, state: FloatArray, error: FloatArray) -> None:
        """Set the hysteresis of the columns `where`, a mask or indices, known but for `error`."""
        self.hysteresis[where] = state[where]
        size = np.hypot(self._offset_size(), error * self._tables.hysteresis(self.soc))
        self.covariance[OFFSET, OFFSET][where] = np.square(size)[where]

    def _offset_variance(self, gap: FloatArray) -> FloatArray:
        """Return the variance of the error of the OCV, from half the gap of the hysteresis."""
        options = self.options
        return np.square(options.offset_share * self._model_error) + np.square(
            options.hysteresis_error * gap
        )

    def _offset_size(self) -> FloatArray:
        return np.sqrt(self._offset_variance(self._tables.hysteresis(self.soc)))


def celsius_of(temperature: FloatArray) -> FloatArray:
    """Return the temperature, 25 degC where it is not known."""
    return np.where(np.isfinite(temperature), temperature, REFERENCE)
