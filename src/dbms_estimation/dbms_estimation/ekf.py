# SPDX-License-Identifier: Apache-2.0
"""Extended Kalman filter for the SOC of many cells at once.

State of each cell: x = [soc, v1, v2, bias, offset]: the charge, the voltages of two RC pairs, the
offset of its current sensor and the error of the voltage model where the cell is now. Measurement:
the terminal voltage. Every operation is elementwise over the cells: what one cell does, NaN
included, cannot reach another.

The errors that matter here are not white: a wrong OCV table is as wrong after an hour of rest as
it was before, and only another SOC brings another error. It is therefore a state that is forgotten
with the charge that flows and not with time, so sigma does not shrink just because a board
reports often or a cell rests long. What is left, the error of the circuit under load, is given a
size and a correlation time. The outcome is the same at 1 Hz and at 100 Hz.
"""

from dataclasses import dataclass

import numpy as np

from dbms_pack.model import FloatArray

from .ecm import REFERENCE, SOC_HIGH, SOC_LOW, CellTables, Impedance

SIGMA_MAX = 12**-0.5  # of a value that may be anywhere in 0..1
STATES = 5
CHARGED = 0.9  # SOC above which a cell has most likely been charged last
_SOC, _V1, _V2, _BIAS, _OFFSET = range(STATES)
_TINY = 1e-12


@dataclass(frozen=True)
class FilterOptions:
    """What the filter assumes about the errors of sensors and model."""

    voltage_noise: float = 0.002  # V, white noise of one reading
    model_error: float = 0.010  # V, error of the model, where the cell file does not tell
    offset_share: float = 0.5  # how much of it is an error of the OCV table at one SOC
    model_error_soc: float = 0.3  # change of SOC after which that error is another one
    model_error_time: float = 1e6  # s, the same without any change of SOC
    hysteresis_error: float = 0.4  # of half the gap between the OCVs of both directions
    drift_time: float = 900.0  # s, over which back and forth cancel out
    quick_share: float = 0.4  # how much of it changes soon: error of the circuit
    quick_error_time: float = 200.0  # s, over which that stays the same
    impedance_error: float = 0.1  # relative, of R0, R1 and R2
    blind_impedance_error: float = 1.0  # the same where no temperature is measured
    current_bias: float = 0.005  # offset of the current sensor, in units of capacity per hour
    current_bias_time: float = 1e5  # s, over which it stays the same
    gain_error: float = 0.007  # relative, of the current sensor's gain and of the capacity
    gain_error_soc: float = 0.5  # charge over which the outcome of that error adds up
    unknown_current: float = 1.0  # in units of capacity per hour, where none is measured
    start_voltage_error: float = 0.020  # V, what a cell at rest may be off its OCV
    start_sigma: float = 0.02  # smallest sigma of a start from OCV
    past_current: float = 0.5  # before the start, in units of capacity per hour
    gate: float = 5.0  # sigmas of innovation above which a reading is not believed
    gate_patience: float = 30.0  # s of that, after which the SOC is doubted instead
    frozen: float = 0.010  # V the voltage should have moved while the reading stood still


