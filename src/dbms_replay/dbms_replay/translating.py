# SPDX-License-Identifier: Apache-2.0
"""From a message of another version to one that is installed: what both have is taken over.

What only the installed one has stays as it is in a new message, numbers as NaN: not measured.
"""

import array
from collections.abc import Callable
from typing import Any

import numpy as np

from .decoding import Refused

NAN = float('nan')
FLOATS = ('float', 'double')


def translator(store: Any, name: str, kind: type) -> Callable[[bytes], Any]:
    """Return what makes messages of class `kind` from bytes that `store` knows as type `name`."""

    def translate(data: bytes) -> Any:
        try:
            message = store.deserialize_cdr(data, name)
        except Exception as error:  # generated code: whatever a wrong length leads to
            raise Refused('messages too short') from error
        return translated(message, kind())

    return translate


def translated(source: Any, target: Any) -> Any:
    """Fill a new message with what another one has of its fields; return it."""
    for field, kind in target.get_fields_and_field_types().items():
        if hasattr(source, field):
            _take(getattr(source, field), target, field)
        elif kind in FLOATS:
            setattr(target, field, NAN)
    return target


def _take(value: Any, target: Any, field: str) -> None:
    present = getattr(target, field)
    try:
        if hasattr(present, 'get_fields_and_field_types'):
            translated(value, present)
        elif isinstance(value, list) and value and hasattr(value[0], '__msgtype__'):
            one = _element(target, field)
            setattr(target, field, [translated(item, one()) for item in value])
        elif isinstance(present, array.array):
            setattr(target, field, array.array(present.typecode, np.asarray(value).tolist()))
        elif isinstance(value, np.ndarray) and not isinstance(present, np.ndarray):
            setattr(target, field, value.tolist())
        else:
            setattr(target, field, value)
    except (AssertionError, TypeError, ValueError, OverflowError, LookupError):
        return  # the field has become something else: as if it was not there


def _element(target: Any, field: str) -> Any:
    """Return the class of what a field of several messages holds."""
    from .record_node import message_type

    kind = target.get_fields_and_field_types()[field]
    package, base = kind.removeprefix('sequence<').split('[')[0].rstrip('>').split('/')
    return message_type(f'{package}/msg/{base.split(",")[0]}')
