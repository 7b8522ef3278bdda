# SPDX-License-Identifier: Apache-2.0
"""Checks of a cell model that a schema cannot express."""

from collections.abc import Iterator, Mapping
from typing import Any

from .document import Document, KeyPath
from .errors import Problem

Data = Mapping[str, Any]

TABLES = ('r0', 'r1', 'tau1', 'r2', 'tau2', 'r0_charge', 'r1_charge', 'r2_charge')
OCV_MARGIN = 0.3  # V, how far the OCV curve may lie outside of the service voltages


def check_cell(document: Document, data: Data) -> list[Problem]:
    """Return everything that is wrong with a cell whose values are each right by themselves."""
    return [
        *_check_voltages(document, data),
        *_check_ocv(document, data),
        *_check_impedance(document, data),
        *_check_optional(document, data),
    ]


def _check_voltages(document: Document, data: Data) -> Iterator[Problem]:
    voltage = data.get('voltage') or {}
    low, nominal, high = (voltage.get(name) for name in ('min', 'nominal', 'max'))
    if low is not None and high is not None and low >= high:
        allowed = f'above voltage.min of {low:g} V'
        yield document.problem(('voltage', 'max'), f'{high:g} V', allowed)
    elif None not in (low, nominal, high) and not low < nominal < high:  # type: ignore[operator]
        allowed = f'between {low:g} and {high:g} V'
        yield document.problem(('voltage', 'nominal'), f'{nominal:g} V', allowed)


def _check_ocv(document: Document, data: Data) -> Iterator[Problem]:
    ocv = data.get('ocv') or {}
    soc, voltage = ocv.get('soc'), ocv.get('voltage')
    yield from _check_ascending(document, ('ocv', 'soc'), soc)
    yield from _check_ascending(document, ('ocv', 'voltage'), voltage)
    if soc and None not in (soc[0], soc[-1]) and (soc[0] != 0 or soc[-1] != 1):
        found = f'from {soc[0]:g} to {soc[-1]:g}'
        yield document.problem(('ocv', 'soc'), found, 'from 0 to 1')
    if soc is None or voltage is None:
        return
    if len(soc) != len(voltage):
        found = f'{len(voltage)} voltages'
        yield document.problem(('ocv', 'voltage'), found, f'{len(soc)}, one per SOC point')
    entropic = ocv.get('entropic')
    if entropic is not None and len(entropic) != len(soc):
        allowed = f'{len(soc)}, one per SOC point'
        yield document.problem(('ocv', 'entropic'), f'{len(entropic)} values', allowed)
    service = data.get('voltage') or {}
    low, high = service.get('min'), service.get('max')
    if low is None or high is None or voltage[0] is None or voltage[-1] is None:
        return
    if voltage[0] < low - OCV_MARGIN or voltage[-1] > high + OCV_MARGIN:
        found = f'from {voltage[0]:g} to {voltage[-1]:g} V'
        allowed = f'within {OCV_MARGIN} V of voltage.min and voltage.max, {low:g} to {high:g} V'
        yield document.problem(('ocv', 'voltage'), found, allowed)


def _check_impedance(document: Document, data: Data) -> Iterator[Problem]:
    impedance = data.get('impedance') or {}
    temperatures, socs = impedance.get('temperatures'), impedance.get('socs')
    yield from _check_ascending(document, ('impedance', 'temperatures'), temperatures)
    yield from _check_ascending(document, ('impedance', 'socs'), socs)
    for name in TABLES:
        table = impedance.get(name)
        if table is None:
            continue
        key: KeyPath = ('impedance', name)
        if temperatures is not None and len(table) != len(temperatures):
            allowed = f'{len(temperatures)}, one per temperature'
            yield document.problem(key, f'{len(table)} rows', allowed)
        for index, row in enumerate(table):
            if socs is not None and row is not None and len(row) != len(socs):
                allowed = f'{len(socs)}, one per SOC'
                yield document.problem((*key, index), f'{len(row)} values', allowed)


def _check_optional(document: Document, data: Data) -> Iterator[Problem]:
    points, gap = (data.get('ocv') or {}).get('soc'), data.get('hysteresis') or {}
    if points and gap.get('voltage') and len(gap['voltage']) != len(points):
        found = f'{len(gap["voltage"])} voltages'
        allowed = f'{len(points)}, one per SOC point of ocv'
        yield document.problem(('hysteresis', 'voltage'), found, allowed)
    for name, value in (('capacity_by_temperature', 'capacity'), ('model_error', 'voltage')):
        table = data.get(name) or {}
        places, values = table.get('temperatures'), table.get(value)
        yield from _check_ascending(document, (name, 'temperatures'), places)
        if places and values and len(places) != len(values):
            allowed = f'{len(places)}, one per temperature'
            yield document.problem((name, value), f'{len(values)} values', allowed)
    yield from _check_error_by_soc(document, data.get('model_error') or {})


def _check_error_by_soc(document: Document, error: Data) -> Iterator[Problem]:
    by_soc = error.get('by_soc') or {}
    socs, rows, places = by_soc.get('socs'), by_soc.get('voltage'), error.get('temperatures')
    key: KeyPath = ('model_error', 'by_soc')
    yield from _check_ascending(document, (*key, 'socs'), socs)
    if rows and places and len(rows) != len(places):
        allowed = f'{len(places)}, one per temperature'
        yield document.problem((*key, 'voltage'), f'{len(rows)} rows', allowed)
    for index, row in enumerate(rows or []):
        if socs and row is not None and len(row) != len(socs):
            found, allowed = f'{len(row)} values', f'{len(socs)}, one per SOC'
            yield document.problem((*key, 'voltage', index), found, allowed)


def _check_ascending(
    document: Document, key: KeyPath, values: list[float | None] | None
) -> Iterator[Problem]:
    before = None
    for index, value in enumerate(values or []):
        if value is not None and before is not None and value <= before:
            allowed = f'above {before:g}: the points rise'
            yield document.problem((*key, index), f'{value:g}', allowed)
        before = value if value is not None else before
