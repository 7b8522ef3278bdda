# SPDX-License-Identifier: Apache-2.0
"""The conventions of sensor_msgs/BatteryState."""

import math
from dataclasses import replace

import numpy as np
import pytest
from estimation_rig import CELL, make_pack, ocv
from hypothesis import given
from hypothesis import strategies as st

from dbms_estimation.battery_state import (
    UNHEARD,
    BatteryView,
    Health,
    StringReading,
    SupplyStatus,
    Technology,
    usable_soc,
)
from dbms_estimation.pack_estimator import PackEstimator

NOW = 100.0
OPEN, CLOSED = 1, 2


def reading(current=0.0, voltage=math.nan, contactors=CLOSED, age=0.0) -> StringReading:
    return StringReading(NOW, NOW - age, current, voltage, contactors, contactors)


def fed(strings: int = 2, soc=0.5, temperature: float = 25.0, **pack) -> PackEstimator:
    """Return an estimator all of whose modules have just been scanned at rest."""
    estimator = PackEstimator(make_pack(strings=strings, modules=2, **pack))
    voltages = ocv(np.broadcast_to(soc, estimator.pack.cells))
    for index in range(strings):
        estimator.add_current(index, NOW, 0.0)
    for index, module in enumerate(estimator.pack.modules):
        temperatures = [temperature] * module.temperatures
        estimator.add_scan(index, NOW, NOW, voltages[module.cell_slice], temperatures)
    estimator.tick()
    return estimator


def states(estimator, readings, now=NOW, serials=None):
    count = len(estimator.pack.modules)
    view = BatteryView(estimator, readings, serials or [None] * count, now)
    strings = view.strings()
    return strings, view.pack(strings)


@pytest.mark.parametrize(
    'current, status',
    [
        (-5.0, SupplyStatus.DISCHARGING),
        (5.0, SupplyStatus.CHARGING),
        (0.1, SupplyStatus.NOT_CHARGING),
        (-0.1, SupplyStatus.NOT_CHARGING),
        (math.nan, SupplyStatus.UNKNOWN),
    ],
)
def test_status_follows_the_sign_of_the_current(current, status):
    strings, pack = states(fed(1), [reading(current)])
    assert strings[0].status == pack.status == status
    assert strings[0].current == pytest.approx(current, nan_ok=True)
    assert pack.current == pytest.approx(current, nan_ok=True)


def test_a_full_pack_at_rest_says_so():
    _, pack = states(fed(1, soc=1.0), [reading(0.0)])
    assert pack.status == SupplyStatus.FULL
    assert pack.percentage == pytest.approx(1.0)


def test_strings_in_parallel_add_their_currents_and_share_their_voltage():
    readings = [reading(-4.0, 30.0), reading(-6.0, 31.0)]
    strings, pack = states(fed(), readings)
    assert [s.voltage for s in strings] == [30.0, 31.0]
    assert pack.voltage == 30.5
    assert pack.current == -10.0
    assert pack.design_capacity == 2 * strings[0].design_capacity == 6.0
    assert pack.charge == pytest.approx(3.0, abs=0.01)
    assert math.isnan(pack.capacity)


def test_an_open_string_is_left_out():
    soc = np.repeat([0.2, 0.8], 8)
    strings, pack = states(fed(soc=soc), [reading(math.nan, 28.0, OPEN), reading(-6.0, 31.0)])
    assert pack.voltage == 31.0
    assert pack.current == -6.0
    assert pack.percentage == strings[1].percentage == pytest.approx(0.8, abs=0.01)


def test_with_all_strings_open_the_pack_tells_what_they_hold():
    _, pack = states(fed(soc=np.repeat([0.2, 0.8], 8)), [reading(0.0, 30.0, OPEN)] * 2)
    assert pack.percentage == pytest.approx(0.5, abs=0.01)
    assert pack.voltage == 30.0
    assert pack.current == 0.0


def test_string_voltage_is_the_sum_of_its_cells_where_it_is_not_measured():
    strings, _ = states(fed(1), [reading()])
    assert strings[0].voltage == pytest.approx(8 * float(ocv(0.5)))


