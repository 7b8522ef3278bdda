# SPDX-License-Identifier: Apache-2.0
"""Pack and cell files into the values of `model`."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from . import paths, schema
from .document import Document, parse, read_text
from .errors import PackError, Problem
from .limit_loader import limits_of, with_set
from .model import (
    AgeingModel,
    Bus,
    CellModel,
    ContactorUnit,
    CurrentSensor,
    Module,
    Pack,
    Precharge,
    String,
)
from .validate import check_pack
from .validate_cell import check_cell

Data = Mapping[str, Any]


def load_pack(path_or_name: str | Path) -> Pack:
    """Load a pack by path or by the name of a shipped one; raise PackError if it is not right."""
    path = paths.find('packs', path_or_name)
    return load_pack_text(read_text(path), path)


def load_cell(path_or_name: str | Path) -> CellModel:
    """Load a cell model by path or name; raise PackError if it is not right."""
    path = paths.find('cells', path_or_name)
    return load_cell_text(read_text(path), path)


def load_cell_text(text: str, path: Path) -> CellModel:
    """Load a cell model from text that came from `path`."""
    document = parse(text, path)
    data, problems = schema.check(document, 'cell')
    if isinstance(data, dict):
        problems += check_cell(document, data)
    if problems:
        raise PackError(sorted(problems, key=lambda problem: problem.line))
    return _cell(data, path)


def load_pack_text(text: str, path: Path) -> Pack:
    """Load a pack from text that came from `path`; its cell and limit set may lie beside it."""
    document = parse(text, path)
    data, problems = schema.check(document, 'pack')
    cell: CellModel | None = None
    cell_text = set_text = ''
    cell_problems: list[Problem] = []
    if isinstance(data, dict):
        if data.get('cell') is not None:
            cell, cell_text, cell_problems = _find_cell(document, data['cell'])
        data, set_text, set_problems = with_set(document, data)
        cell_problems += set_problems
        problems += check_pack(document, data, cell)
    if problems or cell_problems or cell is None:
        raise PackError([*sorted(problems, key=lambda problem: problem.line), *cell_problems])
    digest = hashlib.sha256('\0'.join((text, cell_text, set_text)).encode()).hexdigest()
    return _pack(data, cell, path, digest)


def _find_cell(document: Document, name: str) -> tuple[CellModel | None, str, list[Problem]]:
    """Return the cell, its text, and what is wrong with it."""
    try:
        path = paths.find('cells', name, beside=document.path.parent)
        text = read_text(path)
    except PackError as error:
        reason = error.problems[0]
        problem = document.problem(('cell',), f'{name!r}: {reason.found}', reason.allowed)
        return None, '', [problem]
    try:
        return load_cell_text(text, path), text, []
    except PackError as error:
        return None, text, error.problems


def _cell(data: Data, path: Path) -> CellModel:
    def table(values: Any) -> Any:
        array = np.array(values, dtype=np.float64)
        array.setflags(write=False)  # shared by whoever loads the pack
        return array

    voltage, ocv, thermal = data['voltage'], data['ocv'], data['thermal']
    return CellModel(
        name=data['name'],
        chemistry=data['chemistry'],
        source=data['source'],
        capacity=float(data['capacity']),
        voltage_min=float(voltage['min']),
        voltage_max=float(voltage['max']),
        voltage_nominal=float(voltage['nominal']),
        ocv_soc=table(ocv['soc']),
        ocv_voltage=table(ocv['voltage']),
        heat_capacity=float(thermal['heat_capacity']),
        thermal_resistance=float(thermal['resistance']),
        path=path,
        **_impedance(data['impedance'], table),
        **_optional(data),
        **_cell_options(data, table),
    )


def _impedance(data: Data, table: Callable[[Any], Any]) -> dict[str, Any]:
    return {
        name: float(values) if name == 'saturation' else table(values)
        for name, values in data.items()
    }


def _cell_options(data: Data, table: Callable[[Any], Any]) -> dict[str, Any]:
    """Return what a cell file may leave out, as far as it is there."""
    options: dict[str, Any] = {}
    ocv, thermal = data['ocv'], data['thermal']
    if 'entropic' in ocv:
        options['entropic'] = table(ocv['entropic'])
    if 'neighbour_resistance' in thermal:
        options['neighbour_resistance'] = float(thermal['neighbour_resistance'])
    if 'self_discharge' in data:
        options['self_discharge'] = float(data['self_discharge'])
    if 'ageing' in data:
        wear = {name: float(value) for name, value in data['ageing'].items()}
        options['ageing'] = AgeingModel(**wear)
    return options


def _optional(data: Data) -> dict[str, Any]:
    """Return what a cell file may leave out."""
    result: dict[str, Any] = {}
    if 'hysteresis' in data:
        result['hysteresis_voltage'] = np.array(data['hysteresis']['voltage'], dtype=float)
        result['hysteresis_soc'] = float(data['hysteresis']['soc'])
    for field, key, value in (
        ('capacities', 'capacity_by_temperature', 'capacity'),
        ('model_errors', 'model_error', 'voltage'),
    ):
        if key in data:
            names = ('temperatures', value)
            result[field] = tuple(np.array(data[key][name], dtype=float) for name in names)
    error = data.get('model_error', {})
    if 'load' in error:
        result['load_error'] = float(error['load'])
    by_soc = error.get('by_soc')
    if by_soc:
        table = tuple(np.array(by_soc[name], dtype=float) for name in ('socs', 'voltage'))
        result['model_errors_by_soc'] = table
    return result


def _pack(data: Data, cell: CellModel, path: Path, digest: str) -> Pack:
    return Pack(
        name=data['name'],
        description=data.get('description', ''),
        cell=cell,
        parallel=int(data['parallel']),
        buses={name: _bus(name, bus) for name, bus in data['buses'].items()},
        strings=_strings(data),
        limits=limits_of(data['limits']),
        path=path,
        digest=digest,
    )


def _bus(name: str, data: Data) -> Bus:
    bus = Bus(name=name, interface=data['interface'], channel=data['channel'])
    bitrate = int(data.get('bitrate', bus.bitrate))
    return replace(bus, bitrate=bitrate, options=data.get('options', {}))


def _strings(data: Data) -> tuple[String, ...]:
    strings = []
    first_cell = first_temperature = 0
    for string in data['strings']:
        modules = []
        for entry in string['modules']:
            merged = {**data.get('modules_default', {}), **entry}
            module = _module(merged, string['name'], first_cell, first_temperature)
            first_cell += module.cells
            first_temperature += module.temperatures
            modules.append(module)
        strings.append(
            String(
                name=string['name'],
                modules=tuple(modules),
                current_sensor=_current_sensor(string['current_sensor']),
                contactors=_contactors(string['contactors']),
            )
        )
    return tuple(strings)


def _module(data: Data, string: str, first_cell: int, first_temperature: int) -> Module:
    return Module(
        name=data['name'],
        string=string,
        bus=data['bus'],
        address=int(data['address']),
        cells=int(data['cells']),
        temperatures=int(data['temperatures']),
        first_cell=first_cell,
        first_temperature=first_temperature,
        period=float(data['period']),
        redundant=tuple(
            tuple(int(number) for number in group)
            for group in data.get('redundant_temperatures', ())
        ),
    )


def _current_sensor(data: Data) -> CurrentSensor:
    return CurrentSensor(
        bus=data['bus'],
        address=int(data['address']),
        period=float(data['period']),
        voltage_period=float(data['voltage_period']),
        range=float(data['range']),
    )


def _contactors(data: Data) -> ContactorUnit:
    precharge = data['precharge']
    numbers = ('lease', 'feedback_timeout', 'break_current', 'grace', 'join_voltage')
    optional = ('join_current', 'coil_pause', 'expected_cycles', 'expected_arcs')
    return ContactorUnit(
        bus=data['bus'],
        address=int(data['address']),
        precharge=Precharge(
            attempts=int(precharge['attempts']),
            **{name: float(precharge[name]) for name in precharge if name != 'attempts'},
        ),
        **{name: float(data[name]) for name in numbers},
        **{name: float(data[name]) for name in optional if name in data},
    )
