# SPDX-License-Identifier: Apache-2.0
"""The node graph, described once: the launch files and both runners are made from it.

Pure Python: neither rclpy nor launch is needed to know what runs.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dbms_pack import Pack

HUB_HOST = '127.0.0.1'
HUB_PORT = 29536  # as the hub itself has it


@dataclass(frozen=True)
class NodeSpec:
    """One node: where it is found and what it is told."""

    package: str
    executable: str
    factory: str  # 'module:Class'
    name: str
    parameters: Mapping[str, Any]
    lifecycle: bool = False
    essential: bool = True  # the graph makes no sense without it: for good gone, the rest ends

    @property
    def module(self) -> str:
        """Module that holds the class and a `main(args)`."""
        return self.factory.partition(':')[0]

    @property
    def class_name(self) -> str:
        """Name of the node's class."""
        return self.factory.partition(':')[2]


@dataclass(frozen=True)
class ProgramSpec:
    """A program of the graph that is no node."""

    package: str
    executable: str
    module: str  # holds a `main(args)`
    arguments: tuple[str, ...]

    @property
    def name(self) -> str:
        """What it is called in logs."""
        return self.executable


@dataclass(frozen=True)
class Options:
    """What may differ from run to run. Defaults: the real pack, live."""

    simulate: bool = False  # virtual boards, and all buses redirected to where they are
    bus_interface: str = ''  # '': as the pack file says
    bus_host: str = HUB_HOST
    bus_port: int = 0
    play: str = ''  # recording for the simulator
    load: str = 'rest'
    initial_soc: float = 0.8
    time_scale: float = 1.0
    autostart: bool = True  # protection configures and activates itself, after a respawn too
    use_sim_time: bool = False
    standby: bool = False  # a second guard, in a process of its own
    boards: tuple[str, ...] = ()  # modules whose virtual board runs as a node of its own
    extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # node -> parameters


def graph(pack: Pack, options: Options) -> list[NodeSpec]:
    """Return the nodes in the order to start them; to end them, go backwards.

    Raises ValueError if the options contradict each other or the pack.
    """
    common, bus, scale = _shared(pack, options)
    nodes = [
        NodeSpec(
            'dbms_drivers', 'driver', 'dbms_drivers.can_driver_node:CanDriverNode', 'driver',
            {**common, **bus},
        ),
        NodeSpec(
            'dbms_estimation', 'estimation', 'dbms_estimation.estimation_node:EstimationNode',
            'estimation', {**common, **scale, **_keeping(options)}, essential=False,
        ),
        *_guards({**common, **scale}, options),
    ]  # fmt: skip
    return simulators(pack, options) + [_with_extra(node, options) for node in nodes]


def _guards(shared: Mapping[str, Any], options: Options) -> list[NodeSpec]:
    parameters = {
        **shared,
        'autostart': options.autostart,
        'simulation': options.simulate,
        # On hardware, protection itself refuses a clock that somebody else drives.
        'allow_sim_time': options.simulate,
    }
    pairs = [('protection', {'pair': 'first'}), ('protection_standby', {'pair': 'second'})]
    return [
        NodeSpec(
            'dbms_protection', 'protection', 'dbms_protection.protection_node:ProtectionNode',
            name, {**parameters, **pair}, lifecycle=True,
        )
        for name, pair in (pairs if options.standby else [('protection', {})])
    ]  # fmt: skip


def programs(options: Options) -> list[ProgramSpec]:
    """Return the programs beside the nodes: the CAN hub where processes share a virtual bus."""
    if not (options.simulate and options.bus_interface == 'socketcand'):
        return []
    arguments = ('--host', options.bus_host, '--port', str(options.bus_port))
    return [ProgramSpec('dbms_sim', 'can_hub', 'dbms_sim.socketcand_server', arguments)]


def simulators(pack: Pack, options: Options) -> list[NodeSpec]:
    """Return those nodes of the graph that play the pack; none on hardware."""
    _check(pack, options)
    if not options.simulate:
        return []
    common, bus, scale = _shared(pack, options)
    parameters = {
        **common,
        **bus,
        **scale,
        'load': options.load,
        'initial_soc': float(options.initial_soc),
    }
    if options.play:
        parameters['play'] = os.path.abspath(options.play)
    rest = [module.name for module in pack.modules if module.name not in options.boards]
    told = {**parameters, 'modules': rest} if options.boards else parameters
    nodes = [_simulator('sim', told)]
    for name in options.boards:
        board = {**parameters, 'modules': [name], 'units': False}
        nodes.append(_simulator(f'sim_{name}', board))
    return [_with_extra(node, options) for node in nodes]


def _shared(pack: Pack, options: Options) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the parameters of all nodes, of those on the bus, of those with battery time."""
    bus: dict[str, Any] = {}
    if options.bus_interface:
        bus['bus_interface'] = options.bus_interface
    if options.bus_interface == 'socketcand':
        bus.update(bus_host=options.bus_host, bus_port=options.bus_port)
    common = {'pack': str(pack.path.absolute()), 'use_sim_time': options.use_sim_time}
    return common, bus, {'time_scale': float(options.time_scale)}


def _keeping(options: Options) -> dict[str, Any]:
    """Return where the state of the cells is kept: a simulated pack is another one each time."""
    return {'state_file': 'none'} if options.simulate else {}


def _simulator(name: str, parameters: dict[str, Any]) -> NodeSpec:
    return NodeSpec('dbms_sim', 'sim', 'dbms_sim.sim_node:SimNode', name, parameters)


def _with_extra(node: NodeSpec, options: Options) -> NodeSpec:
    extra = options.extra.get(node.name)
    if not extra:
        return node
    return NodeSpec(
        node.package, node.executable, node.factory, node.name, {**node.parameters, **extra},
        node.lifecycle, node.essential,
    )  # fmt: skip


def _check(pack: Pack, options: Options) -> None:
    if not options.simulate:
        if options.play:
            raise ValueError('a recording is played by the simulator: not on hardware')
        if options.time_scale != 1.0:
            raise ValueError('time runs faster in a simulation only')
        if options.boards:
            raise ValueError('boards of their own process are virtual: not on hardware')
    elif not options.bus_interface:
        # Virtual boards beside real ones would answer for the real pack.
        raise ValueError('a simulation needs buses of its own: set bus_interface')
    names = [module.name for module in pack.modules]
    unknown = [name for name in options.boards if name not in names]
    if unknown:
        raise ValueError(f'pack {pack.name} has no module {", ".join(unknown)}')
    if set(options.boards) == set(names):
        raise ValueError('one module at least stays with the node sim')
    if options.bus_interface == 'socketcand' and not 0 < options.bus_port < 65536:
        raise ValueError(f'bus_port {options.bus_port}: the hub needs a port, 1 to 65535')
