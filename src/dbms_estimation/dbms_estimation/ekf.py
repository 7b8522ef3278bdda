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
from .columns import (
    BIAS,
    CHARGED,
    OFFSET,
    RESISTANCE,
    SIGMA_MAX,
    SOC,
    V1,
    V2,
    CellColumns,
    celsius_of,
)
from .covariance import correct, mirror, propagate
from .ecm import SOC_HIGH, SOC_LOW, CellTables
from .filter_options import FilterOptions
from .lookup import ERROR, R0, R1_R2, SHARE, TAU1_TAU2, circuit, rest

RESISTANCE_RANGE = (-0.8, 5.0)  # of the state: more or less is no cell
COLDEST = 4.0  # times the resistance, and the error of the model, at 25 degC
PAIRS = slice(V1, V2 + 1)
_TINY = 1e-12
_DOUBT = 0.1  # SOC by which sigma grows when readings are refused for long
_SURPRISE = 9.0  # squared sigmas one reading may speak against a hypothesis


class CellFilter(CellColumns):
    """SOC filter of n columns in arrays."""

    def __init__(
        self,
        tables: CellTables,
        cells: int,
        capacity: float,
        current_offset: FloatArray,
        options: FilterOptions | None = None,
    ) -> None:
        """Take the capacity of a cell in Ah and the offset error of its current sensor in A."""
        super().__init__(tables, cells, capacity, current_offset, options)
        self._circuit = circuit(tables, self.options.model_error)
        self._rest = rest(tables)

    def step(
        self,
        dt: FloatArray,
        charge: FloatArray,
        blind: FloatArray,
        voltage: FloatArray,
        current: FloatArray,
        temperature: FloatArray,
        weigh: bool = True,
    ) -> None:
        """Advance every cell by its `dt` and correct it by its `voltage`.

        dt: s since the last step of the cell; <= 0: the cell is left as it is.
        charge: As that flowed in dt, positive into the cell.
        blind: s of dt in which the current was not measured.
        voltage, current: V and A at the end of dt; NaN: not measured, the cell only predicts.
        temperature: degC; NaN: not measured, the impedance is trusted less.
        weigh: whether `evidence` is wanted; else it stays what it was.
        """
        moving = self.started & (dt > 0)
        if not moving.all():
            dt, charge, blind = (np.where(moving, x, 0.0) for x in (dt, charge, blind))
        celsius = celsius_of(temperature)
        z = self._circuit.at(self.soc, celsius)
        # What of capacity and error depends on the place of the cell:
        self._charge_of_full = 3600.0 * self._one_c * (z[SHARE] * self.health)
        self._model_error = z[ERROR]
        self._sense(np.isfinite(temperature))
        if self.fresh.any():
            self._recall(z, self.fresh & moving)
        self._predict(z, dt, charge, blind, celsius)
        self._correct(z[R0], moving, dt, voltage, current, weigh)

    def _recall(self, z: FloatArray, where: np.ndarray) -> None:
        """Expect in the RC pairs of `where` what may be left of a load before the start.

        How much that is only the temperature tells, and so the first step. A full cell has most
        likely been charged and rested, another one comes from where its hysteresis is.
        """
        options = self.options
        past = np.where(self.hysteresis > 0.0, self._one_c, -self._one_c) * options.past_load
        past = np.where(self.soc > CHARGED, 0.0, past)
        sizes = options.past_current, options.past_mean_current
        for k, r, size in zip((V1, V2), z[R1_R2], sizes, strict=True):
            self.state[k][where] += (r * past)[where]
            self.covariance[k, k][where] += np.square(r * size * self._one_c)[where]
        self.fresh &= ~where

    def _sense(self, warm: np.ndarray) -> None:
        """Where no temperature is measured (not `warm`) the resistance tells what it may be."""
        options = self.options
        if not warm.all():
            p = self.covariance[RESISTANCE, RESISTANCE]
            p += np.where(self._warm & ~warm, options.blind_resistance_error**2, 0.0)
            colder = np.clip(1.0 + self.resistance, 1.0, COLDEST)
            self._model_error = np.where(warm, self._model_error, self._model_error * colder)
        self._warm = warm

    def _predict(
        self,
        z: FloatArray,
        dt: FloatArray,
        charge: FloatArray,
        blind: FloatArray,
        celsius: FloatArray,
    ) -> None:
        options, p = self.options, self.covariance
        any_blind = blind.any()
        charge = charge - self.bias * (dt - blind if any_blind else dt)
        current = charge / np.maximum(dt, _TINY)
        gained = charge / self._charge_of_full
        decay = self._decays(z, dt, gained)
        gone = 1.0 - np.square(decay)
        # What a step of the bias does to charge and RC pairs.
        rises = (1.0 - decay[PAIRS]) * z[R1_R2]
        of_bias = np.concatenate([(-dt / self._charge_of_full)[None], -rises])
        self.state[V1:] *= decay[V1:]
        self.soc += gained
        self.state[PAIRS] += rises * current
        limit(self.soc, SOC_LOW, SOC_HIGH)
        propagate(p, decay, of_bias, BIAS)
        # Left alone, v spreads to this part of R*i whatever the length of a step.
        size = np.square(options.quick_error * z[R1_R2] * current)
        if any_blind:
            unknown = np.where(blind > 0, options.unknown_current * self._one_c, 0.0)
            size += np.square(z[R1_R2] * unknown)
        size *= gone[PAIRS]
        p[V1, V1] += size[0]
        p[V2, V2] += size[1]
        p[SOC, SOC] += options.gain_error**2 * options.gain_error_soc * np.abs(gained)
        p[BIAS, BIAS] += gone[BIAS] * np.square(self._bias_size)
        self._there = self._rest.at(self.soc, celsius)
        p[OFFSET, OFFSET] += gone[OFFSET] * self._offset_variance(self._there[2])
        p[RESISTANCE, RESISTANCE] += gone[RESISTANCE] * self._resistance_variance()
        mirror(p)
        if any_blind:
            self._spread(unknown * blind / self._charge_of_full)
        self._bound()
        self.hysteresis = self._tables.turned(self.hysteresis, gained)
        self._frozen.count(gained)

    def _decays(self, z: FloatArray, dt: FloatArray, gained: FloatArray) -> FloatArray:
        """Return what is left of each state after dt, (6, n)."""
        options = self.options
        decay = np.empty_like(self.state)
        decay[SOC] = 0.0
        np.divide(dt, z[TAU1_TAU2], out=decay[PAIRS])
        np.divide(dt, options.current_bias_time, out=decay[BIAS])
        net = self._net(dt, gained)
        decay[OFFSET] = net / options.offset_soc + dt / options.offset_time
        decay[RESISTANCE] = net / options.resistance_soc + dt / options.resistance_time
        np.negative(decay, out=decay)
        return np.exp(decay, out=decay)

    def _net(self, dt: FloatArray, gained: FloatArray) -> FloatArray:
        """Return the SOC made good in dt: back and forth brings the same errors back."""
        held = np.exp(-dt / self.options.drift_time)
        self._drift = held * self._drift + (1 - held) * gained / np.maximum(dt, _TINY)
        return np.abs(self._drift) * dt

    def _resistance_variance(self) -> FloatArray | float:
        options = self.options
        if self._warm.all():
            return options.resistance_error**2
        size = np.where(self._warm, options.resistance_error, options.blind_resistance_error)
        return np.square(size)

    def _spread(self, soc: FloatArray) -> None:
        """Widen sigma by `soc`: a current that is not known may be the same all the time.

        Sigma ends at SIGMA_MAX. The covariances are kept, so the matrix stays positive.
        """
        p00 = self.covariance[SOC, SOC]
        sigma = np.sqrt(p00)
        wider = np.maximum(np.minimum(sigma + soc, SIGMA_MAX), sigma)
        p00 += np.where(soc > 0, np.square(wider) - p00, 0.0)

    def _bound(self) -> None:
        """Keep sigma below SIGMA_MAX, and the correlations as they are."""
        p = self.covariance
        if (p[SOC, SOC] > SIGMA_MAX**2).any():
            shrink = np.minimum(1.0, SIGMA_MAX / np.sqrt(np.maximum(p[SOC, SOC], _TINY)))
            p[SOC] *= shrink
            p[:, SOC] *= shrink

    def _correct(
        self,
        r0: FloatArray,
        moving: np.ndarray,
        dt: FloatArray,
        voltage: FloatArray,
        current: FloatArray,
        weigh: bool,
    ) -> None:
        options, p = self.options, self.covariance
        ocv, slope, gap = self._there
        known = np.isfinite(current)
        measured = moving & np.isfinite(voltage) & known
        load = np.where(known, current, 0.0)
        ohmic, of_load = self._tables.drop(r0, load - self.bias)
        drop = ohmic + self.v1 + self.v2
        factor = 1.0 + self.resistance
        raised = factor * drop
        self.expected = ocv + gap * self.hysteresis + raised + self.offset
        off = voltage - self.expected
        self.innovation = np.where(measured, off, np.nan)
        innovation = np.where(measured, off, 0.0)
        measured &= ~self._frozen.find(measured, voltage, load, r0, slope)
        h = np.stack([slope, factor, factor, -of_load * factor, np.ones_like(slope), drop])
        ph = np.einsum('ijn,jn->in', p, h)
        foretold = np.einsum('in,in->n', h, ph)
        quick = self._quick(dt, raised, factor, drop, slope)
        white = options.voltage_noise**2
        strange = options.gate_error**2 * np.square(raised)
        gate = options.gate**2 * (foretold + quick + white + strange)
        believed = measured & (np.square(innovation) <= gate)
        # One independent look per correlation time, however often the board reports.
        looks = np.minimum(np.maximum(dt, _TINY) / options.quick_time, 1.0)
        noise = white + quick / looks
        whole = foretold + noise
        if weigh:
            surprise = np.minimum(np.square(innovation) / whole, _SURPRISE)
            surprise += np.log1p(foretold / noise) + looks * np.log(white + quick)
            self.evidence = np.where(measured, -0.5 * surprise, 0.0)
        # 1/S, and 0 for a cell without a believed reading: it keeps what was predicted.
        gain = ph * np.where(believed, 1.0 / whole, 0.0)
        self.state += gain * innovation
        limit(self.soc, SOC_LOW, SOC_HIGH)
        limit(self.resistance, *RESISTANCE_RANGE)
        # P - K S K': with the floor that `white` puts under S the difference cannot turn
        # negative in double precision, which is what the Joseph form would be for.
        correct(p, gain, ph)
        self._doubt(measured & ~believed, believed, dt)

    def _quick(
        self,
        dt: FloatArray,
        raised: FloatArray,
        factor: FloatArray,
        drop: FloatArray,
        slope: FloatArray,
    ) -> FloatArray:
        """Return the variance in V^2 of what is wrong with the model for some minutes."""
        options = self.options
        kept = np.exp(-dt / options.slow_time)
        self._load = kept * self._load + (1 - kept) * np.abs(drop)
        quick = options.quick_error**2 * np.square(raised)
        quick += options.slow_error**2 * np.square(factor * self._load)
        quick += options.quick_share**2 * np.square(self._model_error)
        quick += options.soc_axis_error**2 * np.square(slope)
        return quick

    def _doubt(self, refused: np.ndarray, believed: np.ndarray, dt: FloatArray) -> None:
        """After `gate_patience` of refused readings it is the SOC that is not believed."""
        self._gated[believed] = 0.0
        if not refused.any():
            return
        self._gated += np.where(refused, dt, 0.0)
        wrong = self._gated > self.options.gate_patience
        if wrong.any():
            self._spread(np.where(wrong, _DOUBT, 0.0))
            self._gated[wrong] = 0.0
