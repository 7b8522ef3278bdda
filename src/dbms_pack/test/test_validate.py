# SPDX-License-Identifier: Apache-2.0
"""What a schema cannot say about a pack: values that are right alone and wrong together."""

import pytest
from pack_rig import DELETE, change, changed, dump, line_of, pack_of, problems_of, shipped

ROBOT, MARINE = 'robot_13s', 'marine_2x16s'


@pytest.mark.parametrize(
    ('pack', 'changes', 'key', 'said'),
    [
        # Levels get worse in order.
        (
            ROBOT,
            {'limits.cell_overvoltage.rsl.at': 4.17},
            'limits.cell_overvoltage.rsl.at',
            'above mol at 4.18 V',
        ),
        (
            ROBOT,
            {'limits.cell_overvoltage.msl.at': 4.21},
            'limits.cell_overvoltage.msl.at',
            'above rsl at 4.21 V',
        ),
        (
            ROBOT,
            {'limits.cell_undervoltage.msl.at': 2.95},
            'limits.cell_undervoltage.msl.at',
            'below rsl at 2.9 V',
        ),
        (
            ROBOT,
            {'limits.undertemperature_charge.rsl.at': 6},
            'limits.undertemperature_charge.rsl.at',
            'below mol at 5 degC',
        ),
        (
            ROBOT,
            {'limits.overcurrent_discharge.rsl.at': 60},
            'limits.overcurrent_discharge.rsl.at',
            'above mol at 70 A',
        ),
        # A hysteresis leaves a range in which everything has ended.
        (
            ROBOT,
            {'limits.cell_overvoltage.mol.hysteresis': 1.5},
            'limits.cell_overvoltage.mol.hysteresis',
            'above 3.2 V',
        ),
        (
            ROBOT,
            {'limits.overtemperature_charge.msl.hysteresis': 45},
            'limits.overtemperature_charge.msl.hysteresis',
            'above 7 degC',
        ),
        (
            ROBOT,
            {
                'limits.undertemperature_discharge.msl.hysteresis': 50,
                'limits.overtemperature_discharge.mol.hysteresis': 30,
            },
            'limits.overtemperature_discharge.mol.hysteresis',
            'above 30 degC',
        ),
        (
            ROBOT,
            {'limits.overcurrent_charge.msl.hysteresis': 30},
            'limits.overcurrent_charge.msl.hysteresis',
            'less than `at` of 30 A',
        ),
        (
            ROBOT,
            {'limits.short_circuit.msl.hysteresis': 300},
            'limits.short_circuit.msl.hysteresis',
            'never ends',
        ),
        # Voltages are those of the cell.
        (
            ROBOT,
            {'limits.cell_overvoltage.msl.at': 4.36},
            'limits.cell_overvoltage.msl.at',
            'at most 4.35 V, 0.15 V above',
        ),
        (
            MARINE,
            {'limits.cell_overvoltage.msl.at': 4.25},
            'limits.cell_overvoltage.msl.at',
            'of cell lfp_280ah',
        ),
        (
            ROBOT,
            {'limits.cell_undervoltage.msl.at': 2.1},
            'limits.cell_undervoltage.msl.at',
            'at least 2.20 V',
        ),
        (
            ROBOT,
            {'limits.cell_overvoltage.mol.at': 3.5},
            'limits.cell_overvoltage.mol.at',
            'the nominal voltage',
        ),
        (
            MARINE,
            {'limits.cell_undervoltage.mol.at': 3.3},
            'limits.cell_undervoltage.mol.at',
            'the nominal voltage',
        ),
        # Sensors that measure the same spot are there, and somebody compares them.
        (
            MARINE,
            {'modules_default.redundant_temperatures': [[4, 5]]},
            'modules_default.redundant_temperatures',
            '1 to 4',
        ),
        (
            MARINE,
            {'modules_default.redundant_temperatures': [[1, 2], [2, 3]]},
            'modules_default.redundant_temperatures',
            'each in one group',
        ),
        (
            MARINE,
            {'modules_default.redundant_temperatures': []},
            'limits.temperature_mismatch',
            'name the sensors that measure the same spot',
        ),
        # Currents are those that the sensor sees.
        (
            ROBOT,
            {'strings.0.current_sensor.range': 90},
            'limits.overcurrent_discharge.msl.at',
            'at most 90 A',
        ),
        (
            ROBOT,
            {'limits.short_circuit.msl.at': 501},
            'limits.short_circuit.msl.at',
            'at most 500 A',
        ),
        (
            MARINE,
            {'strings.1.current_sensor.range': 750},
            'limits.short_circuit.msl.at',
            'of string starboard',
        ),
        (
            ROBOT,
            {'limits.short_circuit.msl.at': 100},
            'limits.short_circuit.msl.at',
            'above overcurrent_discharge msl at 100 A',
        ),
        (
            ROBOT,
            {'limits.rest_current': 22},
            'limits.rest_current',
            'below overcurrent_charge mol at 22 A',
        ),
        (
            ROBOT,
            {'strings.0.contactors.break_current': 600},
            'strings[0].contactors.break_current',
            'at most 500 A',
        ),
        # Times fit each other.
        (
            ROBOT,
            {'limits.string_lost.timeout': 0.03},
            'limits.string_lost.timeout',
            'at least 0.04 s',
        ),
        (
            ROBOT,
            {'limits.module_lost.timeout': 0.15},
            'limits.module_lost.timeout',
            'at least 0.2 s',
        ),
        (
            ROBOT,
            {'strings.0.contactors.precharge.min_time': 2},
            'strings[0].contactors.precharge.min_time',
            'timeout of 2 s',
        ),
        (
            ROBOT,
            {
                'strings.0.current_sensor.voltage_period': 1,
                'strings.0.contactors.precharge.timeout': 1,
            },
            'strings[0].current_sensor.voltage_period',
            'at most 0.5 s',
        ),
        (
            ROBOT,
            {'strings.0.contactors.precharge.voltage': 12},
            'strings[0].contactors.precharge.voltage',
            '20% of the string',
        ),
        (
            ROBOT,
            {'strings.0.contactors.join_voltage': 12},
            'strings[0].contactors.join_voltage',
            '20% of the string',
        ),
        # Strings in parallel are alike.
        (
            MARINE,
            {'strings.1.modules.0.cells': 7},
            'strings[1].modules',
            '16 as in the string of line',
        ),
        # Names and addresses occur once.
        (ROBOT, {'strings.0.modules.1.name': 'm1'}, 'strings[0].modules[1].name', 'the name once'),
        (
            MARINE,
            {'strings.1.modules.0.name': 'port_1'},
            'strings[1].modules[0].name',
            'the name once',
        ),
        (MARINE, {'strings.1.name': 'port'}, 'strings[1].name', 'the name once'),
        (
            ROBOT,
            {'strings.0.modules.1.address': 1},
            'strings[0].modules[1].address',
            'the address once',
        ),
        (
            MARINE,
            {'strings.1.contactors.bus': 'port'},
            'strings[1].contactors.address',
            'the address once',
        ),
        (
            MARINE,
            {'strings.1.current_sensor.bus': 'port'},
            'strings[1].current_sensor.address',
            'the address once',
        ),
        (
            MARINE,
            {'strings.1.modules.1.bus': 'port'},
            'strings[1].modules[1].address',
            'the address once',
        ),
        # Buses are there.
        (
            ROBOT,
            {'strings.0.contactors.bus': 'mian'},
            'strings[0].contactors.bus',
            "did you mean 'main'?",
        ),
        (
            ROBOT,
            {'strings.0.current_sensor.bus': 'x'},
            'strings[0].current_sensor.bus',
            'one of: main',
        ),
        (ROBOT, {'modules_default.bus': 'mine'}, 'modules_default.bus', "did you mean 'main'?"),
        # A bus carries what is on it, at most all of its time.
        (ROBOT, {'buses.main.bitrate': 10000}, 'buses.main.bitrate', 'a faster bus'),
        # Temperature limits need a sensor.
        (ROBOT, {'modules_default.temperatures': 0}, 'strings[0].modules', 'could not be guarded'),
        # What a module needs, it has from somewhere.
        (
            ROBOT,
            {'modules_default.period': DELETE},
            'strings[0].modules[0].period',
            'modules_default',
        ),
        # The cell is there.
        (ROBOT, {'cell': 'lg_hg22'}, 'cell', "did you mean 'lg_hg2'?"),
        (ROBOT, {'cell': 'a\0b'}, 'cell', 'config/cells'),
    ],
)
def test_what_does_not_fit_is_refused(pack, changes, key, said):
    text = changed(pack, *changes.items())
    problem = next(p for p in problems_of(text) if p.key == key)
    assert said in problem.allowed
    if not key.startswith('strings[0].modules[0].period'):
        last = key.rsplit('.', 1)[-1].split('[')[0]
        assert text.splitlines()[problem.line - 1].lstrip(' -').startswith(f'{last}:')


