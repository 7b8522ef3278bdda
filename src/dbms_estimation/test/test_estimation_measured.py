# SPDX-License-Identifier: Apache-2.0
"""Against measurements of real cells. They are not part of the project: $DBMS_DATA says where."""

import csv
import gzip
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from estimation_rig import make_pack

from dbms_estimation.pack_estimator import PackEstimator
from dbms_pack import load_cell, load_pack

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get('DBMS_DATA', ROOT.parent / 'shared' / 'data'))
LG = 'lg_hg2/25degC'
LG_CAPACITY = 2.778  # Ah between the voltage limits of the cycler, which full and empty refer to


def rows_of(name: str, first_column: str) -> list[dict[str, str]]:
    """Return the rows below the header line that begins with `first_column`."""
    path = DATA / name
    if not path.is_file():
        pytest.skip(f'no measured data at {path}')
    with gzip.open(path, 'rt', encoding='latin-1') as file:
        lines = file.readlines()
    header = next(i for i, line in enumerate(lines) if line.startswith(first_column))
    return list(csv.DictReader(lines[header:]))


def columns_of(rows: list[dict[str, str]], *names: str) -> list[np.ndarray]:
    return [np.array([float(row[name]) for row in rows]) for name in names]


def test_soc_of_a_drive_cycle_from_a_true_and_a_wrong_start():
    rows = rows_of(f'{LG}/551_UDDS_processed.csv.gz', 'Timestamp')
    rows = rows[: len(rows) // 2]
    time, voltage, current, temperature, counted = columns_of(
        rows, 'Time [s]', 'Voltage [V]', 'Current [A]', 'Temperature [degC]', 'Capacity [Ah]'
    )
    pack = make_pack(cells=2, temperatures=1, cell=load_cell('lg_hg2'), current_period=1.0)
    estimator = PackEstimator(pack)
    truth = 1.0 + counted / LG_CAPACITY
    soc = np.empty((len(time), 2))
    for k, t in enumerate(time):
        estimator.add_current(0, t, current[k])
        estimator.add_scan(0, t, t, [voltage[k]] * 2, [temperature[k]])
        estimator.tick()
        if k == 10:
            second = np.array([False, True])
            wrong = np.full(2, truth[k] - 0.3)
            estimator.filter.reset(second, wrong, np.full(2, 0.3))
            assert estimator.filter.soc[1] < truth[k] - 0.2
        soc[k] = estimator.filter.soc
    settled = time > time[0] + 600.0
    error = (soc - truth[:, None])[settled]
    rmse = np.sqrt(np.mean(np.square(error), axis=0))
    print(f'RMSE {rmse}, largest errors {np.abs(error).max(axis=0)}')
    assert (rmse < 0.015).all()


def test_soc_of_six_cells_in_series_falls_with_their_discharge():
    rows = rows_of('leaf_module/module123-irdischarge-65ah-1_0c.csv.gz', 'Total Time')
    names = [f'Cell Voltage A{i}' for i in range(1, 7)]
    time, current, *voltages = columns_of(rows, 'Total Time', 'Current', *names)
    temperatures = columns_of(rows, *[f'Temperature A{i}' for i in range(1, 4)])
    pack = load_pack('leaf_module')
    string = pack.strings[0]
    sensor = replace(string.current_sensor, period=10.0)  # the file has a row every 10 s and less
    pack = replace(pack, strings=(replace(string, current_sensor=sensor),))
    estimator = PackEstimator(pack)
    voltages, temperatures = np.array(voltages).T, np.array(temperatures).T
    soc = []
    for k, t in enumerate(time):
        estimator.add_current(0, t, current[k])
        estimator.add_scan(0, t, t, voltages[k], temperatures[k][: pack.temperatures])
        estimator.tick()
        soc.append(estimator.filter.soc.copy())
    soc = np.array(soc)
    loaded = np.flatnonzero(current < -60.0)
    first, last = soc[loaded[0]], soc[loaded[-1]]
    assert (first > 0.75).all()
    assert (first - last > 0.5).all()
    assert last.min() < 0.1
    assert last.argmin() == voltages[loaded[-1]].argmin()
