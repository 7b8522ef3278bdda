# SPDX-License-Identifier: Apache-2.0
"""Files become the values of the model."""

import dataclasses

import numpy as np
import pytest
from pack_rig import CELLS, PACKS, change, dump, pack_of, shipped

from dbms_pack import Level, PackError, load_cell, load_pack, paths


def test_the_robot_pack_is_what_its_file_says():
    pack = load_pack('robot_13s')
    assert (pack.name, pack.cells, pack.temperatures, pack.parallel) == ('robot_13s', 13, 6, 6)
    assert pack.capacity == pytest.approx(6 * 2.778)
    assert pack.buses['main'].can_arguments() == {
        'interface': 'socketcan', 'channel': 'can0', 'bitrate': 500_000,
    }  # fmt: skip
    first, second = pack.modules
    assert (first.cell_slice, second.cell_slice) == (slice(0, 7), slice(7, 13))
    assert (first.temperature_slice, second.temperature_slice) == (slice(0, 3), slice(3, 6))
    assert (second.string, second.bus, second.address, second.period) == ('a', 'main', 2, 0.1)
    [string] = pack.strings
    assert (string.current_sensor.period, string.current_sensor.range) == (0.02, 500)
    assert (string.contactors.lease, string.contactors.precharge.attempts) == (0.25, 3)
    trip = pack.limits.cell_overvoltage[Level.MSL]
    assert (trip.at, trip.debounce, trip.hysteresis, trip.latch) == (4.25, 0.5, 0.05, True)
    assert set(pack.limits.short_circuit) == {Level.MSL}
    assert pack.limits.module_lost.open_after == 30
    assert pack.path == paths.find('packs', 'robot_13s')


def test_the_marine_pack_has_a_bus_per_string():
    pack = load_pack('marine_2x16s')
    assert [string.cells for string in pack.strings] == [16, 16]
    assert [{module.bus for module in string.modules} for string in pack.strings] == [
        {'port'}, {'starboard'},
    ]  # fmt: skip
    assert pack.strings[1].contactors.bus == pack.strings[1].current_sensor.bus == 'starboard'
    assert pack.strings[1].cell_slice == slice(16, 32)
    assert pack.capacity == pytest.approx(560)


def test_the_leaf_pack_trips_within_the_measured_discharge():
    """Its weakest cell falls from 3.2 V at 3000 s to 3.003 V at 3082.5 s, at 65 A."""
    pack = load_pack('leaf_module')
    trip = pack.limits.cell_undervoltage[Level.MSL]
    assert 3.003 < trip.at < 3.2
    assert trip.debounce <= 1.0
    assert trip.latch
    assert pack.limits.overcurrent_discharge[Level.MOL].at > 65
    assert (pack.cells, pack.temperatures, len(pack.modules)) == (6, 3, 1)
    # 55.3 Ah came out of it, and most of its pairs were not empty then.
    assert 55.3 < pack.capacity < 65


@pytest.mark.parametrize('name', PACKS)
def test_every_number_of_a_shipped_pack_is_a_float_or_an_int_as_declared(name):
    def walk(value):
        yield value
        if dataclasses.is_dataclass(value):
            for part in dataclasses.fields(value):
                inner = getattr(value, part.name)
                if part.type in (float, int):
                    assert type(inner) is part.type, part.name
                yield from walk(inner)
        elif isinstance(value, dict | tuple):
            for inner in value.values() if isinstance(value, dict) else value:
                yield from walk(inner)

    assert len(list(walk(load_pack(name)))) > 100


@pytest.mark.parametrize('name', CELLS)
def test_a_cell_is_what_its_file_says(name):
    cell, data = load_cell(name), shipped(name)
    assert (cell.name, cell.capacity) == (name, data['capacity'])
    np.testing.assert_array_equal(cell.r1, data['impedance']['r1'])
    assert (np.diff(cell.ocv_voltage) > 0).all()
    assert cell.path == paths.find('cells', name)


def test_the_digest_tells_one_description_from_another(tmp_path):
    data = shipped('robot_13s')
    before = pack_of(dump(data)).digest
    assert before == pack_of(dump(data)).digest
    change(data, 'limits.rest_current', 0.6)
    changed_limit = pack_of(dump(data)).digest
    cell = tmp_path / 'lg.yaml'
    cell.write_text(dump(shipped('lg_hg2') | {'capacity': 2.9}))
    change(data, 'cell', str(cell))
    first = pack_of(dump(data)).digest
    cell.write_text(dump(shipped('lg_hg2') | {'capacity': 2.8}))
    assert len({before, changed_limit, first, pack_of(dump(data)).digest}) == 4


def test_a_cell_is_looked_for_beside_the_pack(tmp_path):
    (tmp_path / 'mine.yaml').write_text(dump(shipped('lg_hg2') | {'name': 'mine'}))
    pack = tmp_path / 'pack.yaml'
    pack.write_text(dump(shipped('robot_13s') | {'cell': 'mine.yaml'}))
    assert load_pack(pack).cell.name == 'mine'


def test_a_pack_that_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / 'x.yaml', 'no_such_pack'):
        with pytest.raises(PackError) as caught:
            load_pack(path)
        assert caught.value.problems


def test_a_simulation_redirects_every_bus():
    pack = load_pack('marine_2x16s').redirected('virtual')
    assert pack.buses['port'].can_arguments() == {
        'interface': 'virtual', 'channel': 'marine_2x16s_port',
    }  # fmt: skip


def test_a_pack_of_256_modules_loads():
    data = shipped('robot_13s')
    bus = data['buses']['main'] | {'bitrate': 1_000_000}
    data['buses'] = {f'b{index}': bus for index in range(4)}
    string = data['strings'][0] | {'modules': []}
    string['current_sensor']['bus'] = string['contactors']['bus'] = 'b0'
    data['modules_default'] = {'cells': 16, 'temperatures': 4, 'period': 0.1}
    string['modules'] = [
        {'name': f'm{index}', 'bus': f'b{index % 4}', 'address': index // 4}
        for index in range(256)
    ]
    data['strings'] = [string]
    pack = pack_of(dump(data))
    assert (len(pack.modules), pack.cells, pack.temperatures) == (256, 4096, 1024)
    assert pack.module('m255').cell_slice == slice(4080, 4096)