class CellFilter:
    """SOC filter of n cells in arrays.

    Attributes of shape (n,): `started`, `soc`, `sigma`, `bias` (A, what the current sensor shows
    too much) and `bias_sigma`, `expected` (V, what the model foretold for the last step),
    `innovation` (V, by how much the reading was off that; NaN without a reading), `v1`, `v2`,
    `offset` (V). `covariance` has the shape (5, 5, n).
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
        self.options = options or FilterOptions()
        self._tables = tables
        self._one_c = capacity
        self._charge_of_full: FloatArray | float = capacity * 3600.0
        self._model_error: FloatArray = np.full(cells, self.options.model_error)
        self._celsius: FloatArray = np.full(cells, REFERENCE)
        least = self.options.current_bias * capacity
        self._bias_size = np.maximum(np.broadcast_to(current_offset, (cells,)), least)
        self.started = np.zeros(cells, dtype=bool)
        self.state = np.zeros((STATES, cells))
        self.soc, self.v1, self.v2, self.bias, self.offset = self.state
        self.soc[:] = 0.5
        self.hysteresis: FloatArray = np.zeros(
            cells
        )  # -1 after a long discharge .. 1 after a long charge
        self.covariance = np.zeros((STATES, STATES, cells))
        self.expected: FloatArray = np.full(cells, np.nan)
        self.innovation: FloatArray = np.full(cells, np.nan)
        self._drift: FloatArray = np.zeros(cells)  # SOC per s, slow
        self._gated = np.zeros(cells)  # s without a believed reading
        self._seen = np.full(cells, np.nan)  # V, the last reading that was a new one
        self._seen_current = np.zeros(cells)
        self._moved = np.zeros(cells)  # V the OCV should have moved since then

    @property
    def sigma(self) -> FloatArray:
        """Standard deviation of the SOC."""
        return np.sqrt(self.covariance[_SOC, _SOC])

    @property
    def bias_sigma(self) -> FloatArray:
        """Standard deviation of the current sensor's offset in A."""
        return np.sqrt(self.covariance[_BIAS, _BIAS])

    def start(
        self, where: np.ndarray, voltage: FloatArray, current: FloatArray, temperature: FloatArray
    ) -> None:
        """Start the cells `where` (a mask) from their voltage.

        Without current the voltage is the OCV; under load, or with an unknown current (NaN), it
        is corrected as far as known and sigma is as wide as what is not known.
        """
        known = np.isfinite(current)
        load = np.where(known, current, 0.0)
        unknown = np.where(known, np.abs(load), self._one_c)
        celsius = np.where(np.isfinite(temperature), temperature, REFERENCE)
        z, _ = self._impedance(self._tables.soc(voltage, celsius), temperature)
        # How far the RC pairs have come since the load was switched on is not known: half way.
        v1, v2 = 0.5 * z.r1 * load, 0.5 * z.r2 * load
        ocv = voltage - z.r0 * load - v1 - v2
        error = np.where(known, 0.5 * (z.r1 + z.r2), z.r0 + z.r1 + z.r2) * unknown
        error = np.hypot(error, self.options.start_voltage_error)
        soc = self._tables.soc(ocv, celsius)
        error += self._tables.hysteresis(soc)
        highest = self._tables.soc(ocv + error, celsius)
        sigma = 0.5 * (highest - self._tables.soc(ocv - error, celsius))
        sigma = np.clip(sigma, self.options.start_sigma, SIGMA_MAX)
        self.reset(where, soc, sigma, v1, v2)
        self.expected[where] = voltage[where]
        self.covariance[_V1, _V1][where] = (np.square(0.5 * z.r1 * unknown) + 1e-6)[where]
        self.covariance[_V2, _V2][where] = (np.square(0.5 * z.r2 * unknown) + 1e-6)[where]

    def reset(
        self,
        where: np.ndarray,
        soc: FloatArray,
        sigma: FloatArray,
        v1: FloatArray | float = 0.0,
        v2: FloatArray | float = 0.0,
    ) -> None:
        """Set the state of the cells `where` (a mask) to a known one."""
        self.soc[where] = soc[where]
        self.v1[where] = np.broadcast_to(v1, soc.shape)[where]
        self.v2[where] = np.broadcast_to(v2, soc.shape)[where]
        self.bias[where] = self.offset[where] = 0.0
        self.hysteresis[where] = np.where(soc > CHARGED, 1.0, 0.0)[where]  # full: by a charge
        self.covariance[:, :, where] = 0.0
        self.covariance[_SOC, _SOC][where] = np.square(sigma[where])
        self._drift[where] = 0.0
        # What flowed before is not known: something may be left in the RC pairs.
        z, _ = self._impedance(np.clip(self.soc, 0, 1), np.full(len(self.soc), np.nan))
        past = self.options.past_current * self._one_c
        self.covariance[_V1, _V1][where] = (np.square(z.r1 * past) + 1e-6)[where]
        self.covariance[_V2, _V2][where] = (np.square(z.r2 * past) + 1e-6)[where]
        self.covariance[_BIAS, _BIAS][where] = np.square(self._bias_size[where])
        # Which way the cell came here is not known: the OCV may be on either side.
        size = np.hypot(self._offset_size(), self._tables.hysteresis(self.soc))
        self.covariance[_OFFSET, _OFFSET][where] = np.square(size[where])
        self.started |= where
        self._gated[where] = 0.0
        self._seen[where] = np.nan

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
        z, error = self._impedance(self.soc, temperature)
        self._adapt(temperature)
        self._predict(z, error, dt, np.where(moving, charge, 0.0), np.where(moving, blind, 0.0))
        self._correct(z, error, moving, dt, voltage, current)

    def _adapt(self, temperature: FloatArray) -> None:
        """Take over what of capacity and error depends on temperature alone."""
        known = np.where(np.isfinite(temperature), temperature, REFERENCE)
        self._celsius = known
        self._charge_of_full = 3600.0 * self._one_c * self._tables.capacity(known)
        self._model_error = self._tables.model_error(known, self.options.model_error)

    def _impedance(self, soc: FloatArray, temperature: FloatArray) -> tuple[Impedance, FloatArray]:
        """Return the impedance and its relative error."""
        known = np.isfinite(temperature)
        z = self._tables.impedance(soc, np.where(known, temperature, 25.0))
        options = self.options
        return z, np.where(known, options.impedance_error, options.blind_impedance_error)

    def _predict(
        self,
        z: Impedance,
        error: FloatArray,
        dt: FloatArray,
        charge: FloatArray,
        blind: FloatArray,
    ) -> None:
        options, p = self.options, self.covariance
        charge = charge - self.bias * (dt - blind)
        current = charge / np.maximum(dt, _TINY)
        gained = charge / self._charge_of_full
        travelled = np.abs(gained)
        # Back and forth brings the same OCV error back: only the way made good counts.
        held = np.exp(-dt / options.drift_time)
        self._drift = held * self._drift + (1 - held) * gained / np.maximum(dt, _TINY)
        net = np.abs(self._drift) * dt
        a1, a2 = np.exp(-dt / z.tau1), np.exp(-dt / z.tau2)
        kept = np.exp(-net / options.model_error_soc - dt / options.model_error_time)
        held = np.exp(-dt / options.current_bias_time)
        # The transition: decays, and what a step of the bias does to charge and RC pairs.
        decay = np.stack([np.ones_like(dt), a1, a2, held, kept])
        of_bias = np.stack([-dt / self._charge_of_full, -(1 - a1) * z.r1, -(1 - a2) * z.r2])
        self.state *= decay
        self.soc += gained
        self.v1 += (1 - a1) * z.r1 * current
        self.v2 += (1 - a2) * z.r2 * current
        np.clip(self.soc, SOC_LOW, SOC_HIGH, out=self.soc)
        row = p[_BIAS].copy()
        p *= decay[:, None]
        p[:_BIAS] += of_bias[:, None] * row
        column = p[:, _BIAS].copy()
        p *= decay[None]
        p[:, :_BIAS] += column[:, None] * of_bias[None]
        unknown = np.where(blind > 0, options.unknown_current * self._one_c, 0.0)
        for k, r, a in ((_V1, z.r1, a1), (_V2, z.r2, a2)):
            # Left alone, v spreads to this part of R*i whatever the length of a step.
            p[k, k] += (1 - a * a) * (np.square(error * r * current) + np.square(r * unknown))
        p[_SOC, _SOC] += options.gain_error**2 * options.gain_error_soc * travelled
        p[_BIAS, _BIAS] += (1 - held * held) * np.square(self._bias_size)
        p[_OFFSET, _OFFSET] += (1 - kept * kept) * np.square(self._offset_size())
        if blind.any():
            self._spread(unknown * blind / self._charge_of_full)
        self._bound()
        self.hysteresis = self._tables.turned(self.hysteresis, gained)
        self._moved += gained

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
        error: FloatArray,
        moving: np.ndarray,
        dt: FloatArray,
        voltage: FloatArray,
        current: FloatArray,
    ) -> None:
        options, p = self.options, self.covariance
        ocv, slope = self._tables.ocv(self.soc, self._celsius)
        ocv = ocv + self._tables.hysteresis(self.soc) * self.hysteresis
        measured = moving & np.isfinite(voltage) & np.isfinite(current)
        load = np.where(np.isfinite(current), current, 0.0)
        self.expected = ocv + z.r0 * (load - self.bias) + self.v1 + self.v2 + self.offset
        innovation = voltage - self.expected
        self.innovation = np.where(measured, innovation, np.nan)
        measured &= ~self._is_frozen(z, slope, voltage, load, measured)
        one = np.ones_like(slope)
        h = np.stack([slope, one, one, -z.r0, one])
        ph = (p * h).sum(axis=1)
        expected = (h * ph).sum(axis=0)
        circuit = np.square(error * (z.r0 + z.r1 + z.r2) * load) + np.square(
            options.quick_share * self._model_error
        )
        white = options.voltage_noise**2
        gate = options.gate**2 * (expected + circuit + white)
        believed = measured & (np.square(innovation) <= gate)
        repeated = np.maximum(options.quick_error_time / np.maximum(dt, _TINY), 1.0)
        # 1/S, and 0 for a cell without a believed reading: it keeps what was predicted.
        weight = np.where(believed, 1.0 / (expected + white + circuit * repeated), 0.0)
        self.state += ph * (weight * np.where(believed, innovation, 0.0))
        np.clip(self.soc, SOC_LOW, SOC_HIGH, out=self.soc)
        # P - K S K': with the floor that `white` puts under S the difference cannot turn
        # negative in double precision, which is what the Joseph form would be for.
        p -= (weight * ph)[:, None] * ph[None]
        self._doubt(measured & ~believed, believed, dt)

    def _is_frozen(
        self,
        z: Impedance,
        slope: FloatArray,
        voltage: FloatArray,
        load: FloatArray,
        measured: np.ndarray,
    ) -> np.ndarray:
        """Return where the reading stands still although current or charge moved the cell."""
        still = measured & (voltage == self._seen)
        fresh = measured & ~still
        self._seen[fresh] = voltage[fresh]
        self._seen_current[fresh] = load[fresh]
        self._moved[fresh] = 0.0
        moved = z.r0 * (load - self._seen_current) + slope * self._moved
        return still & (np.abs(moved) > self.options.frozen)

    def _doubt(self, refused: np.ndarray, believed: np.ndarray, dt: FloatArray) -> None:
        """After `gate_patience` of refused readings it is the SOC that is not believed."""
        self._gated[believed] = 0.0
        self._gated += np.where(refused, dt, 0.0)
        wrong = self._gated > self.options.gate_patience
        if wrong.any():
            self._spread(np.where(wrong, 0.1, 0.0))
            self._gated[wrong] = 0.0
