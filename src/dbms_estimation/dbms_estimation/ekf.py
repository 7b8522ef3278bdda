# SPDX-License-Identifier: Apache-2.0
"""Extended Kalman filter for the SOC of many cells at once.

State of each cell: x = [soc, v1, v2], the charge and the voltages of two RC pairs. Measurement:
the terminal voltage. The 3x3 covariance is kept as its six independent rows, so it is symmetric
by construction, and every operation is elementwise over the cells: what one cell does, NaN
included, cannot reach another.

The errors that matter here are not white: a wrong OCV table or a current offset is the same from
one scan to the next. Both noises are therefore given as a size and a correlation time, and enter
as spectral densities. The outcome is then the same at 1 Hz and at 100 Hz, and sigma does not
shrink just because a board reports often.
"""

from dataclasses import dataclass

import numpy as np

from dbms_pack.model import FloatArray

from .ecm import SOC_HIGH, SOC_LOW, CellTables, Impedance

SIGMA_MAX = 12**-0.5  # of a value that may be anywhere in 0..1
_TINY = 1e-12


@dataclass(frozen=True)
class FilterOptions:
    """What the filter assumes about the errors of sensors and model."""

    voltage_noise: float = 0.002  # V, white noise of one reading
    model_error: float = 0.010  # V, error of the OCV table and of the circuit
    model_error_time: float = 300.0  # s, over which that error stays the same
    impedance_error: float = 0.15  # relative, of R0, R1 and R2
    blind_impedance_error: float = 1.0  # the same where no temperature is measured
    current_error: float = 0.01  # relative, of the current sensor's gain and of the capacity
    current_error_time: float = 600.0  # s
    unknown_current: float = 1.0  # in units of capacity per hour, where none is measured
    start_voltage_error: float = 0.020  # V, what a cell at rest may be off its OCV
    start_sigma: float = 0.02  # smallest sigma of a start from OCV
    gate: float = 5.0  # sigmas of innovation above which a reading is not believed
    gate_patience: float = 30.0  # s of that, after which the SOC is doubted instead
    frozen: float = 0.010  # V the voltage should have moved while the reading stood still


