# SPDX-License-Identifier: Apache-2.0
import pytest
from rclpy.clock import ROSClock
from rclpy.time import Time

from dbms_node.replay_clock import JUMP, STEP, ReplayClock


@pytest.fixture
def clocks():
    source = ROSClock()
    source._set_ros_time_is_active(True)
    jumps = []
    clock = ReplayClock(source, lambda now, reason: jumps.append((now, reason)))

    def told(seconds):
        source.set_ros_time_override(Time(seconds=seconds, clock_type=source.clock_type))
        return clock.now()

    return clock, told, jumps


def test_there_is_no_time_before_the_first_clock(clocks):
    clock, told, jumps = clocks
    assert clock.now() is None and not jumps
    assert told(1e9) == 0.0 and jumps == [(0.0, 'replayed time begins')]


def test_it_flows_as_the_clock_does_and_stands_in_a_pause(clocks):
    clock, told, jumps = clocks
    told(1e9)
    assert told(1e9 + 0.05) == pytest.approx(0.05, abs=1e-6)
    assert clock.now() == clock.now() == pytest.approx(0.05, abs=1e-6)
    assert len(jumps) == 1


def test_a_step_back_is_told_and_time_goes_on_from_there(clocks):
    _, told, jumps = clocks
    told(1e9)
    before = told(1e9 + 0.08)
    assert told(1e9 - 5.0) == before
    assert jumps[-1] == (before, 'replayed time jumped back by 5.080 s')
    assert told(1e9 - 4.95) == pytest.approx(before + 0.05, abs=1e-6)


def test_a_leap_forward_is_told_and_counts_as_nothing(clocks):
    _, told, jumps = clocks
    told(1e9)
    assert told(1e9 + JUMP + 1.0) == 0.0 and 'forward' in jumps[-1][1]


def test_what_a_busy_machine_missed_is_no_silence(clocks):
    _, told, jumps = clocks
    told(1e9)
    assert told(1e9 + 5.0) == STEP and len(jumps) == 1
