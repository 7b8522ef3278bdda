# SPDX-License-Identifier: Apache-2.0
"""Extended Kalman filter for the SOC of many cells at once.

State of each column: x = [soc, v1, v2, bias, offset, resistance]: the charge, the voltages of two
RC pairs, the offset of its current sensor, the error of the OCV where the cell is now, and by how
much more than the table says its resistances are, as a share. Measurement: the terminal voltage.
Every operation is elementwise over the columns: what one cell does, NaN included, cannot reach
another. A column is a cell, or one of several hypotheses about a cell (`hypotheses.py`).

The errors that matter here are not white: a wrong OCV table is as wrong after an hour of rest as
it was before, and only another SOC brings another error; a cell that is colder inside than its
sensor has more resistance for as long as it is. They are therefore states that are forgotten with
the charge that flows and not with the readings, so sigma does not shrink just because a board
reports often or a cell rests long. What is left is given a size and a correlation time. The
outcome is the same at 1 Hz and at 100 Hz.
"""

import numpy as np

from dbms_pack.model import FloatArray

from .arrays import limit
from .ecm import REFERENCE, SOC_HIGH, SOC_LOW, CellTables, Impedance
from .filter_options import FilterOptions
from .frozen import FrozenReadings

SIGMA_MAX = 12**-0.5  # of a value that may be anywhere in 0..1
STATES = 6
CHARGED = 0.9  # SOC above which a cell has most likely been charged last
DISCHARGED, EITHER = -0.5, 0.5  # hysteresis state of one that was not, and its error
RESISTANCE_RANGE = (-0.8, 5.0)  # of the state: more or less is no cell
_SOC, _V1, _V2, _BIAS, _OFFSET, _RESISTANCE = range(STATES)
COLDEST = 4.0  # times the resistance, and the error of the model, at 25 degC
_TINY = 1e-12
_DOUBT = 0.1  # SOC by which sigma grows when readings are refused for long
_SURPRISE = 9.0  # squared sigmas one reading may speak against a hypothesis
_COLUMNS = (  # what a column has beside state and covariance
    *('started', 'hysteresis', 'expected', 'innovation', 'evidence', '_model_error'),
    *('_bias_size', '_drift', '_load', '_gated', '_warm', 'fresh'),
)