@pytest.mark.parametrize(
    'changes',
    [
        {'limits.cell_overvoltage.msl.at': 4.35},  # 4.2 + 0.15 in decimal
        {'limits.cell_undervoltage.msl.at': 2.2},
        {'limits.short_circuit.msl.at': 500},
        {'limits.module_lost.timeout': 0.2},
        {'strings.0.modules.0.period': 0.2},
        {'buses.main.interface': 'virtual', 'buses.main.bitrate': 10000},
        {
            'buses.main.bitrate': DELETE,
            'modules_default': DELETE,
            'strings.0.modules': [
                {
                    'name': 'x',
                    'bus': 'main',
                    'address': 0,
                    'cells': 24,
                    'temperatures': 1,
                    'period': 0.1,
                },
                {
                    'name': 'y',
                    'bus': 'main',
                    'address': 63,
                    'cells': 1,
                    'temperatures': 0,
                    'period': 0.1,
                },
            ],
        },
    ],
)
def test_what_just_fits_is_accepted(changes):
    pack_of(changed(ROBOT, *changes.items()))


def test_the_same_address_may_be_on_two_buses_and_on_units_of_two_kinds():
    pack = pack_of(dump(shipped(MARINE)))
    assert [(module.bus, module.address) for module in pack.modules] == [
        ('port', 1), ('port', 2), ('starboard', 1), ('starboard', 2),
    ]  # fmt: skip
    assert pack.strings[0].current_sensor.address == pack.strings[0].contactors.address == 0


