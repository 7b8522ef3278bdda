# SPDX-License-Identifier: Apache-2.0
"""The graph of a live replay: a recording instead of the drivers, on the time of /clock."""

import os
from dataclasses import dataclass

from .graph import NodeSpec


@dataclass(frozen=True)
class PlayOptions:
    """What is played, and how."""

    bag: str
    pack: str = ''  # file or name; '': as recorded
    battery: str = ''  # recorded namespace, if there are several in the bag
    rate: float = 1.0
    start: float = 0.0  # s
    loop: bool = False
    paused: bool = False
    time_scale: float = 1.0  # of a recorded simulation


def player(options: PlayOptions) -> NodeSpec:
    """Return the node that only says a recording again."""
    return _play(options, 'play', 'dbms_replay.play_node:PlayNode', {})


def replay_graph(options: PlayOptions, pack: str) -> list[NodeSpec]:
    """Return player, estimation and protection of a pack file; nothing of it is kept."""
    common = {
        'pack': pack, 'use_sim_time': True, 'replay': True, 'time_scale': options.time_scale,
    }  # fmt: skip
    return [
        NodeSpec(
            'dbms_estimation', 'estimation', 'dbms_estimation.estimation_node:EstimationNode',
            'estimation', common,
        ),
        NodeSpec(
            'dbms_protection', 'protection', 'dbms_protection.protection_node:ProtectionNode',
            'protection',
            # A recorded simulation may be faster than time; on /clock it is one all the same.
            {**common, 'autostart': True, 'simulation': options.time_scale != 1.0},
            lifecycle=True,
        ),
        _play(options, 'feed', 'dbms_replay.feed_node:FeedNode', {'pack': pack}),
    ]  # fmt: skip


def _play(options: PlayOptions, executable: str, factory: str, more: dict[str, str]) -> NodeSpec:
    parameters = {
        'bag': os.path.abspath(options.bag), 'battery': options.battery,
        'rate': options.rate, 'start': options.start, 'loop': options.loop,
        'paused': options.paused, **more,
    }  # fmt: skip
    return NodeSpec('dbms_replay', executable, factory, 'play', parameters)
