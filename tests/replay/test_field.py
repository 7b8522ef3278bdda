# SPDX-License-Identifier: Apache-2.0
"""Two minutes of a drive with a real car of 96 cells, from its CSV file to SOC and faults.

The rows are 60000 to 60119 of car1 of BatICM, unsupervised-battery-faults (MIT, see field/).
"""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

FIELD = Path(__file__).parent / 'field'


def test_a_drive_of_a_real_car_trips_nothing_and_has_the_soc_of_the_car(
    battery_bag, battery_replay
):
    words = ('--columns', 'ev_field', '--speed', '4')
    bag = battery_bag('field/car1_120_rows.csv.gz', 'field/car_96s.yaml', *words)
    replayed = battery_replay(bag)  # the pack comes with the bag
    with gzip.open(FIELD / 'car1_120_rows.csv.gz', 'rt', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    outcome = replayed.outcome
    assert outcome.duration == pytest.approx(len(rows) / 4, abs=2.0)
    assert replayed.trips == [] and replayed.states[-1] == 'a CONNECTED'
    # Which cells it has is not known: another NMC cell's curve says another SOC.
    told = float(rows[-1]['vehBMSPackSOC']) / 100
    assert outcome.series['soc'][-1] == pytest.approx(told, abs=0.08)
    strongest = max(float(row['BMSBatteryCurrent']) for row in rows)
    assert -np.nanmin(outcome.series['current']) == pytest.approx(strongest, rel=0.1)
    lowest = min(float(row['BMSCellVoltageMin']) for row in rows)
    assert np.nanmin(outcome.series['cell_min']) == pytest.approx(lowest, abs=0.01)
    assert set(+outcome.problems) <= {'currents not measured'}