def test_stale_sources_become_nan_and_not_their_last_value():
    estimator = fed(1)
    strings, pack = states(estimator, [reading(-5.0, 30.0, age=0.3)])
    assert math.isnan(strings[0].current) and math.isnan(pack.current)
    assert pack.status == SupplyStatus.UNKNOWN
    strings, pack = states(estimator, [reading(-5.0, 30.0, age=9.0)], now=NOW + 9.0)
    for values in (*strings, pack):
        assert not values.present
        numbers = (values.voltage, values.current, values.percentage, values.charge)
        assert np.isnan([*numbers, values.temperature]).all()
        assert np.isnan(values.cell_voltage).all()
        assert np.isnan(values.cell_temperature).all()


def test_one_missing_module_hides_its_string_and_not_the_other():
    estimator = fed()
    later = NOW + 0.6
    for index, module in enumerate(estimator.pack.modules[:3]):
        voltages = np.full(module.cells, ocv(0.5))
        estimator.add_scan(index, later, later, voltages, [25.0] * module.temperatures)
    estimator.tick()
    readings = [replace(reading(), arrival=later)] * 2
    strings, pack = states(estimator, readings, now=later)
    assert np.isfinite(strings[0].percentage) and math.isnan(strings[1].percentage)
    assert pack.percentage == strings[0].percentage
    assert math.isnan(pack.charge)
    assert np.isnan(pack.cell_voltage).tolist() == [False] * 12 + [True] * 4


def test_before_anything_is_heard_all_is_unknown():
    strings, pack = states(PackEstimator(make_pack(strings=2)), [UNHEARD] * 2)
    for values in (*strings, pack):
        assert not values.present
        assert values.status == SupplyStatus.UNKNOWN
        assert values.health == Health.UNKNOWN
        assert np.isnan([values.voltage, values.current, values.percentage]).all()
        assert values.serial_number == ''


def test_cell_temperature_is_given_only_where_every_cell_has_a_sensor():
    strings, _ = states(fed(1, temperatures=2), [reading()])
    assert np.isnan(strings[0].cell_temperature).all() and strings[0].temperature == 25.0
    strings, _ = states(fed(1, temperatures=4), [reading()])
    assert (strings[0].cell_temperature == 25.0).all()


@pytest.mark.parametrize(
    'soc, temperature, health',
    [
        (0.5, 25.0, Health.GOOD),
        (0.5, 60.0, Health.OVERHEAT),
        (0.5, -20.0, Health.COLD),
        (0.5, math.nan, Health.UNKNOWN),
    ],
)
def test_health_is_measured_against_the_trip_limits(soc, temperature, health):
    strings, pack = states(fed(1, soc=soc, temperature=temperature), [reading()])
    assert strings[0].health == pack.health == health


def test_an_overcharged_cell_is_told():
    estimator = fed(1)
    estimator.voltages[3] = 4.3
    _, pack = states(estimator, [reading()])
    assert pack.health == Health.OVERVOLTAGE


@pytest.mark.parametrize(
    'chemistry, technology',
    [('NMC', Technology.LION), ('lfp', Technology.LIFE), ('unobtainium', Technology.UNKNOWN)],
)
def test_technology_follows_the_chemistry(chemistry, technology):
    estimator = fed(1, cell=replace(CELL, chemistry=chemistry))
    assert states(estimator, [reading()])[1].technology == technology


def test_serial_number_is_that_of_all_boards_or_none():
    strings, _ = states(fed(1), [reading()], serials=[0x12, 0xABCD])
    assert strings[0].serial_number == '0012-abcd'
    strings, _ = states(fed(1), [reading()], serials=[0x12, None])
    assert strings[0].serial_number == ''


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20))
def test_usable_soc_is_a_share(soc):
    value = usable_soc(np.array(soc))
    assert 0.0 <= value <= 1.0
    if min(soc) == 0.0:
        assert value == 0.0
    elif max(soc) == 1.0:
        assert value == pytest.approx(1.0, rel=1e-3) or min(soc) < 1e-3


def test_usable_soc_of_a_balanced_string_is_that_of_its_cells():
    assert usable_soc(np.full(7, 0.42)) == pytest.approx(0.42)
    assert math.isnan(usable_soc(np.array([0.4, math.nan])))
