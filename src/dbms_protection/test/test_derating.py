# SPDX-License-Identifier: Apache-2.0
"""Estimates lower limits and never raise them; missing, odd and old ones change nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from protection_rig import Rig, make_limits, make_pack

from dbms_pack.limits import DeratingRules
from dbms_protection.contactors import State

NAN = math.nan
RULES = DeratingRules(
    soc=(((0.9, 1.0), (1.0, 0.2)), ((0.05, 0.15), (0.0, 1.0))),
    temperature=(((0.0, 10.0), (0.0, 1.0)), None),
    power=True,
)
HORIZONS = (2.0, 10.0, 30.0, 600.0)
ODD = st.sampled_from([NAN, math.inf, -math.inf, -1.0, 0.0, 0.3, 0.5, 2.0, 1e30])


def connected(rules=RULES, strings=1, degrees=25.0):
    pack = make_pack(strings=strings, limits=make_limits(derating=rules))
    rig = Rig(pack, degrees=degrees).activate()
    rig.connect()
    rig.run(1.5 * (strings - 1))
    assert rig.state() is State.CONNECTED
    return rig


def tell(rig, soc=0.5, power=1000.0, sigma=0.01, seconds=0.3):
    """Let estimation say the same for a while: SOC of all cells, A of the pack."""
    soc = np.broadcast_to(np.asarray(soc, dtype=float), rig.pack.cells)
    rig.guard.on_soc(soc, np.full(rig.pack.cells, sigma), rig.now)
    powers = np.broadcast_to(np.asarray(power, dtype=float), len(HORIZONS))
    rig.guard.on_power(HORIZONS, powers, powers, rig.now)
    rig.run(seconds)
    return rig.guard.limits


@settings(max_examples=40, deadline=None)
@given(
    soc=st.lists(ODD, max_size=10), sigma=st.lists(ODD, max_size=10),
    horizons=st.lists(ODD, max_size=5), power=st.lists(ODD, max_size=5),
)  # fmt: skip
def test_whatever_estimation_says_limits_are_numbers_and_never_higher(soc, sigma, horizons, power):
    rig = connected(replace(RULES, temperature=(None, None)))
    before = rig.guard.limits
    rig.guard.on_soc(soc, sigma, rig.now)
    rig.guard.on_power(horizons, power, power, rig.now)
    rig.run(0.3)
    after = rig.guard.limits
    for name in ('charge_current', 'discharge_current'):
        assert 0.0 <= getattr(after, name) <= getattr(before, name)
    for name in ('charge_peak', 'discharge_peak'):
        pairs = zip(getattr(after, name), getattr(before, name), strict=True)
        assert all(0.0 <= new <= old for new, old in pairs)


@pytest.mark.parametrize(
    'options', [{'soc': NAN, 'power': NAN}, {'sigma': 0.5, 'power': NAN}, {'sigma': NAN}]
)
def test_what_is_not_known_or_not_sure_changes_nothing(options):
    rig = connected()
    before = rig.guard.limits.discharge_current
    assert tell(rig, **{'soc': 0.0, **options}).discharge_current == before


def test_what_grew_old_is_no_longer_used_and_that_is_said():
    rig = connected()
    assert tell(rig, soc=0.02).discharge_current == 0.0
    rig.run(4.0)
    assert rig.guard.limits.discharge_current == 0.0
    rig.guard.book.events.clear()
    rig.run(2.0)
    first = rig.guard.limits.discharge_current
    assert 0.0 < first < 30.0, 'it comes back at its pace'
    assert any('estimated SOC is missing' in text for _, text in rig.guard.book.events)
    rig.guard.book.events.clear()
    rig.run(2.0)
    assert not rig.guard.book.events, 'said once'


def test_a_low_soc_ends_the_discharge_and_says_why():
    rig = connected()
    soc = np.full(rig.pack.cells, 0.5)
    soc[3] = 0.10
    limits = tell(rig, soc)
    assert limits.discharge_current == pytest.approx(50.0)
    assert limits.discharge_limited_by == 'lowest SOC 10.0 %'
    assert limits.charge_current == pytest.approx(50.0)
    assert tell(rig, 0.05).discharge_current == 0.0


def test_a_high_soc_tapers_the_charge():
    limits = tell(connected(), 1.0)
    assert limits.charge_current == pytest.approx(10.0)
    assert limits.charge_limited_by == 'highest SOC 100.0 %'


def test_power_lowers_the_continuous_limit_and_the_peaks_by_their_horizons():
    limits = tell(connected(), power=[45.0, 40.0, 30.0, 5.0])
    assert limits.discharge_current == pytest.approx(30.0)
    assert limits.discharge_limited_by == 'power estimated for 30 s'
    assert max(limits.discharge_peak) <= 45.0


def test_strings_share_the_power_of_the_pack():
    rig = connected(strings=2)
    assert tell(rig, power=80.0).discharge_current == pytest.approx(80.0)
    rig.guard.command('disconnect', 'test', '', ('b',), rig.now)
    assert tell(rig, power=80.0, seconds=1.0).discharge_current == pytest.approx(40.0)


def test_cold_lowers_the_charge_before_any_level_is_reached():
    rig = connected(degrees=6.0)
    limits = tell(rig)
    assert limits.charge_current == pytest.approx(30.0)
    assert limits.charge_limited_by == 'temperature 6.0 degC'
    assert limits.discharge_current == pytest.approx(100.0)


def test_a_load_that_obeys_a_power_that_depends_on_it_does_not_make_it_swing():
    """The power told falls with the load, late and with noise, as a polarised cell has it."""
    rig, random, current, seen = connected(), np.random.default_rng(1), 0.0, []
    for second in range(60):
        power = 60.0 - 0.2 * current + random.normal(0.0, 0.3)
        limit = tell(rig, power=power, seconds=1.0).discharge_current
        current += 0.8 * (limit - current)
        if second > 20:
            seen.append(limit)
    assert max(seen) - min(seen) < 3.0
    assert np.mean(seen) == pytest.approx(50.0, abs=1.0)
