# SPDX-License-Identifier: Apache-2.0
"""Scenario files: what is read, and what is refused with line and remedy."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbms_pack import PackError, paths
from dbms_sim.faults import KINDS
from dbms_sim.scenario import load_scenario, load_scenario_text, parse_time

HEAD = 'purpose: A test\npack: robot_13s\nduration: 10 s\n'
ALWAYS = 'always:\n  - cell_voltage: {below: 4.3}\n'


def problems(text: str) -> list[str]:
    with pytest.raises(PackError) as caught:
        load_scenario_text(text, Path('one.yaml'))
    return [str(problem) for problem in caught.value.problems]


def timeline(entry: str) -> str:
    return f'{HEAD}timeline:\n  - {entry}\n'


def test_a_scenario_is_read_in_the_order_of_time():
    scenario = load_scenario_text(
        HEAD + 'temperature: -10\nambient: 5\ntime_scale: 60\n'
        'timeline:\n'
        '  - {at: 4 s, connect: all}\n'
        '  - {at: 500 ms, load: "constant:-20", expect: [state: CONNECTED], within: 0.05 min}\n'
        '  - {at: 2, expect: [{current: {above: -21}}], during: 3}\n' + ALWAYS,
        Path('one.yaml'),
    )
    assert [(one.at, one.kind, one.name) for one in scenario.actions] == [
        (0.5, 'load', 'constant:-20'),
        (4.0, 'connect', ''),
    ]
    within, during, always = scenario.expectations
    assert (within.at, within.until, within.holds) == (0.5, 3.5, False)
    assert (during.at, during.until, during.holds) == (2.0, 5.0, True)
    assert (always.at, always.until, always.holds) == (0.0, 10.0, True)
    assert (scenario.temperature, scenario.ambient, scenario.time_scale) == (-10.0, 5.0, 60.0)
    assert scenario.name == 'one'


@pytest.mark.parametrize(
    ('text', 'line', 'words'),
    [
        (timeline('{at: -1, connect: all}'), 5, "at: -1; a time from 0 on"),
        (timeline('{at: .nan, connect: all}'), 5, 'a finite number'),
        (timeline('{at: nan s, connect: all}'), 5, "'nan s'; a time: seconds"),
        (timeline('{at: 11, connect: all}'), 5, 'make the duration longer'),
        (timeline('{at: 1, at: 2, connect: all}'), 5, 'a second time'),
        (timeline('{at: 1, load: "constant:nan"}'), 5, 'is not a current'),
        (timeline('{at: 1, load: robt}'), 5, 'is not known'),
        (timeline('{at: 1}'), 5, 'nothing to do'),
        (timeline('{at: 1, connect: b}'), 5, 'one of: a'),
        (timeline('{at: 1, connect: all, reset: all}'), 5, 'make two entries'),
        (timeline('{at: 1, conect: all}'), 5, "did you mean 'connect'?"),
        (timeline('{at: 1, connect: all, place: m1}'), 5, 'leave it out'),
        (timeline('{at: 1, connect: all, within: 3}'), 5, 'within without expect'),
        (timeline('{at: 9, expect: [state: CONNECTED], within: 3}'), 5, 'until 12 s'),
        (timeline('{at: 1, expect: [state: CONECTED]}'), 5, "did you mean 'CONNECTED'?"),
        (timeline('{at: 1, expect: [fault: CELL_OVERVOLTGE]}'), 5, "mean 'CELL_OVERVOLTAGE'?"),
        (timeline('{at: 1, expect: [{fault: MODULE_LOST, place: m3}]}'), 5, 'one of: m1, m2, a'),
        (timeline('{at: 1, expect: [{fault: MODULE_LOST, level: HSL}]}'), 5, 'MOL, RSL, MSL'),
        (timeline('{at: 1, expect: [{cell_voltage: {above: 1}, place: m2:7}]}'), 5, 'to m2:6'),
        (timeline('{at: 1, expect: [{cell_voltage: {}}]}'), 5, 'above, below, or both'),
        (timeline('{at: 1, expect: [{soc: {above: 0.5, below: 0.4}}]}'), 5, 'above < below'),
        (timeline('{at: 1, expect: [{soc: {above: "0,5"}}]}'), 5, 'write 0.5 with a point'),
        (timeline('{at: 1, expect: [{state: FAULT, soc: {above: 0}}]}'), 5, 'state and soc'),
        (timeline('{at: 1, inject: board_silnt, place: m1}'), 5, "did you mean 'board_silent'?"),
        (timeline('{at: 1, inject: board_silent, place: m3}'), 5, 'not a module of pack'),
        (timeline('{at: 1, inject: bus_off, with: {loss: 1}}'), 5, "no parameter 'loss'"),
        (timeline('{at: 1, inject: sensor_drift, place: m1:1, with: {rate: x}}'), 5, 'rate=x'),
        (HEAD, 1, 'nothing is expected'),
        (HEAD + 'start: closed\n' + ALWAYS, 4, 'connected, standby'),
        (HEAD.replace('robot_13s', 'robot_12s') + ALWAYS, 2, "did you mean 'robot_13s'?"),
        (HEAD.replace('10 s', '10 parsecs') + ALWAYS, 3, 'a time: seconds'),
        (HEAD.replace('10 s', '0') + ALWAYS, 3, 'above 0'),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_line_and_remedy(text, line, words):
    told = problems(text)
    assert any(one.startswith(f'one.yaml:{line}:') and words in one for one in told), told


def test_all_problems_are_told_at_once():
    told = problems(timeline('{at: -1, connect: all}') + '  - {at: 1, expect: [state: UP]}\n')
    assert len(told) == 2


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(['timeline', 'always', 'load', 'duration', 'pack']),
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 99) | st.text('am1:3 x', max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.sampled_from(['at', 'expect', 'inject', 'place', 'with', 'soc', 'fault', 'within']),
            inner, max_size=4,
        ),
        max_leaves=12,
    ),
)  # fmt: skip
def test_no_value_in_any_place_ends_in_anything_but_a_refusal(key, value):
    import json

    body = {'purpose': 'x', 'pack': 'robot_13s', 'duration': 5, key: value}
    try:
        load_scenario_text(json.dumps(body), Path('one.yaml'))
    except PackError as error:
        assert error.problems


@pytest.mark.parametrize(('value', 'seconds'), [(2, 2.0), ('300 ms', 0.3), ('2 h', 7200.0)])
def test_times_have_units(value, seconds):
    assert parse_time(value) == pytest.approx(seconds)


@pytest.mark.parametrize('name', paths.names('scenarios'))
def test_every_shipped_scenario_is_right(name):
    assert load_scenario(name).purpose


def test_every_fault_of_the_simulator_has_a_scenario():
    used = {
        action.name
        for name in paths.names('scenarios')
        for action in load_scenario(name).actions
        if action.kind == 'inject'
    }
    assert used == set(KINDS)


def test_a_scenario_may_say_how_well_its_current_sensors_measure():
    text = HEAD + 'current_sensor: {offset: 0.2, gain: 1.01, noise: 0.3, range: 60}\n' + ALWAYS
    quality = load_scenario_text(text, Path('one.yaml')).current_sensor
    assert (quality.offset, quality.gain, quality.noise, quality.range) == (0.2, 1.01, 0.3, 60)
    for wrong in ('noise: -1', 'range: 0', 'gain: .nan', 'gian: 1'):
        told = problems(HEAD + f'current_sensor: {{{wrong}}}\n' + ALWAYS)
        assert told[0].startswith('one.yaml:4:'), told