class CellFilter:
    """SOC filter of n cells in arrays.

    Attributes, all of shape (n,): `started`, `soc`, `sigma`, `innovation` (V; NaN where the last
    step had no reading), `v1`, `v2` (V). `covariance` has the shape (6, n), its rows are the
    elements 00, 01, 02, 11, 12, 22.
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
        self._charge_of_full = capacity * 3600.0
        self._one_c = capacity
        self._offset = np.broadcast_to(current_offset, (cells,)).astype(float)
        self.started = np.zeros(cells, dtype=bool)
        self.soc = np.full(cells, 0.5)
        self.v1 = np.zeros(cells)
        self.v2 = np.zeros(cells)
        self.covariance = np.zeros((6, cells))
        self.innovation: FloatArray = np.full(cells, np.nan)
        self._gated = np.zeros(cells)  # s without a believed reading
        self._seen = np.full(cells, np.nan)  # V, the last reading that was a new one
        self._seen_current = np.zeros(cells)
        self._moved = np.zeros(cells)  # V the OCV should have moved since then

    @property
    def sigma(self) -> FloatArray:
        """Standard deviation of the SOC."""
        return np.sqrt(self.covariance[0])

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
        z, _ = self._impedance(np.clip(self._tables.soc(voltage), 0, 1), temperature)
        # How far the RC pairs have come since the load was switched on is not known: half way.
        v1, v2 = 0.5 * z.r1 * load, 0.5 * z.r2 * load
        ocv = voltage - z.r0 * load - v1 - v2
        error = np.where(known, 0.5 * (z.r1 + z.r2), z.r0 + z.r1 + z.r2) * unknown
        error = np.hypot(error, self.options.start_voltage_error)
        sigma = 0.5 * (self._tables.soc(ocv + error) - self._tables.soc(ocv - error))
        sigma = np.clip(sigma, self.options.start_sigma, SIGMA_MAX)
        self.reset(where, self._tables.soc(ocv), sigma, v1, v2)
        self.covariance[3][where] = (np.square(0.5 * z.r1 * unknown) + 1e-6)[where]
        self.covariance[5][where] = (np.square(0.5 * z.r2 * unknown) + 1e-6)[where]

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
        self.covariance[:, where] = 0.0
        self.covariance[0][where] = np.square(sigma[where])
        self.covariance[3][where] = self.covariance[5][where] = 1e-6
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
        self._predict(z, error, dt, np.where(moving, charge, 0.0), np.where(moving, blind, 0.0))
        self._correct(z, error, moving, dt, voltage, current)

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
        options = self.options
        current = charge / np.maximum(dt, _TINY)
        gained = charge / self._charge_of_full
        self.soc += gained
        np.clip(self.soc, SOC_LOW, SOC_HIGH, out=self.soc)
        a1, a2 = np.exp(-dt / z.tau1), np.exp(-dt / z.tau2)
        unknown = np.where(blind > 0, options.unknown_current * self._one_c, 0.0)
        p00, p01, p02, p11, p12, p22 = self.covariance
        for v, r, a, p0, p in ((self.v1, z.r1, a1, p01, p11), (self.v2, z.r2, a2, p02, p22)):
            steady = r * current
            v *= a
            v += (1 - a) * steady
            p0 *= a
            # Left alone, v spreads to this part of R*i whatever the length of a step.
            p *= a * a
            p += (1 - a * a) * (np.square(error * steady) + np.square(r * unknown))
        p12 *= a1 * a2
        offset = self._offset + options.current_error * np.abs(current)
        p00 += np.square(offset / self._charge_of_full) * options.current_error_time * dt
        if blind.any():
            self._spread(unknown * blind / self._charge_of_full)
        self._bound()
        self._moved += gained

    def _spread(self, soc: FloatArray) -> None:
        """Widen sigma by `soc`: a current that is not known may be the same all the time.

        Sigma ends at SIGMA_MAX. The correlations are kept, so the covariance stays positive.
        """
        p00 = self.covariance[0]
        sigma = np.sqrt(p00)
        wider = np.maximum(np.minimum(sigma + soc, SIGMA_MAX), sigma)
        p00 += np.where(soc > 0, np.square(wider) - p00, 0.0)

    def _bound(self) -> None:
        """Keep sigma below SIGMA_MAX, and the correlations as they are."""
        p00, p01, p02 = self.covariance[:3]
        if (p00 > SIGMA_MAX**2).any():
            shrink = np.minimum(1.0, SIGMA_MAX / np.sqrt(np.maximum(p00, _TINY)))
            p00 *= shrink * shrink
            p01 *= shrink
            p02 *= shrink

    def _correct(
        self,
        z: Impedance,
        error: FloatArray,
        moving: np.ndarray,
        dt: FloatArray,
        voltage: FloatArray,
        current: FloatArray,
    ) -> None:
        options = self.options
        ocv, slope = self._tables.ocv(self.soc)
        measured = moving & np.isfinite(voltage) & np.isfinite(current)
        load = np.where(measured, current, 0.0)
        innovation = voltage - (ocv + z.r0 * load + self.v1 + self.v2)
        self.innovation = np.where(measured, innovation, np.nan)
        measured &= ~self._is_frozen(z, slope, voltage, load, measured)
        p00, p01, p02, p11, p12, p22 = self.covariance
        h0 = slope * p00 + p01 + p02
        h1 = slope * p01 + p11 + p12
        h2 = slope * p02 + p12 + p22
        expected = slope * h0 + h1 + h2
        model = options.model_error**2 + np.square(error * (z.r0 + z.r1 + z.r2) * load)
        white = options.voltage_noise**2
        gate = options.gate**2 * (expected + model + white)
        believed = measured & (np.square(innovation) <= gate)
        repeated = np.maximum(options.model_error_time / np.maximum(dt, _TINY), 1.0)
        # 1/S, and 0 for a cell without a believed reading: it keeps what was predicted.
        weight = np.where(believed, 1.0 / (expected + white + model * repeated), 0.0)
        pull = weight * np.where(believed, innovation, 0.0)
        self.soc += h0 * pull
        self.v1 += h1 * pull
        self.v2 += h2 * pull
        np.clip(self.soc, SOC_LOW, SOC_HIGH, out=self.soc)
        # P - K S K': with the floor that `white` puts under S the difference cannot turn
        # negative in double precision, which is what the Joseph form would be for.
        p00 -= weight * h0 * h0
        p01 -= weight * h0 * h1
        p02 -= weight * h0 * h2
        p11 -= weight * h1 * h1
        p12 -= weight * h1 * h2
        p22 -= weight * h2 * h2
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
