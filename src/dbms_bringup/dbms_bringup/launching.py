# SPDX-License-Identifier: Apache-2.0
"""The node graph as launch actions; used by the launch files, needs launch_ros.

Transitions of the guard: `auto` lets the node take them itself, `launch` drives them by event
handlers, `manual` leaves them to a lifecycle manager.
"""

import os
from collections.abc import Mapping
from typing import Any

from launch.action import Action
from launch.actions import (
    EmitEvent,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessExit, OnProcessStart
from launch.events import matches_action
from launch.launch_context import LaunchContext
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import ExecutableInPackage
from lifecycle_msgs.msg import Transition

from . import security
from .graph import NodeSpec, ProgramSpec

TRANSITIONS = ('auto', 'launch', 'manual')
RETRY = 3.0  # s, until a request that was not followed is made again


def keep_local() -> list[Action]:
    """Keep a battery's commands off the network unless the user has chosen otherwise."""
    if 'ROS_AUTOMATIC_DISCOVERY_RANGE' in os.environ or 'ROS_LOCALHOST_ONLY' in os.environ:
        return []
    if os.environ.get('ROS_DISTRO') == 'humble':  # it knows only the older setting
        return [SetEnvironmentVariable('ROS_LOCALHOST_ONLY', '1')]
    return [SetEnvironmentVariable('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')]


def program_action(
    program: ProgramSpec, *, respawn: bool, respawn_delay: float, essential: bool = True
) -> list[Action]:
    """Return the actions that run a program of the graph that is no node."""
    # No Node: that would add --ros-args, which the program does not know.
    executable = ExecutableInPackage(program.executable, program.package)
    process = ExecuteProcess(
        cmd=[executable, *program.arguments],
        name=program.name,
        output='screen',
        respawn=respawn,
        respawn_delay=respawn_delay,
    )
    return [*_on_exit(process, program.name, essential and not respawn), process]


def node_actions(
    spec: NodeSpec,
    *,
    namespace: str,
    log_level: str,
    respawn: bool,
    respawn_delay: float,
    transitions: str,
) -> list[Action]:
    """Return the actions that run one node, with its transitions and what follows its end."""
    words = ['--log-level', log_level]
    secure = security.wanted(os.environ)
    if secure:
        words += ['--enclave', security.enclave_of(spec.name, namespace)]
    arguments: dict[str, Any] = {
        'package': spec.package,
        'executable': spec.executable,
        'name': spec.name,
        'namespace': namespace,
        'parameters': [_parameters(spec.parameters)],
        'ros_arguments': words,
        'output': 'screen',
        'respawn': respawn,
        'respawn_delay': respawn_delay,
    }
    # A LifecycleNode makes a node in the process of launch itself, which has no enclave.
    driven = spec.lifecycle and (transitions == 'launch' or not secure)
    node = LifecycleNode(**arguments) if driven else Node(**arguments)
    handlers: list[Action] = []
    if spec.lifecycle and transitions == 'launch':
        handlers = Transitions(node).handlers()
    # Handlers first: the process may be up before the next action is looked at.
    return [*handlers, *_on_exit(node, spec.name, spec.essential and not respawn), node]


class Transitions:
    """Configures a node when its process starts, and activates it when it is inactive.

    After a kill -9 the dead process's service is still known for a while. launch_ros then asks
    the dead and waits for ever, so the request is made again until the node has followed.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._started = 0  # processes
        self._waiting = False  # for the newest of them to follow

    def handlers(self) -> list[Action]:
        """Return the event handlers, to be registered before the node is started."""
        start = OnProcessStart(
            target_action=self._node, on_start=[OpaqueFunction(function=self._on_start)]
        )
        inactive = OnStateTransition(
            target_lifecycle_node=self._node,
            start_state='configuring',
            goal_state='inactive',
            entities=[
                OpaqueFunction(function=self._on_configured),
                self._change(Transition.TRANSITION_ACTIVATE),
            ],
        )
        return [RegisterEventHandler(start), RegisterEventHandler(inactive)]

    def _on_start(self, context: LaunchContext) -> list[Action]:
        self._started += 1
        self._waiting = True
        return self._configure(self._started)

    def _on_configured(self, context: LaunchContext) -> None:
        self._waiting = False

    def _configure(self, process: int) -> list[Action]:
        def again(context: LaunchContext) -> list[Action]:
            return self._configure(process)

        if process != self._started or not self._waiting:
            return []
        retry = TimerAction(period=RETRY, actions=[OpaqueFunction(function=again)])
        return [self._change(Transition.TRANSITION_CONFIGURE), retry]

    def _change(self, transition: int) -> EmitEvent:
        return EmitEvent(
            event=ChangeState(
                lifecycle_node_matcher=matches_action(self._node), transition_id=transition
            )
        )


def _on_exit(action: ExecuteProcess, name: str, ends_all: bool) -> list[Action]:
    if ends_all:
        entities: list[Action] = [Shutdown(reason=f'{name} has ended')]
    else:
        entities = [LogInfo(msg=f'{name} has ended')]
    return [RegisterEventHandler(OnProcessExit(target_action=action, on_exit=entities))]


def _parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Type every text: launch would read a pack named 0815 as a number."""
    typed = {}
    for name, value in parameters.items():
        if isinstance(value, str):
            typed[name] = ParameterValue(value, value_type=str)
        elif isinstance(value, list):
            typed[name] = ParameterValue(value, value_type=list[str])
        else:
            typed[name] = value
    return typed