class CellFilter:
    """SOC filter of n columns in arrays.

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
        return np.minimum(np.sqrt(self.covariance[_SOC, _SOC]), SIGMA_MAX)

    @property
    def bias_sigma(self) -> FloatArray:
        """Standard deviation of the current sensor's offset in A."""
        return np.sqrt(self.covariance[_BIAS, _BIAS])

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
        tables, celsius = self._tables, _celsius(temperature)
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
        self.covariance[_V1, _V1][where] = (np.square(0.5 * z.r1 * unknown) + 1e-6)[where]
        self.covariance[_V2, _V2][where] = (np.square(0.5 * z.r2 * unknown) + 1e-6)[where]
        return ocv, error

    def likelihood(
        self, columns: np.ndarray, ocv: FloatArray, error: FloatArray, temperature: FloatArray
    ) -> FloatArray:
        """Return how probable an OCV with that error, both in V, is in each of the columns."""
        there, slope = self._tables.ocv(self.soc[columns], _celsius(temperature))
        variance = np.square(error) + np.square(slope) * self.covariance[_SOC, _SOC][columns]
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
        self.covariance[_OFFSET, _OFFSET][where] = np.square(size)[where]

    def step(
        self,
        dt: FloatArray,
        charge: FloatArray,
        blind: FloatArray,
        voltage: FloatArray,
        current: FloatArray,
        temperature: FloatArray,
    ) -> None:
        """Advance every cell by its `dt` and correct it by its `voltage`.

        dt: s since the last step of the cell; <= 0: the cell is left as it is.
        charge: As that flowed in dt, positive into the cell.
        blind: s of dt in which the current was not measured.
        voltage, current: V and A at the end of dt; NaN: not measured, the cell only predicts.
        temperature: degC; NaN: not measured, the impedance is trusted less.
        """
        moving = self.started & (dt > 0)
        dt = np.where(moving, dt, 0.0)
        celsius = _celsius(temperature)
        z = self._tables.impedance(self.soc, celsius)
        # What of capacity and error depends on the place of the cell:
        share = self._tables.capacity(celsius) * self.health
        self._charge_of_full = 3600.0 * self._one_c * share
        self._model_error = self._tables.model_error(celsius, self.options.model_error, self.soc)
        self._sense(np.isfinite(temperature))
        if self.fresh.any():
            self._recall(z, self.fresh & moving)
        charge, blind = np.where(moving, charge, 0.0), np.where(moving, blind, 0.0)
        self._predict(z, dt, charge, blind)
        self._correct(z, moving, dt, voltage, current, celsius)

    def _recall(self, z: Impedance, where: np.ndarray) -> None:
        """Expect in the RC pairs of `where` what may be left of a load before the start.

        How much that is only the temperature tells, and so the first step. A full cell has most
        likely been charged and rested, another one comes from where its hysteresis is.
        """
        options = self.options
        past = np.where(self.hysteresis > 0.0, self._one_c, -self._one_c) * options.past_load
        past = np.where(self.soc > CHARGED, 0.0, past)
        sizes = options.past_current, options.past_mean_current
        for k, r, size in zip((_V1, _V2), (z.r1, z.r2), sizes, strict=True):
            self.state[k][where] += (r * past)[where]
            self.covariance[k, k][where] += np.square(r * size * self._one_c)[where]
        self.fresh &= ~where

    def _sense(self, warm: np.ndarray) -> None:
        """Where no temperature is measured (not `warm`) the resistance tells what it may be."""
        options = self.options
        if not warm.all():
            p = self.covariance[_RESISTANCE, _RESISTANCE]
            p += np.where(self._warm & ~warm, options.blind_resistance_error**2, 0.0)
            colder = np.clip(1.0 + self.resistance, 1.0, COLDEST)
            self._model_error = np.where(warm, self._model_error, self._model_error * colder)
        self._warm = warm

    def _predict(
        self, z: Impedance, dt: FloatArray, charge: FloatArray, blind: FloatArray
    ) -> None:
        options, p = self.options, self.covariance
        charge = charge - self.bias * (dt - blind)
        current = charge / np.maximum(dt, _TINY)
        gained = charge / self._charge_of_full
        net = self._net(dt, gained)
        a1, a2 = np.exp(-dt / z.tau1), np.exp(-dt / z.tau2)
        held = np.exp(-dt / options.current_bias_time)
        kept = np.exp(-net / options.offset_soc - dt / options.offset_time)
        same = np.exp(-net / options.resistance_soc - dt / options.resistance_time)
        # The transition: decays, and what a step of the bias does to charge and RC pairs.
        decay = np.array([np.ones_like(dt), a1, a2, held, kept, same])
        of_bias = np.array([-dt / self._charge_of_full, -(1 - a1) * z.r1, -(1 - a2) * z.r2])
        self.state *= decay
        self.soc += gained
        self.v1 += (1 - a1) * z.r1 * current
        self.v2 += (1 - a2) * z.r2 * current
        limit(self.soc, SOC_LOW, SOC_HIGH)
        row = p[_BIAS].copy()
        p *= decay[:, None]
        p[:_BIAS] += of_bias[:, None] * row
        column = p[:, _BIAS].copy()
        p *= decay[None]
        p[:, :_BIAS] += column[:, None] * of_bias[None]
        unknown = np.where(blind > 0, options.unknown_current * self._one_c, 0.0)
        for k, r, a in ((_V1, z.r1, a1), (_V2, z.r2, a2)):
            # Left alone, v spreads to this part of R*i whatever the length of a step.
            size = np.square(options.quick_error * r * current) + np.square(r * unknown)
            p[k, k] += (1 - a * a) * size
        p[_SOC, _SOC] += options.gain_error**2 * options.gain_error_soc * np.abs(gained)
        p[_BIAS, _BIAS] += (1 - held * held) * np.square(self._bias_size)
        p[_OFFSET, _OFFSET] += (1 - kept * kept) * np.square(self._offset_size())
        size = np.where(self._warm, options.resistance_error, options.blind_resistance_error)
        p[_RESISTANCE, _RESISTANCE] += (1 - same * same) * np.square(size)
        if blind.any():
            self._spread(unknown * blind / self._charge_of_full)
        self._bound()
        self.hysteresis = self._tables.turned(self.hysteresis, gained)
        self._frozen.count(gained)

    def _net(self, dt: FloatArray, gained: FloatArray) -> FloatArray:
        """Return the SOC made good in dt: back and forth brings the same errors back."""
        held = np.exp(-dt / self.options.drift_time)
        self._drift = held * self._drift + (1 - held) * gained / np.maximum(dt, _TINY)
        return np.abs(self._drift) * dt

    def _offset_size(self) -> FloatArray:
        options = self.options
        turned = options.hysteresis_error * self._tables.hysteresis(self.soc)
        return np.hypot(options.offset_share * self._model_error, turned)

    def _spread(self, soc: FloatArray) -> None:
        """Widen sigma by `soc`: a current that is not known may be the same all the time.

        Sigma ends at SIGMA_MAX. The covariances are kept, so the matrix stays positive.
        """
        p00 = self.covariance[_SOC, _SOC]
        sigma = np.sqrt(p00)
        wider = np.maximum(np.minimum(sigma + soc, SIGMA_MAX), sigma)
        p00 += np.where(soc > 0, np.square(wider) - p00, 0.0)

    def _bound(self) -> None:
        """Keep sigma below SIGMA_MAX, and the correlations as they are."""
        p = self.covariance
        if (p[_SOC, _SOC] > SIGMA_MAX**2).any():
            shrink = np.minimum(1.0, SIGMA_MAX / np.sqrt(np.maximum(p[_SOC, _SOC], _TINY)))
            p[_SOC] *= shrink
            p[:, _SOC] *= shrink

    def _correct(
        self,
        z: Impedance,
        moving: np.ndarray,
        dt: FloatArray,
        voltage: FloatArray,
        current: FloatArray,
        celsius: FloatArray,
    ) -> None:
        options, p = self.options, self.covariance
        ocv, slope = self._tables.ocv(self.soc, celsius)
        ocv = ocv + self._tables.hysteresis(self.soc) * self.hysteresis
        measured = moving & np.isfinite(voltage) & np.isfinite(current)
        load = np.where(np.isfinite(current), current, 0.0)
        ohmic, r0 = self._tables.drop(z.r0, load - self.bias)
        drop = ohmic + self.v1 + self.v2
        factor = 1.0 + self.resistance
        self.expected = ocv + factor * drop + self.offset
        self.innovation = np.where(measured, voltage - self.expected, np.nan)
        innovation = np.where(measured, voltage - self.expected, 0.0)
        measured &= ~self._frozen.find(measured, voltage, load, z.r0, slope)
        h = np.array([slope, factor, factor, -r0 * factor, np.ones_like(slope), drop])
        ph = np.einsum('ijn,jn->in', p, h)
        foretold = np.einsum('in,in->n', h, ph)
        kept = np.exp(-dt / options.slow_time)
        self._load = kept * self._load + (1 - kept) * np.abs(drop)
        quick = (
            np.square(options.quick_error * factor * drop)
            + np.square(options.slow_error * factor * self._load)
            + np.square(options.quick_share * self._model_error)
            + np.square(options.soc_axis_error * slope)
        )
        white = options.voltage_noise**2
        strange = np.square(options.gate_error * factor * drop)
        gate = options.gate**2 * (foretold + quick + white + strange)
        believed = measured & (np.square(innovation) <= gate)
        # One independent look per correlation time, however often the board reports.
        looks = np.minimum(np.maximum(dt, _TINY) / options.quick_time, 1.0)
        noise = white + quick / looks
        # 1/S, and 0 for a cell without a believed reading: it keeps what was predicted.
        weight = np.where(believed, 1.0 / (foretold + noise), 0.0)
        surprise = np.minimum(np.square(innovation) / (foretold + noise), _SURPRISE)
        surprise += np.log1p(foretold / noise) + looks * np.log(white + quick)
        self.evidence = np.where(measured, -0.5 * surprise, 0.0)
        self.state += ph * (weight * innovation)
        limit(self.soc, SOC_LOW, SOC_HIGH)
        limit(self.resistance, *RESISTANCE_RANGE)
        # P - K S K': with the floor that `white` puts under S the difference cannot turn
        # negative in double precision, which is what the Joseph form would be for.
        p -= (weight * ph)[:, None] * ph[None]
        self._doubt(measured & ~believed, believed, dt)

    def _doubt(self, refused: np.ndarray, believed: np.ndarray, dt: FloatArray) -> None:
        """After `gate_patience` of refused readings it is the SOC that is not believed."""
        self._gated[believed] = 0.0
        self._gated += np.where(refused, dt, 0.0)
        wrong = self._gated > self.options.gate_patience
        if wrong.any():
            self._spread(np.where(wrong, _DOUBT, 0.0))
            self._gated[wrong] = 0.0


def _celsius(temperature: FloatArray) -> FloatArray:
    """Return the temperature, 25 degC where it is not known."""
    return np.where(np.isfinite(temperature), temperature, REFERENCE)
