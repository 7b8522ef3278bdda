# SPDX-License-Identifier: Apache-2.0
"""What a scenario does to the pack: faults and loads in the simulator, commands to protection."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dbms_sim.feeds import ModelFeed
from dbms_sim.loads import Load, PackView, make_load
from dbms_sim.scenario import COMMANDS, Action, Scenario
from dbms_sim.world import World


@dataclass(frozen=True)
class LaterLoad:
    """A load profile whose time begins when it is put on the pack."""

    load: Load
    start: float  # s, battery time

    def current(self, time: float, pack: PackView) -> float:
        """Return the current at the pack's terminals in A."""
        return self.load.current(time - self.start, pack)


def put_load(world: World, name: str) -> None:
    """Let a load profile begin now."""
    feed = _feed(world)
    feed.set_load(LaterLoad(make_load(name, world.pack), feed.position))


def prepare(world: World, scenario: Scenario) -> None:
    """Give the cells their temperatures at the start."""
    feed = _feed(world)
    plant = feed.plant
    plant.ambient = scenario.ambient
    plant.temperature = np.full(len(plant.temperature), scenario.temperature)


def act(action: Action, sim: Any, node: Any) -> None:
    """Carry out an action."""
    if action.kind in COMMANDS:
        node.command(action.kind, [action.name] if action.name else [])
    elif action.kind == 'load':
        sim.with_world(lambda world: put_load(world, action.name))
    elif action.kind == 'inject':
        sim.with_world(lambda world: world.inject(action.name, action.place, action.parameters))
    else:
        sim.with_world(lambda world: world.clear(action.name, action.place))


def _feed(world: World) -> ModelFeed:
    assert isinstance(world.feed, ModelFeed)  # a scenario plays no recording
    return world.feed
