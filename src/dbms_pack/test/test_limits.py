# SPDX-License-Identifier: Apache-2.0
"""Triggers beyond the required ones, options of a level, limit sets, and `check --limits`."""

import io
import json
import math

import pytest
import yaml
from pack_rig import PACKS, PLACE, changed, pack_of, problems_of, shipped
from rich.console import Console

from dbms_pack import Level, PackError, cli, limits_table, load_pack, paths, schema
from dbms_pack.document import parse
from dbms_pack.filters import hidden_for
from dbms_pack.limits import QUANTITIES, action_of, levels_of
from dbms_pack.loader import load_pack_text

ROBOT = 'robot_13s'
FULL = {'at': 0.3, 'debounce': 1.0, 'hysteresis': 0.05, 'latch': False}


def old(*changes):
    """Return a shipped pack with its required limits only, and changes."""
    data = shipped(ROBOT)
    keep = {key for key, quantity in QUANTITIES.items() if quantity.required}
    keep |= {'module_lost', 'string_lost', 'rest_current'}
    data['limits'] = {key: value for key, value in data['limits'].items() if key in keep}
    for key, value in changes:
        *parts, last = key.split('.')
        place = data['limits']
        for part in parts:
            place = place[part]
        place[last] = value
    return yaml.safe_dump(data, sort_keys=False)


def refused(*changes):
    return [
        (problem.key, problem.found, problem.allowed) for problem in problems_of(old(*changes))
    ]


def test_a_pack_from_before_works_and_is_told_what_it_does_not_guard():
    pack = pack_of(old())
    assert pack.limits.more == {}
    assert set(limits_table.unguarded(pack)) == {
        key for key, quantity in QUANTITIES.items() if not quantity.required
    } - {'temperature_mismatch'}, 'nothing is measured twice in this pack'


def test_a_trigger_has_the_levels_that_are_given():
    pack = pack_of(old(('voltage_spread', {'mol': FULL})))
    [(level, limit)] = levels_of(pack.limits)['voltage_spread'].items()
    assert (level, limit.at, limit.leak, limit.reset) == (Level.MOL, 0.3, 0.0, 'over')


@pytest.mark.parametrize(
    'key, value, where, word',
    [
        ('voltage_spread', {}, 'voltage_spread', 'at least one of mol'),
        ('voltage_spread', {'rsl': FULL}, 'voltage_spread.rsl.derate', 'factor on the limits'),
        ('voltage_spread', {'mol': {**FULL, 'derate': 0.5}}, 'voltage_spread.mol.derate', 'rsl'),
        (
            'voltage_spread',
            {'mol': {**FULL, 'action': 'open'}},
            'voltage_spread.mol.action',
            'msl',
        ),
        ('overload', {'mol': FULL}, 'overload.window', 'Time constant'),
        (
            'voltage_spread',
            {'mol': FULL, 'msl': {**FULL, 'at': 0.2}},
            'voltage_spread.msl.at',
            'above mol at 0.3 V',
        ),
        (
            'insulation',
            {'mol': {**FULL, 'at': 100}, 'msl': {**FULL, 'at': 500}},
            'insulation.msl.at',
            'below mol',
        ),
        ('cell_undervoltage.msl.reset', 'never', 'cell_undervoltage.msl.reset', 'over'),
        ('cell_undervoltage.rsl.reset', 'named', 'cell_undervoltage.rsl.reset', 'latch: true'),
        ('cell_undervoltage.msl.leak', 0, 'cell_undervoltage.msl.leak', '0.01'),
        (
            'cell_overvoltage.mol.by_state',
            {'boost': 4.0},
            'cell_overvoltage.mol.by_state.boost',
            '',
        ),
        (
            'cell_overvoltage.rsl.by_state',
            {'charge': 4.1},
            'cell_overvoltage.rsl.at',
            'in state charge',
        ),
    ],
)
def test_what_does_not_fit_is_named(key, value, where, word):
    found = {k: allowed for k, _, allowed in refused((key, value))}
    assert word in found[f'limits.{where}']


TABLE = {'temperatures': [-20, 0], 'at': [2.0, 2.5]}


def test_a_table_gives_its_values():
    pack = pack_of(old(('cell_undervoltage.msl.by_temperature', TABLE)))
    limit = pack.limits.cell_undervoltage[Level.MSL]
    assert limit.by_temperature == ((-20.0, 0.0), (2.0, 2.5))