def test_everything_wrong_is_named_at_once_in_the_order_of_the_file():
    text = changed(
        ROBOT,
        ('parallel', '6'),
        ('strings.0.contactors.bus', 'mian'),
        ('strings.0.modules.0.name', 'M 1'),
        ('strings.0.modules.1.cells', 0),
        ('limits.cell_overvoltage.rsl', DELETE),
        ('limits.cell_overvoltage.msl.at', 4.0),
        ('limits.rest_current', DELETE),
    )
    problems = problems_of(text)
    assert [problem.key for problem in problems] == [
        'parallel',
        'strings[0].contactors.bus',
        'strings[0].modules[0].name',
        'strings[0].modules[1].cells',
        'limits.rest_current',
        'limits.cell_overvoltage.rsl',
        'limits.cell_overvoltage.msl.at',
    ]
    assert [p.line for p in problems] == sorted(p.line for p in problems)


def test_what_is_wrong_with_the_cell_is_named_with_the_file_of_the_cell(tmp_path):
    cell = tmp_path / 'mine.yaml'
    cell.write_text(changed('lg_hg2', ('capacity', -3)))
    text = changed(ROBOT, ('cell', str(cell)), ('limits.rest_current', 'x'))
    own, others = problems_of(text)
    assert own.key == 'limits.rest_current'
    assert (others.path, others.key) == (cell, 'capacity')
    assert others.line == line_of(cell.read_text(), 'capacity:')


def test_a_merged_string_is_blamed_on_the_lines_it_comes_from():
    data = shipped(MARINE)
    text = dump(change(data, 'name', 'x') or data)
    shared = text.replace('current_sensor:\n    bus: port', 'current_sensor: &s\n    bus: port', 1)
    start = shared.index('current_sensor:\n    bus: starboard')
    end = shared.index('contactors:', start)
    merged = f'{shared[:start]}current_sensor: {{<<: *s, range: 1}}\n  {shared[end:]}'
    problem = next(p for p in problems_of(merged) if p.key == 'strings[1].current_sensor.address')
    assert problem.line == line_of(merged, 'address:')
