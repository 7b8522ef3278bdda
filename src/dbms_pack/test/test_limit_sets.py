# SPDX-License-Identifier: Apache-2.0
"""The shipped limits: complete or left out with a reason, in order, each with its source."""

import re
from itertools import pairwise

import pytest
import yaml
from pack_rig import PACKS

from dbms_pack import Level, load_pack, paths
from dbms_pack.limits import QUANTITIES, levels_of

SETS = ('lfp', 'lto', 'nmc')
LEVELS = ('mol', 'rsl', 'msl')
# What a comment above a quantity may give as the source of its numbers.
SOURCES = re.compile(
    r'datasheet|Lishen|Toshiba|upower|foxBMS 2|GB 38031|UN R100|dbus-serialbattery|[cC]onvention'
    r'|The measurement'
)


def text_of(kind, name):
    return paths.find(kind, name).read_text(encoding='utf-8')


def uncommented(text, keys):
    """Return the keys of `limits` that no comment with a source stands directly above of."""
    found, above, within = [], '', False
    for line in text.splitlines():
        within = line == 'limits:' or (within and (not line or line[0] in ' #'))
        key = re.match(r'  ([a-z_]+):', line)
        if within and key and key[1] in keys and not SOURCES.search(above):
            found.append(key[1])
        above = f'{above} {line}' if line.strip().startswith('#') else ''
    return found


def test_a_quantity_without_a_source_is_found():
    text = 'limits:\n  # Convention: x\n  overload:\n    mol: {}\n\n  insulation:\n    mol: {}\n'
    assert uncommented(text, QUANTITIES) == ['insulation']


def test_every_shipped_set_is_held_here():
    assert sorted(paths.names('limits')) == list(SETS)


@pytest.mark.parametrize(
    'kind, name', [('limits', x) for x in SETS] + [('packs', x) for x in PACKS]
)
def test_every_quantity_says_where_its_numbers_come_from(kind, name):
    text = text_of(kind, name)
    keys = {*yaml.safe_load(text)['limits']} - {'set', 'rest_current'}
    assert len(keys) >= 6
    assert uncommented(text, keys) == []


@pytest.mark.parametrize('name', SETS)
def test_every_trigger_is_set_or_left_out_with_a_reason(name):
    data = yaml.safe_load(text_of('limits', name))
    given, left_out = {*data['limits']} - {'derating'}, data['left_out']
    assert given | {*left_out} == {*QUANTITIES}
    assert not given & {*left_out}
    assert all(len(reason.split()) >= 3 for reason in left_out.values())


@pytest.mark.parametrize('name', PACKS)
def test_what_a_set_leaves_out_is_in_every_shipped_pack(name):
    pack = load_pack(name)
    left_out = {*yaml.safe_load(text_of('limits', 'nmc'))['left_out']}
    if not any(module.redundant for module in pack.modules):
        left_out -= {'temperature_mismatch'}
    assert left_out <= {*levels_of(pack.limits)}


def thresholds(limit):
    """Return what a level can be at: plain, by temperature, by state."""
    return [limit['at'], *(limit.get('by_temperature') or {'at': []})['at'],
            *(limit.get('by_state') or {}).values()]  # fmt: skip


@pytest.mark.parametrize('name', SETS)
def test_levels_of_a_set_get_worse_in_order_and_act_in_time(name):
    for key, given in yaml.safe_load(text_of('limits', name))['limits'].items():
        if key == 'derating':
            continue
        levels = [given[level] for level in LEVELS if level in given]
        sign = -1.0 if QUANTITIES[key].under else 1.0
        for milder, worse in pairwise(levels):
            reached = max(sign * at for at in thresholds(milder))
            assert reached < min(sign * at for at in thresholds(worse)), key
        assert all(0.0 <= level['debounce'] <= 10.0 for level in levels), key
        if 'msl' in given:
            assert given['msl']['latch'] is True, key
            assert given['msl']['debounce'] == min(one['debounce'] for one in levels), key
        assert not any(given[one]['latch'] for one in ('mol', 'rsl') if one in given), key
        for level in levels:  # a hysteresis does not reach beyond what a good pack has
            assert 0.0 < level['hysteresis'] <= abs(level['at']) or level['at'] <= 0.0, key


@pytest.mark.parametrize('name', PACKS)
def test_a_shipped_pack_opens_within_seconds_of_what_is_urgent(name):
    """Short circuit at once, over-current within 0.2 s, a cell within 1 s, heat within 5 s."""
    limits = levels_of(load_pack(name).limits)
    for key, most in (
        ('short_circuit', 0.0), ('overcurrent_charge', 0.2), ('overcurrent_discharge', 0.2),
        ('precharge_current', 0.2), ('cell_overvoltage', 1.0), ('cell_undervoltage', 1.0),
        ('overtemperature_charge', 5.0), ('overtemperature_discharge', 5.0),
        ('temperature_rise', 5.0),
    ):  # fmt: skip
        assert limits[key][Level.MSL].debounce <= most, key
