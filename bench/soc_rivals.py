# SPDX-License-Identifier: Apache-2.0
"""Other ways to tell the SOC of a cell, over the same cell file and the same recordings."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from bench.soc_cycles import Cycle
from bench.soc_run import Guess
from dbms_estimation.ecm import SOC_HIGH, SOC_LOW, CellTables
from dbms_pack.model import CellModel, FloatArray

FIRST_SIGMA = 0.3
VOLTAGE_SIGMA = 0.01  # V
RESTED = 1800.0  # s without current after which a voltage is taken for the OCV
STILL = 0.02  # of 1C: no current
STEEP = 0.3  # V per unit of SOC: below that an OCV tells nothing
WINDOW = 200  # innovations that the adaptive filter looks back at


class Row(NamedTuple):
    """A step of a cell and what was measured at its end."""

    dt: float
    current: float
    voltage: float
    celsius: float


def rows_of(cycle: Cycle) -> Iterator[Row]:
    """Yield the rows with what is blank filled as a plain filter would: held, or 25 degC."""
    steps = np.diff(cycle.record.time, prepend=cycle.record.time[0])
    record = cycle.record
    held = 0.0
    for dt, amps, volts, celsius in zip(
        steps, record.current, record.voltage, record.temperature, strict=True
    ):
        held = amps if np.isfinite(amps) else held
        yield Row(dt, held, volts, celsius if np.isfinite(celsius) else 25.0)


def counting(cycle: Cycle, cell: CellModel) -> Guess:
    """Count the charge from the start that was told."""
    current = np.nan_to_num(cycle.record.current)
    step = 0.5 * (current[1:] + current[:-1]) * np.diff(cycle.record.time)
    return cycle.start + np.r_[0.0, np.cumsum(step)] / (3600.0 * cell.capacity), None


def counting_with_rests(cycle: Cycle, cell: CellModel) -> Guess:
    """Count, and after a long rest take the SOC from the OCV where that is steep."""
    tables, soc, rested = CellTables(cell), cycle.start, 0.0
    result = np.empty(len(cycle.truth))
    for k, row in enumerate(rows_of(cycle)):
        soc += row.current * row.dt / 3600.0 / cell.capacity
        rested = rested + row.dt if abs(row.current) < STILL * cell.capacity else 0.0
        if rested > RESTED and np.isfinite(row.voltage):
            there = tables.soc(np.array([row.voltage]))
            if tables.ocv(there)[1][0] > STEEP:
                soc = float(there[0])
        result[k] = soc
    return result, None


class Circuit:
    """The equations of the cell file for a filter of one cell: x = [soc, v1, v2]."""

    def __init__(self, cell: CellModel) -> None:
        self.tables = CellTables(cell)
        self.capacity = cell.capacity

    def move(self, x: FloatArray, row: Row) -> tuple[FloatArray, FloatArray]:
        """Return the next state, and the decays that make it."""
        z = self._impedance(x, row)
        keep = np.exp(-row.dt / np.array([1e12, z.tau1[0], z.tau2[0]]))
        drive = np.array([0.0, z.r1[0], z.r2[0]]) * (1 - keep) * row.current
        drive[0] = row.current * row.dt / 3600 / self.capacity
        return keep * x + drive, keep

    def sees(self, x: FloatArray, row: Row) -> tuple[FloatArray, FloatArray]:
        """Return the terminal voltage and its slope over the state."""
        z = self._impedance(x, row)
        ocv, slope = self.tables.ocv(self._soc(x), np.array([row.celsius]))
        ohmic = self.tables.drop(z.r0, np.array([row.current]))[0]
        return ocv + ohmic + x[1] + x[2], np.array([[slope[0], 1.0, 1.0]])

    def _soc(self, x: FloatArray) -> FloatArray:
        return np.clip(x[:1], SOC_LOW, SOC_HIGH)

    def _impedance(self, x: FloatArray, row: Row) -> Any:
        return self.tables.impedance(self._soc(x), np.array([row.celsius]))


def plain_ekf(cycle: Cycle, cell: CellModel, adaptive: bool = False) -> Guess:
    """Run a filterpy EKF with white noises; `adaptive`: their size from the innovations."""
    from filterpy.kalman import ExtendedKalmanFilter

    circuit = Circuit(cell)
    ekf = ExtendedKalmanFilter(dim_x=3, dim_z=1)
    ekf.x = np.array([cycle.start, 0.0, 0.0])
    ekf.P, ekf.R = np.diag([FIRST_SIGMA**2, 1e-4, 1e-4]), np.array([[VOLTAGE_SIGMA**2]])
    size = VOLTAGE_SIGMA**2
    result = np.empty((2, len(cycle.truth)))
    for k, row in enumerate(rows_of(cycle)):
        ekf.x, keep = circuit.move(ekf.x, row)
        ekf.F, ekf.Q = np.diag(keep), np.diag([1e-10, 1e-8, 1e-8]) * row.dt
        ekf.P = ekf.F @ ekf.P @ ekf.F.T + ekf.Q
        if np.isfinite(row.voltage):
            ekf.update(
                np.array([row.voltage]),
                lambda x, row=row: circuit.sees(x, row)[1],
                lambda x, row=row: circuit.sees(x, row)[0],
            )
            if adaptive:
                size += (float(ekf.y[0]) ** 2 - size) / WINDOW
                ekf.R = np.array([[max(size, 0.002**2)]])
        result[:, k] = ekf.x[0], np.sqrt(max(ekf.P[0, 0], 0.0))
    return result[0], result[1]


def adaptive_ekf(cycle: Cycle, cell: CellModel) -> Guess:
    """Run the EKF whose noise is as large as its innovations were of late."""
    return plain_ekf(cycle, cell, adaptive=True)


def plain_ukf(cycle: Cycle, cell: CellModel) -> Guess:
    """Run a filterpy UKF with the same noises."""
    from filterpy.kalman import MerweScaledSigmaPoints, UnscentedKalmanFilter

    circuit = Circuit(cell)
    row = Row(0.0, 0.0, 0.0, 25.0)
    points = MerweScaledSigmaPoints(3, alpha=0.3, beta=2.0, kappa=0.0)
    ukf = UnscentedKalmanFilter(
        3, 1, 1.0, lambda x: circuit.sees(x, row)[0], lambda x, dt: circuit.move(x, row)[0], points
    )
    ukf.x = np.array([cycle.start, 0.0, 0.0])
    ukf.P, ukf.R = np.diag([FIRST_SIGMA**2, 1e-4, 1e-4]), np.array([[VOLTAGE_SIGMA**2]])
    result = np.empty((2, len(cycle.truth)))
    for k, row in enumerate(rows_of(cycle)):  # noqa: B007 - the functions above read `row`
        ukf.Q = np.diag([1e-10, 1e-8, 1e-8]) * row.dt + 1e-14 * np.eye(3)
        ukf.predict()
        if np.isfinite(row.voltage):
            ukf.update(np.array([row.voltage]))
        ukf.P = 0.5 * (ukf.P + ukf.P.T) + 1e-12 * np.eye(3)
        result[:, k] = ukf.x[0], np.sqrt(ukf.P[0, 0])
    return result[0], result[1]


RIVALS: dict[str, Callable[[Cycle, CellModel], Guess]] = {
    'counting': counting,
    'counting, OCV at rest': counting_with_rests,
    'plain EKF': plain_ekf,
    'adaptive EKF': adaptive_ekf,
    'plain UKF': plain_ukf,
}
