# SPDX-License-Identifier: Apache-2.0
"""Starts the whole graph of one pack, a process per node.

For example:
    ros2 launch dbms_bringup pack.launch.py pack:=robot_13s simulate:=true
    ros2 launch dbms_bringup pack.launch.py pack:=/etc/battery.yaml namespace:=aft_battery
    ros2 launch dbms_bringup pack.launch.py record:=/var/bags
"""

from pathlib import Path

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from dbms_bringup.graph import HUB_HOST, Options, graph, programs
from dbms_bringup.launching import TRANSITIONS, keep_local, node_actions, program_action
from dbms_bringup.ports import free_port
from dbms_bringup.recording import bag_within, recorder
from dbms_pack import load_pack

BOOLEAN = ['true', 'false']
ARGUMENTS = [
    DeclareLaunchArgument(
        'pack', default_value='robot_13s', description='pack file, or name of a shipped one'
    ),
    DeclareLaunchArgument(
        'namespace', default_value='battery', description='of all topics; one for each pack'
    ),
    DeclareLaunchArgument('use_sim_time', default_value='false', choices=BOOLEAN),
    DeclareLaunchArgument('log_level', default_value='info', description='of all nodes'),
    DeclareLaunchArgument(
        'respawn', default_value='true', choices=BOOLEAN, description='start again what has ended'
    ),
    DeclareLaunchArgument('respawn_delay', default_value='1.0', description='[s]'),
    DeclareLaunchArgument(
        'transitions',
        default_value='auto',
        choices=list(TRANSITIONS),
        description='who configures and activates protection: the node itself, launch, or nobody',
    ),
    DeclareLaunchArgument(
        'simulate',
        default_value='false',
        choices=BOOLEAN,
        description='virtual boards on a CAN hub of our own instead of the buses of the pack',
    ),
    DeclareLaunchArgument(
        'standby', default_value='false', choices=BOOLEAN, description='a second guard stands by'
    ),
    DeclareLaunchArgument(
        'record', default_value='', description='folder in which each start makes a bag of its own'
    ),
    DeclareLaunchArgument('play', default_value='', description='recording (CSV) to simulate'),
    DeclareLaunchArgument('load', default_value='rest', description='load profile to simulate'),
    DeclareLaunchArgument('initial_soc', default_value='0.8', description='of a simulated pack'),
    DeclareLaunchArgument(
        'time_scale', default_value='1.0', description='simulated seconds per second'
    ),
    DeclareLaunchArgument(
        'boards',
        default_value='',
        description='modules, separated by blanks, whose virtual board is a process of its own',
    ),
    DeclareLaunchArgument(
        'bus_interface',
        default_value='',
        description='python-can interface instead of those of the pack file, e.g. socketcand',
    ),
    DeclareLaunchArgument('bus_host', default_value=HUB_HOST, description='where the CAN hub is'),
    DeclareLaunchArgument(
        'bus_port', default_value='0', description='of the CAN hub; 0: a free one is found'
    ),
]


def options(value: dict[str, str]) -> Options:
    """Return what the arguments ask for."""
    simulate = value['simulate'] == 'true'
    return Options(
        simulate=simulate,
        bus_interface='socketcand' if simulate else value['bus_interface'],
        bus_host=value['bus_host'],
        bus_port=int(value['bus_port']) or (free_port(value['bus_host']) if simulate else 0),
        play=value['play'],
        load=value['load'],
        initial_soc=float(value['initial_soc']),
        time_scale=float(value['time_scale']),
        autostart=value['transitions'] == 'auto',
        use_sim_time=value['use_sim_time'] == 'true',
        standby=value['standby'] == 'true',
        boards=tuple(value['boards'].split()),
    )


def start(context: LaunchContext) -> list[Action]:
    """Make the actions, now that the arguments are known."""
    value = {
        argument.name: LaunchConfiguration(argument.name).perform(context)
        for argument in ARGUMENTS
    }
    pack = load_pack(value['pack'])
    chosen = options(value)
    respawn = value['respawn'] == 'true'
    delay = float(value['respawn_delay'])
    where = f'a CAN hub on port {chosen.bus_port}' if chosen.bus_port else 'the buses of the pack'
    actions: list[Action] = [LogInfo(msg=f'pack {pack.name} in /{value["namespace"]} on {where}')]
    if value['record']:
        bag = bag_within(Path(value['record']).expanduser())
        program = recorder(pack, value['namespace'], bag, chosen.time_scale)
        # Not started again, and nothing ends with it: a battery does not need its recorder.
        actions += program_action(program, respawn=False, respawn_delay=0.0, essential=False)
    for program in programs(chosen):
        actions += program_action(program, respawn=respawn, respawn_delay=delay)
    for spec in graph(pack, chosen):
        actions += node_actions(
            spec,
            namespace=value['namespace'],
            log_level=value['log_level'],
            respawn=respawn,
            respawn_delay=delay,
            transitions=value['transitions'],
        )
    return actions


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return LaunchDescription([*keep_local(), *ARGUMENTS, OpaqueFunction(function=start)])
