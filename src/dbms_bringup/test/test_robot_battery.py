# SPDX-License-Identifier: Apache-2.0
"""Docking and low battery on standard messages: full counts as charging, NaN never as fine."""

import math
import time
from xml.etree import ElementTree

import pytest
import rclpy
import yaml
from rclpy.parameter import Parameter
from sensor_msgs.msg import BatteryState

from dbms_bringup.robot_battery import Battery, RobotBattery, Rules, Status
from dbms_bringup.robot_battery_node import RobotBatteryNode
from dbms_estimation.battery_state import SupplyStatus
from dbms_node import middleware, qos
from dbms_node.runtime import close_node, make_executor
from dbms_pack import paths

NAN = math.nan
FULL, CHARGING, REST, USED = (
    Status.FULL, Status.CHARGING, Status.NOT_CHARGING, Status.DISCHARGING,
)  # fmt: skip


def heard(percentage=0.6, current=0.0, status=REST, present=True, rules=None):
    battery = RobotBattery(rules)
    battery.hear(Battery(percentage, current, status, present), 100.0)
    return battery


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'battery, at',
    [
        (RobotBattery(), 100.0),
        (heard(NAN, 20.0, CHARGING), 100.0),
        (heard(0.8, present=False), 100.0),
        (heard(0.8), 103.1),
        (heard(85.0), 100.0),  # somebody who says percent
        (heard(-0.1), 100.0),
        (heard(math.inf), 100.0),
    ],
    ids=['never heard', 'NaN', 'not there', 'silent', 'percent', 'negative', 'infinite'],
)
def test_what_is_not_known_is_low_and_may_not_leave(battery, at):
    assert math.isnan(battery.percentage(at))
    assert battery.low(at) and not battery.may_leave(at)
    assert 'known' in battery.why(at)


@pytest.mark.parametrize(
    'change',
    [{'low': 0.9}, {'low': NAN}, {'enough': 1.1}, {'full': 0.5}, {'stale': 0.0},
     {'charging_current': NAN}],
    ids=str,
)  # fmt: skip
def test_rules_that_make_no_sense_are_refused(change):
    with pytest.raises(ValueError):
        Rules(**change)


# -- decisions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'percentage, current, status, charges',
    [
        (0.4, 5.0, CHARGING, True),
        (1.0, 0.0, FULL, True),  # full: the charger has stopped
        (0.995, 0.1, REST, True),  # of a battery that knows no FULL
        (NAN, 0.0, FULL, True),
        (0.9, 0.0, REST, False),
        (1.0, -5.0, FULL, False),  # full, and in use
        (1.0, 0.0, USED, False),
        (1.0, NAN, FULL, False),
        (0.4, 0.4, CHARGING, False),  # less than counts
        (NAN, 5.0, CHARGING, True),
    ],
)
def test_full_at_the_dock_counts_as_charging(percentage, current, status, charges):
    assert heard(percentage, current, status).charging(100.0) is charges


def test_silence_is_no_charging():
    assert heard(0.5, 5.0, CHARGING).charging(103.0)
    assert not heard(0.5, 5.0, CHARGING).charging(103.1)


def test_low_lasts_until_there_is_enough():
    battery, said = RobotBattery(), []
    for percentage in (0.3, 0.25, 0.3, NAN, 0.89, 0.9, 0.3):
        battery.hear(Battery(percentage, 0.0, REST, True), 100.0)
        said.append(battery.low(100.0))
    assert said == [False, True, True, True, True, False, False]


def test_a_gap_is_low_only_while_it_lasts():
    battery = heard(0.6)
    assert [battery.low(at) for at in (100.0, 104.0)] == [False, True]
    battery.hear(Battery(0.6, 0.0, REST, True), 105.0)
    assert not battery.low(105.0)


def test_numbers_are_those_of_the_message_and_of_the_estimation():
    for status in Status:
        assert status == getattr(BatteryState, f'POWER_SUPPLY_STATUS_{status.name}')
        assert status == SupplyStatus[status.name]


# -- what nav2 reads ------------------------------------------------------------------------------
# As nav2_behavior_tree has it: IsBatteryLow and IsBatteryCharging.


def nav2_is_low(message, min_battery=0.25):
    return message.percentage <= min_battery


def nav2_is_charging(message):
    return message.power_supply_status == BatteryState.POWER_SUPPLY_STATUS_CHARGING


@pytest.fixture
def world():
    context = rclpy.Context()
    middleware.init(context=context)
    stale = Parameter('stale', value=0.5)
    node = RobotBatteryNode(context=context, namespace='battery', parameter_overrides=[stale])
    other = rclpy.create_node('other', context=context, namespace='battery')
    executor = make_executor(context)
    heard = []
    other.create_subscription(BatteryState, 'nav2/battery_state', heard.append, qos.MEASUREMENT)
    publisher = other.create_publisher(BatteryState, 'battery_state', qos.MEASUREMENT)
    for one in (node, other):
        executor.add_node(one)

    def until(condition, message=None):
        end = time.monotonic() + 15.0
        while not (heard and condition(heard[-1])):
            assert time.monotonic() < end, f'waited in vain, last: {heard[-1:]}'
            if message is not None:
                publisher.publish(message)
            executor.spin_once(timeout_sec=0.05)
        return heard[-1]

    yield until
    for one in (node, other):
        close_node(one)
    executor.shutdown()
    rclpy.shutdown(context=context)


def test_behaviour_trees_never_read_nan_or_silence_as_fine(world):
    assert nav2_is_low(world(lambda told: True))  # before anything was heard
    good = BatteryState(percentage=0.8, current=-3.0, present=True, voltage=48.0)
    told = world(lambda told: not nav2_is_low(told), good)
    assert told.voltage == 48.0 and not nav2_is_charging(told)
    unknown = BatteryState(percentage=NAN, current=NAN, present=True)
    assert not nav2_is_low(unknown)  # what nav2 would have read
    world(nav2_is_low, unknown)
    world(lambda told: not nav2_is_low(told), good)
    world(nav2_is_low)  # silence


def test_behaviour_trees_read_full_at_the_dock_as_charging(world):
    full = BatteryState(percentage=1.0, current=0.0, present=True, power_supply_status=int(FULL))
    assert not nav2_is_charging(full)
    world(nav2_is_charging, full)
    world(lambda told: not nav2_is_charging(told))  # silence


# -- the shipped examples -------------------------------------------------------------------------


def test_the_tree_asks_the_node_that_never_takes_nan_for_fine():
    tree = ElementTree.parse(paths.find('nav2', 'low_battery.xml')).getroot()
    [topic] = {
        node.get('battery_topic') for node in tree.iter() if node.tag.startswith('IsBattery')
    }
    assert topic == '/battery/nav2/battery_state'
    assert tree.get('main_tree_to_execute') in {one.get('ID') for one in tree}
    low = {node.get('min_battery') for node in tree.iter('IsBatteryLow')}
    assert low == {f'{Rules().low:g}'}


def test_the_parameters_let_a_full_robot_dock():
    text = paths.find('nav2', 'docking.yaml').read_text(encoding='utf-8')
    dock = yaml.safe_load(text)['docking_server']['ros__parameters']['charging_dock']
    assert dock['use_battery_status'] is False
    assert dock['charging_threshold'] == Rules().charging_current
