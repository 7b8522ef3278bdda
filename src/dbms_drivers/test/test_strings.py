# SPDX-License-Identifier: Apache-2.0
import math

import pytest
from boards import encode, make_string

from dbms_drivers.decoder import BusDecoder
from dbms_drivers.link import Silence, classify
from dbms_drivers.strings import (
    STATUS_FRAMES_REJECTED,
    STATUS_OVER_RANGE,
    STATUS_SENSOR_FAULT,
    StringTracker,
)


class Bench:
    def __init__(self):
        self.tracker = StringTracker(make_string(address=2))
        self.decoder = BusDecoder('main', [], [self.tracker])
        self.now = 50.0
        self.counters = {}

    def send(self, name, **values):
        """Send one frame; return whether there is something to publish."""
        counter = self.counters[name] = self.counters.get(name, -1) + 1
        return self.decoder.feed(*encode(name, 2, counter, **values), self.now) is not None

    def start(self):
        for _ in range(2):
            self.now += 0.02
            self.send('StringCurrent', Current=-10.0)
            self.send('StringVoltages', StringVoltage=45.0, LinkVoltage=1.5)
            self.send('StringInsulation', Resistance=2000)
            self.send(
                'ContactorFeedback',
                Minus=2,
                Precharge=1,
                Plus=1,
                Interlock=1,
                LeaseRemaining=200,
                Sequence=7,
            )
        return self

    def values(self):
        return self.tracker.compose(self.now)


def test_measurement_is_what_was_sent():
    values = Bench().start().values()
    assert values.current == pytest.approx(-10.0)
    assert (values.string_voltage, values.link_voltage) == (45.0, 1.5)
    assert values.insulation == 2e6
    assert (values.minus, values.precharge, values.plus, values.interlock) == (2, 1, 1, 1)
    assert values.lease_remaining == pytest.approx(0.2)
    assert values.status == 0
    assert values.current_age == values.voltage_age == values.contactor_age == 0.0


def test_nothing_is_known_before_anything_was_heard():
    values = StringTracker(make_string()).compose(0.0)
    for value in (
        values.current,
        values.string_voltage,
        values.link_voltage,
        values.insulation,
        values.lease_remaining,
    ):
        assert math.isnan(value)
    assert (values.minus, values.precharge, values.plus, values.interlock) == (0, 0, 0, 0)
    assert values.current_age == math.inf


def test_current_is_published_with_every_frame_and_feedback_on_change():
    bench = Bench().start()
    bench.now += 0.02
    assert bench.send('StringCurrent', Current=1.0)
    assert not bench.send('StringVoltages', StringVoltage=45.0, LinkVoltage=1.5)
    same = {'Minus': 2, 'Precharge': 1, 'Plus': 1, 'Interlock': 1}
    assert not bench.send('ContactorFeedback', LeaseRemaining=100, Sequence=8, **same)
    assert bench.send('ContactorFeedback', **{**same, 'Plus': 2})
    assert bench.send('ContactorFeedback', **{**same, 'Plus': 2, 'CoilFault': 1})


def test_old_values_become_nan_each_in_its_time():
    bench = Bench().start()
    bench.now += 0.11
    values = bench.values()
    assert math.isnan(values.current)
    assert values.string_voltage == 45.0
    assert values.minus == 2
    bench.now += 0.2
    values = bench.values()
    assert math.isnan(values.string_voltage) and math.isnan(values.link_voltage)
    assert values.minus == values.interlock == 0
    assert math.isnan(values.lease_remaining)
    assert values.insulation == 2e6
    bench.now += 3.0
    assert math.isnan(bench.values().insulation)


def test_dead_sensor_does_not_hide_the_contactors():
    bench = Bench().start()
    bench.now += 0.2
    assert bench.send('ContactorFeedback', Minus=2, Precharge=1, Plus=1, Interlock=1)
    values = bench.values()
    assert math.isnan(values.current) and values.minus == 2


def test_sensor_fault_has_no_value_and_over_range_has():
    bench = Bench().start()
    bench.send('StringCurrent', Current=1.0, SensorFault=1)
    values = bench.values()
    assert math.isnan(values.current) and values.status & STATUS_SENSOR_FAULT
    bench.send('StringCurrent', Current=-510.0, OverRange=1)
    values = bench.values()
    assert values.current == pytest.approx(-510.0)
    assert values.status & STATUS_OVER_RANGE


@pytest.mark.parametrize(
    'name, values',
    [
        ('StringCurrent', {'Current': 2000.1}),
        ('StringCurrent', {'Current': -2000.1}),
        ('StringVoltages', {'StringVoltage': 45.0, 'LinkVoltage': 95.0}),
        ('StringVoltages', {'StringVoltage': 47.0, 'LinkVoltage': 1.5}),
        ('ContactorFeedback', {'LeaseRemaining': 252}),
        ('ContactorFeedback', {'Minus': 2, 'High': 1}),
    ],
)
def test_value_that_cannot_be_is_refused(name, values):
    bench = Bench().start()
    bench.now += 0.02
    before = bench.values()
    assert not bench.send(name, **values)
    after = bench.values()
    assert after.status & STATUS_FRAMES_REJECTED
    assert (after.current, after.link_voltage, after.minus) == (
        before.current,
        before.link_voltage,
        before.minus,
    )
    tracker = bench.tracker
    assert tracker.sensor_statistics.implausible + tracker.unit_statistics.implausible == 1


def test_repeated_current_is_not_published():
    bench = Bench().start()
    bench.now += 0.02
    bench.counters['StringCurrent'] -= 1
    assert not bench.send('StringCurrent', Current=5.0)
    assert bench.tracker.sensor_statistics.repeated == 1
    assert bench.values().current == pytest.approx(-10.0)


@pytest.mark.parametrize(
    'last, bus_last, up, expected',
    [
        (9.9, 9.9, True, Silence.NONE),
        (5.0, 9.9, True, Silence.SOURCE),
        (-math.inf, 9.9, True, Silence.NEVER_HEARD),
        (5.0, 5.0, True, Silence.BUS),
        (-math.inf, -math.inf, True, Silence.BUS),
        (5.0, 9.9, False, Silence.BUS_DOWN),
    ],
)
def test_who_is_silent(last, bus_last, up, expected):
    assert classify(last, bus_last, up, 0.5, 10.0) is expected
