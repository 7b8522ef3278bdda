# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from dbms_pack import Level, paths
from dbms_sim.feeds import ModelFeed
from dbms_sim.link import Contacts
from dbms_sim.loads import Allowed, PackView, make_load
from dbms_sim.playback import read_profile

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


def test_an_obeying_load_keeps_to_the_limits_and_rests_without_them(robot):
    load = make_load('obey:constant:-20', robot)
    assert load.current(0.0, HALF) == 0.0
    assert load.current(0.0, PackView(0.5, 0.5, 3.7, Allowed(10.0, 15.0))) == -15.0
    assert load.current(0.0, PackView(0.5, 0.5, 3.7, Allowed(10.0, 30.0))) == -20.0
    charge = make_load('obey:charge:9', robot)
    assert charge.current(0.0, PackView(0.5, 0.5, 3.7, Allowed(2.5, 15.0))) == 2.5


@pytest.mark.parametrize(
    ('wanted', 'highest', 'lowest', 'flows'),
    [
        (9.0, 50.0, 40.0, 9.0),
        (9.0, 48.2, 40.0, 4.0),  # 48 V behind 50 mOhm reach 48.2 V at 4 A
        (9.0, 47.0, 40.0, 0.0),  # above the voltage already: a charger does not draw
        (9.0, math.nan, 40.0, 0.0),
        (-20.0, 50.0, 47.5, -10.0),
        (-20.0, 50.0, 49.0, 0.0),
        (-20.0, 50.0, math.nan, 0.0),
    ],
)
def test_an_obeying_load_keeps_the_terminals_within_the_voltages(
    robot, wanted, highest, lowest, flows
):
    load = make_load(f'obey:constant:{wanted}', robot)
    allowed = Allowed(100.0, 100.0, highest, lowest)
    view = PackView(0.5, 0.5, 3.7, allowed, 48.0, 48.0, 0.05)
    assert load.current(0.0, view) == pytest.approx(flows)


def test_a_charger_obeys_the_charge_voltage_to_the_millivolt(robot):
    feed = ModelFeed(robot, make_load('obey:constant:9', robot), 0.8, seed=1)
    contacts = Contacts(np.array([True]), np.array([False]))
    still = np.zeros(robot.cells, dtype=int)
    tapered = 0
    for _ in range(3600):
        feed.hear_limits(Allowed(22.0, 70.0, 53.0, 40.0), 10.0)
        feed.advance(1.0, 1.0, contacts, still)
        assert feed.link_voltage < 53.0005
        tapered += 0.0 < feed.currents[0] < 8.9
    assert feed.currents[0] < 3.0 and tapered > 600


def test_a_charger_at_the_terminals_holds_its_own_voltage_whatever_the_limits_say(robot):
    feed = ModelFeed(robot, make_load('charge:12:55.5', robot), 0.9, seed=1)
    contacts = Contacts(np.array([True]), np.array([False]))
    for _ in range(7200):
        feed.hear_limits(Allowed(0.0, 0.0, 53.0, 40.0), 10.0)
        feed.advance(1.0, 1.0, contacts, np.zeros(robot.cells, dtype=int))
    assert feed.link_voltage == pytest.approx(55.5, abs=1e-3)
    assert 0.0 < feed.currents[0] < 6.0
    for name in ('charge:12:', 'charge:-1:50', 'charge:x:50', 'charge:12:nan'):
        with pytest.raises(ValueError, match='is not a'):
            make_load(name, robot)


def test_a_cycle_measured_on_a_cell_is_scaled_to_a_pack(robot, tmp_path):
    path = tmp_path / 'cell.csv'
    path.write_text('Time [s],Current [A]\n0,-1\n2,2.5\n4,0\n', encoding='utf-8')
    load = make_load(f'times:6:{path}', robot)
    assert [load.current(t, HALF) for t in (0, 2)] == [-6.0, 15.0]
    path.write_text('Time [s],Current [A]\n0,-1\n2,\n', encoding='utf-8')
    for name in (f'times:6:{path}', 'times:x:rest', 'times:-1:rest', 'times:6'):
        with pytest.raises(ValueError):
            make_load(name, robot)


@pytest.mark.parametrize('name', ['robot_day', 'boat_trip'])
def test_the_shipped_missions_have_peaks_and_pauses(robot, name):
    profile = read_profile(paths.find('packs', 'robot_13s').parents[1] / 'loads' / f'{name}.csv')
    currents = profile.current[:, 0]
    assert profile.time[-1] >= 6 * 3600.0
    assert currents.min() < 4 * currents[currents < 0].mean() / 3  # peaks beside the cruise
    assert currents.max() > 0.0


@pytest.mark.parametrize('by_name', [True, False])
def test_limits_hold_while_they_are_valid(robot, by_name):
    feed = ModelFeed(robot, make_load('obey:constant:-20' if by_name else 'constant:-20', robot))
    feed.obey = not by_name
    contacts = Contacts(np.array([True]), np.array([False]))
    still = np.zeros(robot.cells, dtype=bool)

    def current(dt):
        feed.advance(dt, 1.0, contacts, still)
        return feed.currents[0]

    assert current(0.1) == pytest.approx(0.0, abs=1e-9)
    feed.hear_limits(Allowed(5.0, 12.0), 1.0)
    assert current(0.5) == pytest.approx(-12.0)
    assert current(0.6) == pytest.approx(0.0, abs=1e-9)
    feed.hear_limits(Allowed(math.nan, math.nan), 1.0)
    assert current(0.1) == pytest.approx(0.0, abs=1e-9)
    feed.hear_limits(Allowed(5.0, 50.0), math.nan)
    assert current(0.1) == pytest.approx(0.0, abs=1e-9)


def test_the_sun_shines_by_day_until_the_pack_is_full(robot):
    load = make_load('solar:480', robot)
    at_noon, at_night = 6 * 3600.0, 15 * 3600.0
    assert load.current(at_noon, PackView(0.5, 0.5, 3.7, voltage=48.0)) == pytest.approx(10.0)
    assert load.current(at_night, PackView(0.5, 0.5, 3.7, voltage=48.0)) == 0.0
    assert load.current(at_noon, PackView(0.5, 0.5, 4.3, voltage=48.0)) == 0.0
    assert load.current(at_noon, HALF) == 0.0
    for name in ('solar:', 'solar:-3', 'obey:robto'):
        with pytest.raises(ValueError, match='load'):
            make_load(name, robot)


def test_a_boat_has_thruster_peaks_and_lives_through_its_day(marine):
    feed = ModelFeed(marine, make_load('boat', marine), 0.7, seed=1)
    contacts = Contacts(np.ones(2, dtype=bool), np.zeros(2, dtype=bool))
    still = np.zeros(marine.cells, dtype=bool)
    currents = []
    for _ in range(8640):
        feed.advance(10.0, 1.0, contacts, still)
        currents.append(feed.currents.sum())
    assert min(currents) < -0.5 * marine.capacity
    warned = 2 * marine.limits.overcurrent_discharge[Level.MOL].at
    assert min(currents) > -warned  # a boat that runs does not ask for more than it may
    assert max(currents) > 0.03 * marine.capacity
    assert 0.1 < feed.plant.soc.min() < feed.plant.soc.max() < 1.0
