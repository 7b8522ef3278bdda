# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from dbms_sim.feeds import ModelFeed
from dbms_sim.link import Contacts
from dbms_sim.loads import PackView, make_load

HALF = PackView(0.5, 0.5, 3.7)


@pytest.mark.parametrize('name', ['robot', 'marine'])
def test_a_mission_goes_to_and_fro_within_its_limits(request, name):
    pack = request.getfixturevalue(name)
    feed = ModelFeed(pack, make_load(name, pack), 0.28, seed=1)
    strings = len(pack.strings)
    contacts = Contacts(np.ones(strings, dtype=bool), np.zeros(strings, dtype=bool))
    socs, currents, voltages = [], [], []
    for _ in range(4 * 1800):  # four hours in steps of 2 s
        feed.advance(2.0, 1.0, contacts, np.zeros(pack.cells, dtype=bool))
        socs.append((feed.plant.soc.min(), feed.plant.soc.max()))
        currents.append(feed.currents.sum())
        voltages.append((feed.voltages.min(), feed.voltages.max()))
    assert 0.2 < np.min(socs) < 0.3
    assert 0.85 < np.max(socs) < 0.95
    assert min(currents) < -0.3 * pack.capacity
    assert max(currents) > 0.2 * pack.capacity
    assert pack.cell.voltage_min < np.min(voltages)
    assert np.max(voltages) < pack.cell.voltage_max


def test_rest_and_constant(robot):
    assert make_load('rest', robot).current(3.0, HALF) == 0.0
    assert make_load('constant:-20', robot).current(3.0, HALF) == -20.0


def test_csv_profile_repeats_and_holds(robot, tmp_path):
    path = tmp_path / 'load.csv'
    path.write_text('time,current\n0,-1\n2,-3\n4,5\n', encoding='utf-8')
    load = make_load(str(path), robot)
    assert [load.current(t, HALF) for t in (0, 1.9, 2, 3.9, 4, 6)] == [-1, -1, -3, -3, -1, -3]


@pytest.mark.parametrize('name', ['', 'robto', 'constant:', 'constant:nan', 'constant:x', 'a.csv'])
def test_unknown_load_is_refused(robot, name):
    with pytest.raises(ValueError, match='load|a.csv'):
        make_load(name, robot)


def test_a_charger_tapers_at_its_voltage_and_never_discharges(robot):
    load = make_load('charge:9', robot)
    assert load.current(0.0, PackView(0.5, 0.5, 3.7)) == 9.0
    near = load.current(0.0, PackView(0.9, 0.9, robot.cell.voltage_max - 0.1))
    assert 0.0 < near < 9.0
    assert load.current(0.0, PackView(1.0, 1.0, robot.cell.voltage_max + 0.1)) == 0.0
    with pytest.raises(ValueError, match='is not a current'):
        make_load('charge:full', robot)
