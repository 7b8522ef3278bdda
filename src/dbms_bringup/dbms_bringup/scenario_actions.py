# SPDX-License-Identifier: Apache-2.0
"""What a scenario does to the pack: faults and loads in the simulator, commands to protection."""

from typing import Any

import numpy as np

from dbms_pack import Pack
from dbms_sim.boards import CellOffset
from dbms_sim.feeds import ModelFeed
from dbms_sim.loads import make_load
from dbms_sim.scenario import COMMANDS, Action, Scenario
from dbms_sim.world import World


def prepare(world: World, scenario: Scenario) -> None:
    """Give the cells their temperatures at the start."""
    feed = _feed(world)
    plant = feed.plant
    plant.ambient = scenario.ambient
    plant.temperature = np.full(len(plant.temperature), scenario.temperature)


def act(action: Action, sim: Any, node: Any, pack: Pack) -> None:
    """Carry out an action."""
    if action.kind in COMMANDS:
        node.command(action.kind, [action.name] if action.name else [])
    elif action.kind == 'load':
        load = make_load(action.name, pack)
        sim.with_world(lambda world: _feed(world).set_load(load))
    else:
        sim.with_world(lambda world: _fault(world, action))


def _feed(world: World) -> ModelFeed:
    assert isinstance(world.feed, ModelFeed)  # a scenario plays no recording
    return world.feed


def _fault(world: World, action: Action) -> None:
    module, _, cell = action.place.partition(':')
    on = action.kind == 'inject'
    if action.name == 'silent':
        world.silence([module] if on else [])
    else:
        volts = float(action.parameters.get('volts', 0.0))
        world.offset_cells([CellOffset(module, int(cell), volts)] if on else [])
