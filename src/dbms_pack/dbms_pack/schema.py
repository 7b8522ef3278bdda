# SPDX-License-Identifier: Apache-2.0
"""Checks a document against a JSON schema and says what is wrong as a person would."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema

from .document import Document, KeyPath, shown
from .errors import Problem

_TYPES = {
    'number': 'a number',
    'integer': 'a whole number',
    'string': 'a text',
    'boolean': 'true or false',
    'object': 'a mapping',
    'array': 'a list',
}
_DECIMAL_COMMA = re.compile(r'\s*[-+]?[0-9]+,[0-9]+\s*')
_NUMBER_WITH_UNIT = re.compile(r'\s*[-+]?[0-9.]+\s*[^0-9.,\s]+\s*')
_QUOTED_NUMBER = re.compile(r'\s*[-+]?[0-9.]+([eE][-+]?[0-9]+)?\s*')


@cache
def load_schema(name: str, package: str = 'dbms_pack') -> dict[str, Any]:
    """Return the schema of that name in a package: pack, cell or limits, scenario of dbms_sim."""
    text = files(package).joinpath(f'{name}.schema.json').read_text(encoding='utf-8')
    schema: dict[str, Any] = json.loads(text)
    if name == 'limits':  # a limit set says the same things as the limits of a pack
        schema['$defs'] = load_schema('pack')['$defs']
    return schema


@cache
def _validator(name: str, package: str) -> Any:
    # jsonschema 3 (Ubuntu 22.04) ends at draft 7, which knows every keyword the schemas use.
    draft = getattr(jsonschema, 'Draft202012Validator', jsonschema.Draft7Validator)
    return draft(load_schema(name, package))


def check(document: Document, name: str, package: str = 'dbms_pack') -> tuple[Any, list[Problem]]:
    """Check a document against a schema.

    Returns its data with None in place of every value that is not as the schema says, so that
    further checks can rely on what is left, and all problems.
    """
    problems: dict[KeyPath, Problem] = {}
    wrong: set[KeyPath] = set()
    root = load_schema(name, package)
    for error in _validator(name, package).iter_errors(document.data):
        key: KeyPath = tuple(error.absolute_path)
        if error.validator == 'required':
            found = _missing(document, key, error, root)
        elif error.validator == 'additionalProperties':
            found = _unknown(document, key, error)
        elif 'propertyNames' in error.absolute_schema_path:
            key = (*key, error.instance)
            allowed = describe(error.schema, root)
            found = {key: document.problem(key, shown(error.instance), f'the name: {allowed}')}
        else:
            wrong.add(key)
            allowed = describe(error.schema, root) + _advice(error)
            found = {key: document.problem(key, shown(error.instance), allowed)}
        for where, problem in found.items():
            problems.setdefault(where, problem)
    return _without(document.data, wrong, ()), list(problems.values())


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which of the known names is meant, or which there are."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f'did you mean {near[0]!r}?'
    return f'one of: {", ".join(known)}' if known else 'there is none to name'


def describe(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """Say in words what a schema allows."""
    if '$ref' in schema:
        target = root['$defs'][schema['$ref'].rsplit('/', 1)[1]]
        schema = {**target, **schema}
    text = _TYPES.get(schema.get('type', ''), 'a value')
    if 'minimum' in schema and 'maximum' in schema:
        text += f' from {schema["minimum"]:g} to {schema["maximum"]:g}'
    elif 'exclusiveMinimum' in schema:
        text += f' above {schema["exclusiveMinimum"]:g}, at most {schema["maximum"]:g}'
    elif 'pattern' in schema:
        text += ' of small letters, digits and single underscores that begins with a letter'
    if 'maxLength' in schema:
        text += f', at most {schema["maxLength"]} characters'
    if 'minItems' in schema:
        text += f' of {schema["minItems"]} to {schema["maxItems"]}'
    if schema.get('required'):
        text += f' with {", ".join(schema["required"])}'
    description = schema.get('description')
    return f'{text} ({description})' if description else text


def _missing(
    document: Document, key: KeyPath, error: Any, root: Mapping[str, Any]
) -> dict[KeyPath, Problem]:
    names = [name for name in error.validator_value if name not in error.instance]
    properties = error.schema['properties']
    return {
        (*key, name): document.problem(
            (*key, name), 'missing', f'needs {describe(properties[name], root)}'
        )
        for name in names
    }


def _unknown(document: Document, key: KeyPath, error: Any) -> dict[KeyPath, Problem]:
    known = error.schema['properties']
    return {
        (*key, name): document.problem((*key, name), 'unknown key', nearest(name, known))
        for name in error.instance
        if name not in known
    }


def _advice(error: Any) -> str:
    value = error.instance
    if error.validator != 'type' or error.validator_value not in ('number', 'integer'):
        return ''
    if not isinstance(value, str):
        return ''
    if _DECIMAL_COMMA.fullmatch(value):
        return f': write {value.strip().replace(",", ".")} with a point'
    if _QUOTED_NUMBER.fullmatch(value):
        return f': write {value.strip()} without quotes'
    if _NUMBER_WITH_UNIT.fullmatch(value):
        return ': write the number without its unit'
    return ''


def _without(value: Any, wrong: set[KeyPath], key: KeyPath) -> Any:
    if key in wrong:
        return None
    if isinstance(value, dict):
        return {name: _without(item, wrong, (*key, name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_without(item, wrong, (*key, index)) for index, item in enumerate(value)]
    return value
