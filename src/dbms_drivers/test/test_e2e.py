# SPDX-License-Identifier: Apache-2.0
import itertools
import random

import pytest
from boards import reference_crc
from cantools.autosar.end_to_end import compute_profile2_crc
from hypothesis import given
from hypothesis import strategies as st

from dbms_drivers import e2e
from dbms_drivers.e2e import REPEATED, STARTING, UNCONFIRMED, CounterCheck

ids = st.integers(0, 0x7FF)
frames = st.binary(min_size=8, max_size=8)


@given(frames, ids)
def test_crc_equals_the_profile_2_of_cantools(data, can_id):
    identity = e2e.data_id(can_id, data[1] & 0xF)
    assert e2e.crc(data, can_id) == compute_profile2_crc(data, identity)
    assert e2e.crc(data, can_id) == reference_crc(data, can_id)


@given(ids, st.integers(0, 15), st.integers(0, 15), st.binary(min_size=6, max_size=6))
def test_protected_frame_has_its_crc_and_its_fields(can_id, counter, high, payload):
    data = e2e.protect(can_id, counter, high, payload)
    assert e2e.crc(data, can_id) == data[0]
    assert data[1] == counter | high << 4
    assert data[2:] == payload


def test_data_ids_tell_all_ids_apart():
    pairs = {(e2e.data_id(can_id, 0), e2e.data_id(can_id, 1)) for can_id in range(0x800)}
    assert len(pairs) == 0x800


def flipped(data: bytes, bits) -> bytes:
    value = int.from_bytes(data, 'big')
    for bit in bits:
        value ^= 1 << bit
    return value.to_bytes(8, 'big')


COUNTER_PARITY = 63 - 15  # bit 0 of the counter, as `flipped` counts: it selects the data id


def test_every_one_and_two_flipped_bits_are_noticed():
    others = [bit for bit in range(64) if bit != COUNTER_PARITY]
    for can_id, counter in ((0x060, 4), (0x40C, 7), (0x7FF, 0)):
        data = e2e.protect(can_id, counter, 0, bytes.fromhex('8040c0de0107'))
        for count in (1, 2):
            for bits in itertools.combinations(others, count):
                bad = flipped(data, bits)
                assert e2e.crc(bad, can_id) != bad[0], bits


def test_three_flipped_bits_are_noticed():
    rng = random.Random(3)
    others = [bit for bit in range(64) if bit != COUNTER_PARITY]
    for _ in range(20_000):
        can_id = rng.randrange(0x800)
        data = e2e.protect(can_id, rng.randrange(16), rng.randrange(16), rng.randbytes(6))
        bad = flipped(data, rng.sample(others, 3))
        assert e2e.crc(bad, can_id) != bad[0]


def test_flips_that_change_the_parity_of_the_counter_are_left_to_its_check():
    # They change the data id too, so that the CRC alone does not always notice. The counter then
    # is one too high (it skips, which the time does not allow) or one too low (it repeats).
    check = CounterCheck(0.1)
    now = 0.0
    for i in range(1, 64):
        now += 0.1
        if i > 4:
            assert check.update((i & 0xF) ^ 1, now - 0.001) < 0
        check.update(i & 0xF, now)


def counters(check, values, period=0.1):
    return [check.update(value & 0xF, i * period) for i, value in enumerate(values)]


def test_counter_starts_with_two_in_a_row():
    assert counters(CounterCheck(0.1), [5, 6, 7]) == [STARTING, 0, 0]


def test_counter_wraps():
    assert counters(CounterCheck(0.1), range(40))[1:] == [0] * 39


def test_repeated_counter_is_refused_and_the_next_is_used():
    check = CounterCheck(0.1)
    counters(check, [0, 1, 2])
    assert check.update(2, 0.21) == REPEATED
    assert check.update(3, 0.30) == 0


def test_stuck_counter_never_starts():
    assert max(counters(CounterCheck(0.1), [3] * 50)) < 0


@given(st.integers(1, 3))
def test_lost_frames_are_counted_when_the_time_allows_it(lost):
    check = CounterCheck(0.1)
    counters(check, [0, 1, 2])
    assert check.update(3 + lost, 0.2 + 0.1 * (1 + lost)) == lost


def test_counter_that_is_too_fast_is_refused_until_three_agree():
    check = CounterCheck(0.1)
    counters(check, [0, 1, 2])
    found = [check.update(value, 0.21 + i * 0.05) for i, value in enumerate([9, 10, 11, 12])]
    assert found == [UNCONFIRMED, UNCONFIRMED, 0, 0]


def test_two_that_say_they_began_anew_agree_though_one_between_is_lost():
    check = CounterCheck(0.1)
    counters(check, [5, 6, 7])
    assert check.update(0, 0.3, True) == UNCONFIRMED
    assert check.update(2, 0.4, True) == UNCONFIRMED, 'no time for two'
    assert check.update(4, 0.6, True) == 0


def test_one_of_two_that_says_it_began_anew_is_not_enough():
    for first, second in ((True, False), (False, True)):
        check = CounterCheck(0.1)
        counters(check, [5, 6, 7])
        assert check.update(0, 0.25, first) == UNCONFIRMED
        assert check.update(1, 0.35, second) == UNCONFIRMED
        assert check.update(2, 0.45, False) == 0


def test_intruder_between_good_frames_is_refused_and_does_not_disturb():
    check = CounterCheck(0.1)
    counters(check, [0, 1, 2])
    now = 0.2
    for i in range(3, 60):
        now += 0.1
        assert check.update((i + 8) & 0xF, now - 0.05) == UNCONFIRMED
        assert check.update(i & 0xF, now) == 0


def test_after_silence_any_counter_may_follow_without_loss():
    check = CounterCheck(0.1)
    counters(check, [0, 1, 2])
    assert check.update(9, 5.0) == STARTING
    assert check.update(10, 5.1) == 0


def test_old_candidate_does_not_confirm():
    check = CounterCheck(0.1)
    assert check.update(1, 0.0) == STARTING
    assert check.update(2, 1.0) == STARTING
    assert check.update(3, 1.1) == 0


@pytest.mark.parametrize('counter', [0, 7])
def test_scans_start_with_one(counter):
    assert CounterCheck(0.1, confirm=False).update(counter, 0.0) == 0


@given(st.lists(st.tuples(st.integers(0, 15), st.floats(0, 0.4), st.booleans()), max_size=60))
def test_same_counter_is_never_accepted_twice_in_a_row_without_a_silence_between(steps):
    check = CounterCheck(0.1)
    now, last, accepted = 0.0, None, 0.0
    for counter, wait, restarted in steps:
        now += wait
        if check.update(counter, now, restarted) >= 0:
            assert counter != last or now - accepted > 0.5
            last, accepted = counter, now