@pytest.mark.parametrize(
    'table, word',
    [
        ({'temperatures': [0, -20], 'at': [2.0, 2.5]}, 'rise'),
        ({'temperatures': [-20, 0, 5], 'at': [2.0, 2.5]}, '3, one per temperature'),
        ({'temperatures': [-20, 0], 'at': [2.0, 2.4]}, 'the most careful of the table'),
        ({'temperatures': [-20, 0], 'at': [2.95, 2.5]}, 'at -20 degC'),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(table, word):
    problems = refused(('cell_undervoltage.msl.by_temperature', table))
    assert word in ' '.join(allowed + found for _, found, allowed in problems)


def test_a_level_depends_on_one_thing():
    problems = refused(
        ('cell_undervoltage.msl.by_temperature', TABLE),
        ('cell_undervoltage.msl.by_state', {'rest': 2.6}),
    )
    assert 'one of by_temperature and by_state' in problems[0][2]


# -- sets -----------------------------------------------------------------------------------------


def limit_set(tmp_path, limits, chemistry='NMC, NCA'):
    path = tmp_path / 'mine.yaml'
    data = {'name': 'mine', 'chemistry': chemistry, 'source': 'made up', 'limits': limits}
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def test_a_set_fills_what_the_pack_leaves_out(tmp_path):
    given = yaml.safe_load(old())['limits']
    path = limit_set(tmp_path, {**given, 'voltage_spread': {'mol': FULL}})
    text = changed(ROBOT, ('limits', {'set': str(path), 'rest_current': 0.7}))
    pack = pack_of(text)
    assert pack.limits.rest_current == 0.7
    assert pack.limits.cell_overvoltage == pack_of(old()).limits.cell_overvoltage
    assert 'voltage_spread' in pack.limits.more


def test_a_set_is_part_of_the_digest(tmp_path):
    path = limit_set(tmp_path, {'voltage_spread': {'mol': FULL}})
    text = old(('set', str(path)))
    before = pack_of(text).digest
    limit_set(tmp_path, {'voltage_spread': {'mol': {**FULL, 'at': 0.4}}})
    assert pack_of(text).digest != before


def test_what_neither_has_is_named(tmp_path):
    path = limit_set(tmp_path, {'voltage_spread': {'mol': FULL}})
    keys = {p.key for p in problems_of(changed(ROBOT, ('limits', {'set': str(path)})))}
    assert 'limits.cell_overvoltage' in keys
    assert 'limits.voltage_spread' not in keys


def test_a_wrong_set_is_named_in_its_own_file(tmp_path):
    path = limit_set(tmp_path, {'voltage_spread': {'mol': {**FULL, 'at': '0,3'}}})
    [problem] = problems_of(old(('set', str(path))))
    assert (problem.path, problem.key) == (path, 'limits.voltage_spread.mol.at')


@pytest.mark.parametrize(
    'content', ['', '[1]', 'name: x', 'name: mine\nlimits: 3', 'limits: {set: nmc}']
)
def test_any_file_as_a_set_is_refused_with_reasons(tmp_path, content):
    path = tmp_path / 'odd.yaml'
    path.write_text(content)
    assert all(problem.found for problem in problems_of(old(('set', str(path)))))


def test_a_set_of_another_chemistry_is_refused(tmp_path):
    path = limit_set(tmp_path, {}, chemistry='LTO')
    [problem] = problems_of(old(('set', str(path))))
    assert (problem.key, problem.allowed[:12]) == ('limits.set', 'a set for NM')


def test_a_set_that_is_not_there_is_named():
    with pytest.raises(PackError) as caught:
        load_pack_text(old(('set', 'no_such')), PLACE)
    assert caught.value.problems[0].key == 'limits.set'


# -- the table ------------------------------------------------------------------------------------


def run(*options):
    console = Console(file=io.StringIO(), width=80, color_system=None)
    assert cli.check([ROBOT], console=console, limits=True, **dict.fromkeys(options, True)) == 0
    return console.file.getvalue()


def test_the_table_shows_every_trigger_with_its_total_time():
    text = run()
    for key in levels_of(load_pack(ROBOT).limits):
        assert f'{key} ' in text
    # Half a second of debounce, a cycle, and contactors that follow within 0.2 s.
    line = next(line for line in text.splitlines() if '4.25 V' in line)
    assert line.split()[-3:] == ['open', '*', '0.72']
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines())


def test_announced_takes_the_grace_longer():
    rows = {(row.quantity, row.level): row for row in limits_table.rows(load_pack(ROBOT))}
    row = rows['cell_undervoltage', 'MSL']
    assert row.action == 'leave'
    assert row.total == pytest.approx(0.5 + 0.02 + 1.0 + 0.2)


def test_a_mean_takes_its_window_longer():
    rows = {(row.quantity, row.level): row for row in limits_table.rows(load_pack(ROBOT))}
    assert rows['voltage_mismatch', 'MOL'].total == pytest.approx(1.5 + 0.02 + 0.5)


def test_what_is_filtered_takes_longer_by_what_hides_a_step():
    pack = load_pack(ROBOT)
    rows = {(row.quantity, row.level): row for row in limits_table.rows(pack)}
    # A first order mean of 10 s is at half of a step after 10 s x ln 2.
    rise = rows['temperature_rise', 'MSL']
    assert rise.filter == pytest.approx(10 * math.log(2))
    assert rise.total == pytest.approx(10 * math.log(2) + 3.0 + 0.02 + 1.0 + 0.2)
    # 60 s, of the square; 72 A of 100 A, at which the over-current opens.
    overload = rows['overload', 'MOL']
    assert overload.filter == pytest.approx(-60 * math.log(1 - 0.72**2))
    assert overload.total == pytest.approx(overload.filter + 1.02)
    assert rows['cell_overvoltage', 'MSL'].filter == 0.0
    assert rows['clock_skew', 'MOL'].filter == pytest.approx(7 * 0.1 * 2.2)


def test_a_step_that_stays_within_the_limit_is_hidden_for_ever():
    pack = load_pack(ROBOT)
    assert hidden_for(pack, 'overload', 90.0, 90.0) == math.inf
    assert hidden_for(pack, 'temperature_rise', 60.0, 61.0) > 40.0
    assert hidden_for(pack, 'cell_overvoltage', 4.2, 4.1) == 0.0


def test_a_pack_may_choose_the_action():
    pack = pack_of(old(('cell_undervoltage.msl.action', 'open')))
    limit = pack.limits.cell_undervoltage[Level.MSL]
    assert action_of('cell_undervoltage', Level.MSL, limit) == 'open'


def test_scripts_get_the_table_too():
    [answer] = json.loads(run('as_json'))
    first = answer['triggers'][0]
    assert (first['quantity'], first['level'], first['action']) == (
        'cell_overvoltage',
        'MOL',
        'warn',
    )


# -- shipped sets ---------------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['nmc', 'lfp', 'lto'])
def test_a_shipped_set_is_complete_but_for_what_belongs_to_the_pack(name):
    text = paths.find('limits', name).read_text(encoding='utf-8')
    data, problems = schema.check(parse(text, PLACE), 'limits')
    assert not problems
    assert data['source'].count(';') >= 2, 'says where the numbers come from'
    mine = {'overload', 'precharge_current', 'short_circuit', 'current_mismatch', 'open_current'}
    mine |= {'overcurrent_charge', 'overcurrent_discharge', 'temperature_mismatch'}
    assert set(data['limits']) - {'derating'} == set(QUANTITIES) - mine


def test_the_set_for_lto_protects_a_pack_of_lto(tmp_path):
    cell = shipped('lg_hg2')
    cell |= {'name': 'made_up', 'chemistry': 'LTO'}
    cell['voltage'] = {'min': 1.5, 'max': 2.8, 'nominal': 2.3}
    volts = cell['ocv']['voltage']
    step = 1.3 / (len(volts) - 1)
    cell['ocv']['voltage'] = [1.5 + step * index for index in range(len(volts))]
    (tmp_path / 'lto_cell.yaml').write_text(yaml.safe_dump(cell))
    data = shipped(ROBOT)
    mine = {key: data['limits'][key] for key in data['limits'] if 'current' in key}
    mine |= {key: data['limits'][key] for key in ('short_circuit', 'module_lost', 'string_lost')}
    data |= {'cell': str(tmp_path / 'lto_cell.yaml'), 'limits': {**mine, 'set': 'lto'}}
    pack = pack_of(yaml.safe_dump(data, sort_keys=False))
    assert pack.limits.cell_overvoltage[Level.MSL].at == 2.8
    assert limits_table.unguarded(pack) == ['overload']


def test_shipped_packs_guard_everything():
    for name in PACKS:
        assert limits_table.unguarded(load_pack(name)) == []


@pytest.mark.parametrize(
    'table, key, words',
    [
        ({'at': [0.1, 0.05], 'factor': [0, 1]}, 'at', 'points that rise'),
        ({'at': [0.0, 0.05, 0.1], 'factor': [0, 1]}, 'factor', '3, one per point'),
        ({'at': [0.0, 0.1], 'factor': [0, 1.5]}, 'factor', 'from 0 to 1'),
        ({'at': [0.0, 7.0], 'factor': [0, 1]}, 'at', 'from 0 to 1'),
    ],
)
def test_a_derating_table_that_makes_no_sense_is_refused(table, key, words):
    data = shipped(ROBOT)
    data['limits']['derating'] = {'discharge_soc': table}
    with pytest.raises(PackError) as error:
        pack_of(yaml.safe_dump(data, sort_keys=False))
    assert f'discharge_soc.{key}' in str(error.value)
    assert words in str(error.value)


def test_a_derating_is_read_and_shown():
    data = shipped(ROBOT)
    data['limits']['derating'] = {
        'discharge_soc': {'at': [0.03, 0.1], 'factor': [0, 1]},
        'charge_temperature': {'at': [0, 10], 'factor': [0.2, 1]},
        'power': True,
    }
    pack = pack_of(yaml.safe_dump(data, sort_keys=False))
    assert pack.limits.derating is not None
    assert pack.limits.derating.soc == (None, ((0.03, 0.1), (0.0, 1.0)))
    assert pack.limits.derating.temperature == (((0.0, 10.0), (0.2, 1.0)), None)
    assert pack.limits.derating.power
    said = ' '.join(limits_table._derating(pack))
    assert 'x 0 at 0.03, x 1 at 0.1' in said
