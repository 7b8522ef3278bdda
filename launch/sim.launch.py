# SPDX-License-Identifier: Apache-2.0
"""Starts a pack that is not there: a CAN hub and virtual boards on it, for a graph started apart.

For example:
    ros2 launch dbms_bringup sim.launch.py load:=robot
    ros2 launch dbms_bringup pack.launch.py bus_interface:=socketcand bus_port:=29536
"""

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from dbms_bringup.graph import HUB_HOST, HUB_PORT, Options, programs, simulators
from dbms_bringup.launching import keep_local, node_actions, program_action
from dbms_pack import load_pack

ARGUMENTS = [
    DeclareLaunchArgument(
        'pack', default_value='robot_13s', description='pack file, or name of a shipped one'
    ),
    DeclareLaunchArgument(
        'namespace', default_value='battery', description='the one of the graph that is to use it'
    ),
    DeclareLaunchArgument('log_level', default_value='info', description='of all nodes'),
    DeclareLaunchArgument('play', default_value='', description='recording (CSV) to simulate'),
    DeclareLaunchArgument('load', default_value='rest', description='load profile to simulate'),
    DeclareLaunchArgument('initial_soc', default_value='0.8', description='of the cells'),
    DeclareLaunchArgument(
        'boards',
        default_value='',
        description='modules, separated by blanks, whose virtual board is a process of its own',
    ),
    DeclareLaunchArgument(
        'bus_host', default_value=HUB_HOST, description='where the CAN hub listens'
    ),
    DeclareLaunchArgument(
        'bus_port', default_value=str(HUB_PORT), description='where the CAN hub listens'
    ),
]


def start(context: LaunchContext) -> list[Action]:
    """Make the actions, now that the arguments are known."""
    value = {
        argument.name: LaunchConfiguration(argument.name).perform(context)
        for argument in ARGUMENTS
    }
    # Live only: a graph of another launch file would not know of another pace of time.
    options = Options(
        simulate=True,
        bus_interface='socketcand',
        bus_host=value['bus_host'],
        bus_port=int(value['bus_port']),
        play=value['play'],
        load=value['load'],
        initial_soc=float(value['initial_soc']),
        boards=tuple(value['boards'].split()),
    )
    actions: list[Action] = []
    for program in programs(options):
        actions += program_action(program, respawn=True, respawn_delay=1.0)
    for spec in simulators(load_pack(value['pack']), options):
        actions += node_actions(
            spec,
            namespace=value['namespace'],
            log_level=value['log_level'],
            respawn=True,
            respawn_delay=1.0,
            transitions='manual',
        )
    return actions


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return LaunchDescription([*keep_local(), *ARGUMENTS, OpaqueFunction(function=start)])
