# SPDX-License-Identifier: Apache-2.0
"""Feeds a recording to the estimation and the protection of today, on the time of /clock.

For example:
    ros2 launch dbms_bringup replay.launch.py bag:=drive
    ros2 launch dbms_bringup replay.launch.py bag:=drive.mcap pack:=changed.yaml rate:=2 loop:=true
    ros2 param set /replay/play paused true
"""

from pathlib import Path

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from dbms_bringup.launching import keep_local, node_actions
from dbms_bringup.replaying import PlayOptions, replay_graph
from dbms_replay.bags import Bag
from dbms_replay.replay import Replay

BOOLEAN = ['true', 'false']
ARGUMENTS = [
    DeclareLaunchArgument('bag', description='directory of a bag, or an .mcap file'),
    DeclareLaunchArgument(
        'pack', default_value='', description='pack file or name; empty: as recorded'
    ),
    DeclareLaunchArgument(
        'battery', default_value='', description='recorded namespace, if there are several'
    ),
    # Not that of a real battery: two protections would answer to one name.
    DeclareLaunchArgument('namespace', default_value='replay', description='of all topics'),
    DeclareLaunchArgument('rate', default_value='1.0', description='times as fast, up to 5'),
    DeclareLaunchArgument('start', default_value='0.0', description='where to begin [s]'),
    DeclareLaunchArgument('loop', default_value='false', choices=BOOLEAN),
    DeclareLaunchArgument(
        'paused', default_value='false', choices=BOOLEAN, description='hold at the beginning'
    ),
    DeclareLaunchArgument('log_level', default_value='info', description='of all nodes'),
]


def start(context: LaunchContext) -> list[Action]:
    """Make the actions, now that the arguments are known."""
    value = {
        argument.name: LaunchConfiguration(argument.name).perform(context)
        for argument in ARGUMENTS
    }
    replay = Replay(Bag(Path(value['bag'])), value['pack'] or None, value['battery'] or None)
    options = PlayOptions(
        bag=value['bag'],
        battery=value['battery'],
        rate=float(value['rate']),
        start=float(value['start']),
        loop=value['loop'] == 'true',
        paused=value['paused'] == 'true',
        time_scale=replay.time_scale,
    )
    where = f'/{value["namespace"].strip("/")}'
    actions: list[Action] = [LogInfo(msg=f'{value["bag"]}: pack {replay.pack.name} in {where}')]
    for spec in replay_graph(options, str(replay.pack.path.absolute())):
        actions += node_actions(
            spec,
            namespace=value['namespace'],
            log_level=value['log_level'],
            respawn=False,  # the end of the bag is the end of all
            respawn_delay=0.0,
            transitions='auto',
        )
    return actions


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return LaunchDescription([*keep_local(), *ARGUMENTS, OpaqueFunction(function=start)])
