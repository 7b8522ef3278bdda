# SPDX-License-Identifier: Apache-2.0
"""Conversions between stamps and seconds."""

import pytest
from builtin_interfaces.msg import Time
from hypothesis import given
from hypothesis import strategies as st

from dbms_node.clocks import seconds_stamp, stamp_seconds


@given(st.integers(0, 2**31 - 1), st.integers(0, 999_999_999))
def test_a_stamp_survives_the_way_to_seconds_and_back(sec, nanosec):
    back = seconds_stamp(stamp_seconds(Time(sec=sec, nanosec=nanosec)))
    assert abs((back.sec - sec) * 10**9 + back.nanosec - nanosec) <= 500


@given(st.floats(0, 2**31 - 1))
def test_the_nanoseconds_stay_below_a_second(seconds):
    assert 0 <= seconds_stamp(seconds).nanosec <= 999_999_999


@pytest.mark.parametrize('seconds', [float('nan'), float('inf'), -float('inf')])
def test_what_is_no_time_is_refused(seconds):
    with pytest.raises((ValueError, OverflowError)):
        seconds_stamp(seconds)
