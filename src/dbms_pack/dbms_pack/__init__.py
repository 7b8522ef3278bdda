# SPDX-License-Identifier: Apache-2.0
"""The pack as its owner describes it: topology, cell models, limits, units."""

from .errors import PackError
from .limits import Level, Limit, Limits, LossRule, Trigger
from .loader import load_cell, load_pack
from .model import (
    Bus,
    CellModel,
    ContactorUnit,
    CurrentSensor,
    Module,
    Pack,
    Precharge,
    String,
)

__all__ = [
    'Bus',
    'CellModel',
    'ContactorUnit',
    'CurrentSensor',
    'Level',
    'Limit',
    'Limits',
    'LossRule',
    'Module',
    'Pack',
    'PackError',
    'Precharge',
    'String',
    'Trigger',
    'load_cell',
    'load_pack',
]
