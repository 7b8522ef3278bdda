# SPDX-License-Identifier: Apache-2.0
"""The simulator as a node: puts virtual units on the buses of a pack. See docs/simulation.md."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from dbms_msgs.msg import Limits
from dbms_msgs.srv import InjectFault
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from dbms_node.clocks import steady_now, steady_timer
from dbms_node.parameters import declare
from dbms_node.qos import DIAGNOSTICS, STATE
from dbms_node.runtime import run_node
from dbms_pack import load_cell, load_pack
from dbms_pack.model import Pack
from dbms_sim.boards import CellOffset
from dbms_sim.bus_port import BusPort
from dbms_sim.current_sensor import SensorQuality
from dbms_sim.faults import FaultError, parse_parameters
from dbms_sim.feeds import Feed, ModelFeed, RecordingFeed
from dbms_sim.loads import NAMES, Allowed, make_load
from dbms_sim.playback import read_recording
from dbms_sim.wire import Frame
from dbms_sim.world import Event, World

TICK = 0.01  # s
T = TypeVar('T')


class SimNode(Node):
    """Node `sim`: boards, contactor units and current sensors of a pack that is not there."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('sim', **kwargs)
        pack = self._declare_pack()
        self._world = self._make_world(pack)
        self._lock = threading.Lock()  # of the world: bus threads, the ticking one, the executor
        self._declare_faults()
        self._service = self.create_service(InjectFault, '~/inject_fault', self._on_fault)
        if self._world.units:
            self._limits = self.create_subscription(Limits, 'limits', self._on_limits, STATE)
        self._told = 0
        self._ports = {
            name: BusPort(pack.buses[name], self._receive, self.get_logger().info)
            for name in pack.buses
        }
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', DIAGNOSTICS)
        self._timer = steady_timer(self, 1.0, self._diagnose)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name='sim', daemon=True)
        for port in self._ports.values():
            port.start()
        self._thread.start()

    @property
    def position(self) -> float:
        """Battery time in s: since the start, or the time of the recording."""
        return self._world.feed.position

    @property
    def events(self) -> list[Event]:
        """What happened, oldest first, as (battery time in s, text); at most the last 1000."""
        with self._lock:
            return list(self._world.events)

    def with_world(self, work: Callable[[World], T]) -> T:
        """Let `work` read or change the world while it stands still; from any thread."""
        with self._lock:
            return work(self._world)

    def close(self) -> None:
        """End the threads and leave the buses."""
        self._stop.set()
        self._thread.join()
        for port in self._ports.values():
            port.close()

    def _declare_pack(self) -> Pack:
        pack = load_pack(declare(self, 'pack', 'robot_13s', 'pack file, or name of a shipped one'))
        interface = declare(
            self, 'bus_interface', '', "python-can interface for all buses; '': as the pack says"
        )
        host = declare(self, 'bus_host', '127.0.0.1', 'host of the socketcand server')
        port = declare(
            self, 'bus_port', 0, 'port of the socketcand server', minimum=0, maximum=65535
        )
        if interface == 'socketcand':
            return pack.redirected('socketcand', host=host, port=port, tcp_tune=True)
        return pack.redirected(interface) if interface else pack

    def _make_world(self, pack: Pack) -> World:
        time_scale = declare(
            self, 'time_scale', 1.0, 's of battery time per s', minimum=0.001, maximum=10_000.0
        )
        play = declare(self, 'play', '', "recording (CSV) to play; '': cell model under `load`")
        load = declare(self, 'load', 'rest', f'load profile: {NAMES}')
        soc = declare(
            self, 'initial_soc', 0.8, 'SOC of the cells at the start', minimum=0.0, maximum=1.0
        )
        seed = declare(
            self, 'seed', 0, 'of the spread between cells', minimum=0, maximum=2**31 - 1
        )
        cell = declare(self, 'cell', '', "cell file of the simulated cells; '': as the pack says")
        modules = declare(self, 'modules', [''], "boards played here; none or [''] means all")
        units = declare(self, 'units', True, 'play contactor units and current sensors too')
        feed: Feed
        if play:
            recording = read_recording(Path(play), pack)
            for note in recording.notes:
                self.get_logger().warning(f'{play}: {note}')
            feed = RecordingFeed(recording, pack)
        else:
            true_cell = load_cell(cell) if cell else None
            feed = ModelFeed(pack, make_load(load, pack), soc, seed, true_cell)
        names = _names(modules)
        known = {module.name for module in pack.modules}
        if unknown := sorted(set(names) - known):
            raise ValueError(f'modules: pack {pack.name} has no {", ".join(unknown)}')
        return World(
            pack,
            feed,
            modules=names or None,
            units=units,
            time_scale=time_scale,
            seed=seed,
            current_sensors=self._declare_sensors(),
        )

    def _declare_sensors(self) -> SensorQuality:
        """Take how well the current sensors measure."""
        return SensorQuality(
            declare(self, 'current_offset', 0.0, 'A, of the current sensors'),
            declare(self, 'current_gain', 1.0, 'of the current sensors'),
            declare(self, 'current_noise', 0.0, 'A, of the current sensors', minimum=0.0),
            declare(self, 'current_range', 0.0, 'A; 0: as the pack file says', minimum=0.0)
            or None,
        )

    def _declare_faults(self) -> None:
        setters: dict[str, Callable[[Any], None]] = {
            'silent_modules': self._silence,
            'cell_offset': self._offset,
            'obey_limits': self._obey,
        }
        declare(self, 'obey_limits', False, 'the load keeps to `limits`', read_only=False)
        declare(self, 'silent_modules', [''], 'boards whose plug is pulled', read_only=False)
        declare(
            self,
            'cell_offset',
            [''],
            "cells measured wrongly, as MODULE:CELL:VOLTS, e.g. 'm1:3:+0.5' or 'm1:3:nan'",
            read_only=False,
        )
        for name, setter in setters.items():
            setter(self.get_parameter(name).value)

        def on_set(parameters: list[Parameter]) -> SetParametersResult:
            for parameter in parameters:
                setter = setters.get(parameter.name)
                if setter is None:
                    continue
                try:
                    setter(parameter.value)
                except ValueError as error:
                    return SetParametersResult(successful=False, reason=str(error))
            return SetParametersResult(successful=True)

        self.add_on_set_parameters_callback(on_set)

    def _silence(self, names: list[str] | None) -> None:
        with self._lock:
            try:
                self._world.silence(_names(names))
            except KeyError as error:
                raise ValueError(f'silent_modules: {error.args[0]} is not played here') from None

    def _offset(self, texts: list[str] | None) -> None:
        offsets = [CellOffset.parse(text) for text in _names(texts)]
        with self._lock:
            try:
                self._world.offset_cells(offsets)
            except KeyError as error:
                raise ValueError(f'cell_offset: {error.args[0]} is not played here') from None

    def _on_limits(self, limits: Limits) -> None:
        with self._lock:
            if isinstance(self._world.feed, ModelFeed):
                allowed = Allowed(
                    limits.charge_current,
                    limits.discharge_current,
                    limits.charge_voltage,
                    limits.discharge_voltage,
                )
                self._world.feed.hear_limits(allowed, limits.valid_for)

    def _obey(self, obey: bool) -> None:
        with self._lock:
            if isinstance(self._world.feed, ModelFeed):
                self._world.feed.obey = obey

    def _on_fault(
        self, request: InjectFault.Request, response: InjectFault.Response
    ) -> InjectFault.Response:
        with self._lock:
            world = self._world
            try:
                if request.clear:
                    done = ', '.join(str(one) for one in world.clear(request.name, request.place))
                    response.message = f'cleared: {done or "nothing"}'
                else:
                    values = parse_parameters(request.parameters)
                    fault = world.inject(request.name, request.place, values, steady_now())
                    response.message = str(fault)
                response.success = True
            except FaultError as error:
                response.message = str(error)
            response.active = [str(fault) for fault in world.faults]
        return response

    def _receive(self, frame: Frame) -> None:
        with self._lock:
            self._world.receive(frame, steady_now())

    def _run(self) -> None:
        deadline = steady_now()
        while not self._stop.is_set():
            try:
                with self._lock:
                    frames = self._world.step(steady_now())
                self._send(frames)
            except Exception as error:  # a simulator that stops in silence would look like a pack
                self.get_logger().fatal(f'simulation stopped: {error!r}')
                raise
            self._log_events()
            deadline = max(deadline + TICK, steady_now() - TICK)
            self._stop.wait(max(0.0, deadline - steady_now()))

    def _send(self, frames: list[Frame]) -> None:
        for name, port in self._ports.items():
            port.send(frame for frame in frames if frame.bus == name)

    def _log_events(self) -> None:
        with self._lock:
            count, self._told = self._world.told - self._told, self._world.told
            news = list(self._world.events)[-count:] if count else []
        for event in news:
            self.get_logger().info(f't={event.position:.1f} s: {event.text}')

    def _diagnose(self) -> None:
        with self._lock:
            world = self._world
            values = {
                'position': f'{world.feed.position:.2f}',
                'time_scale': f'{world.time_scale:g}',
                **world.feed.describe(),
                **{f'contactors {name}': text for name, text in world.contactors().items()},
                'silent_modules': ' '.join(n for n, b in world.boards.items() if b.silent),
                'faults': ', '.join(str(fault) for fault in world.faults),
                'refused': str(world.refused),
            }
        for name, port in self._ports.items():
            values[f'bus {name}'] = (
                f'{"up" if port.up else "down"}, {port.sent} sent, {port.unsent} not sent'
            )
        down = [name for name, port in self._ports.items() if not port.up]
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if down else DiagnosticStatus.OK,
            name=f'{self.get_fully_qualified_name()}: simulation',
            hardware_id=f'{world.pack.name} (simulated)',
            message=f'bus {", ".join(down)} is down' if down else 'running',
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def _names(values: list[str] | None) -> list[str]:
    """Leave out empty texts: a ROS 2 parameter file cannot say an empty list of strings."""
    return [value for value in values or [] if value]


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM."""
    return run_node(SimNode, args)


if __name__ == '__main__':
    raise SystemExit(main())
