# SPDX-License-Identifier: Apache-2.0
"""The CAN driver node: boards of a pack in, contactor and bleed commands out."""

import functools
import math
import sys
import threading

import can
from dbms_msgs.msg import BleedCommand, ModuleCells, StringMeasurement
from dbms_msgs.srv import SetContactors
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from dbms_drivers import codec, health
from dbms_drivers.assembler import ModuleAssembler, ModuleScan
from dbms_drivers.bus import CanLink, LinkState
from dbms_drivers.conversions import module_cells, string_measurement
from dbms_drivers.decoder import BusDecoder
from dbms_drivers.keeper import ContactorKeeper
from dbms_drivers.strings import StringTracker
from dbms_node import qos
from dbms_node.clocks import steady_now, steady_timer
from dbms_node.outbox import Outbox
from dbms_node.parameters import declare
from dbms_node.runtime import run_node
from dbms_pack import Pack, load_pack

CHECK_PERIOD = 0.1  # s, between looks whether a report has changed
REPORT_PERIOD = 1.0  # s, between reports without a change
STALL = 0.5  # s without a tick: calls that waited meanwhile may not close contactors


class CanDriverNode(Node):
    """Publishes scans and measurements from the readers' threads, for the shortest way.

    Contactor leases are kept by a thread of their own, see `ContactorKeeper`.
    """

    def __init__(self, **kwargs) -> None:  # type: ignore[no-untyped-def]
        super().__init__('driver', **kwargs)
        pack = self._declare_pack()
        self._links: dict[str, CanLink] = {}
        self._decoders: dict[str, BusDecoder] = {}
        self._lock = threading.Lock()
        self._tick = math.inf  # until the executor runs
        self._stalled_until = -math.inf
        self._told: object = None
        self._told_at = -math.inf
        self._outbox = Outbox('driver reports', self._cannot_tell)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', qos.DIAGNOSTICS)
        self._make_sources(pack)
        self._make_buses(pack)
        self._reporter = health.Reporter(
            self._links,
            self._decoders,
            self._assemblers.values(),
            self._trackers.values(),
            self._keeper.leases,
        )
        steady_timer(self, CHECK_PERIOD, self._on_tick)
        self._keeper.start()
        for link in self._links.values():
            link.start()

    def close(self) -> None:
        """Open the contactors, then end the readers."""
        self._keeper.close()
        self._outbox.close()
        for link in self._links.values():
            link.close()

    def _cannot_tell(self, error: str) -> None:
        self.get_logger().error(f'a report was lost: {error}', throttle_duration_sec=1.0)

    def _declare_pack(self) -> Pack:
        path = declare(self, 'pack', '', 'Path of a pack file, or name of a shipped one')
        interface = declare(
            self, 'bus_interface', '',
            'python-can interface to use instead of those of the pack file: '
            'virtual or socketcand; empty: as the pack file says',
        )  # fmt: skip
        host = declare(self, 'bus_host', '127.0.0.1', 'Host of the socketcand server')
        port = declare(
            self, 'bus_port', 0, 'TCP port of the socketcand server', minimum=0, maximum=65535
        )
        wanted = declare(
            self, 'buses', [''], 'Buses of the pack to drive from here; empty: all of them'
        )
        pack = load_pack(path)
        if interface == 'socketcand':
            pack = pack.redirected('socketcand', host=host, port=port, tcp_tune=True)
        elif interface:
            pack = pack.redirected(interface)
        names = [name for name in wanted if name]
        unknown = set(names) - set(pack.buses)
        if unknown:
            raise ValueError(
                f'parameter buses: {sorted(unknown)} are not in {sorted(pack.buses)} of the pack'
            )
        self._buses = names or list(pack.buses)
        return pack

    def _make_sources(self, pack: Pack) -> None:
        modules = [module for module in pack.modules if module.bus in self._buses]
        self._assemblers = {module.name: ModuleAssembler(module) for module in modules}
        self._cells = {
            module.name: self.create_publisher(
                ModuleCells, f'modules/{module.name}/cells', qos.MEASUREMENT
            )
            for module in modules
        }
        self._bleed_counters = dict.fromkeys(self._assemblers, 0)
        for module in modules:
            self.create_subscription(
                BleedCommand,
                f'modules/{module.name}/bleed',
                functools.partial(self._on_bleed, self._assemblers[module.name]),
                qos.COMMAND,
            )
        # A string is measured by the node that has its current sensor.
        strings = [s for s in pack.strings if s.current_sensor.bus in self._buses]
        self._trackers = {string.name: StringTracker(string) for string in strings}
        self._sequences = dict.fromkeys(self._trackers, 0)
        self._measurements = {
            string.name: self.create_publisher(
                StringMeasurement, f'strings/{string.name}/measurement', qos.MEASUREMENT
            )
            for string in strings
        }
        units = [string for string in pack.strings if string.contactors.bus in self._buses]
        self._keeper = ContactorKeeper(units, self._send)
        for string in units:
            self.create_service(
                SetContactors,
                f'contactors/{string.name}/set',
                functools.partial(self._on_set, string.name),
            )

    def _make_buses(self, pack: Pack) -> None:
        for name in self._buses:
            decoder = BusDecoder(name, self._assemblers.values(), self._trackers.values())
            self._decoders[name] = decoder
            self._links[name] = CanLink(
                pack.buses[name],
                functools.partial(self._on_frame, decoder),
                self._on_link,
                self.get_logger().warning,
            )

    # In the readers' threads.

    def _on_frame(self, decoder: BusDecoder, message: can.Message, now: float) -> None:
        output = decoder.feed_message(message, now)
        if output is None:
            return
        stamp = self.get_clock().now().to_msg()
        if isinstance(output, ModuleScan):
            self._cells[output.module].publish(module_cells(output, stamp))
            return
        name = output.string.name
        with self._lock:  # sensor and contactor unit may be on two buses
            self._sequences[name] = sequence = (self._sequences[name] + 1) & 0xFFFFFFFF
            values = output.compose(now)
            self._measurements[name].publish(string_measurement(values, sequence, stamp))

    def _on_link(self, link: CanLink) -> None:
        if link.state is LinkState.UP:
            self.get_logger().info(f'bus {link.bus.name} is up: {link.bus.interface}')
            self._keeper.resend(link.bus.name)

    def _send(self, bus: str, can_id: int, data: bytes) -> bool:
        return self._links[bus].send(can_id, data)

    # In the executor.

    def _on_set(
        self, name: str, request: SetContactors.Request, response: SetContactors.Response
    ) -> SetContactors.Response:
        contacts = (request.minus, request.precharge, request.plus)
        now = steady_now()
        stalled = now - self._tick > STALL or now < self._stalled_until
        if stalled and any(contacts):  # who asked for this may not be alive any more
            response.accepted = False
            response.message = 'the driver stood still: the call may be old'
            return response
        response.accepted, response.message = self._keeper.ask(
            name, contacts, request.lease, request.sequence, request.guard, request.term
        )
        office = self._keeper.leases[name].office
        response.holder, response.highest_term = office.guard, office.term
        response.deposed = office.deposed(request.guard, request.term)
        return response

    def _on_bleed(self, assembler: ModuleAssembler, command: BleedCommand) -> None:
        module = assembler.module
        if not command.lease >= 0.0 or command.cells >> module.cells:  # NaN too
            self.get_logger().warning(
                f'bleed command refused: module {module.name} has {module.cells} cells, '
                f'asked were bits {command.cells:#x} for {command.lease} s',
                throttle_duration_sec=5.0,
            )
            return
        counter = self._bleed_counters[module.name]
        self._bleed_counters[module.name] = (counter + 1) & 0xF
        self._send(
            module.bus,
            *codec.encode_bleed_command(module.address, counter, command.cells, command.lease),
        )

    def _on_tick(self) -> None:
        now = steady_now()
        if now - self._tick > STALL:
            self._stalled_until = now + 0.05  # calls that waited are still to come
        self._tick = now
        # In a thread of its own: a call that opens contactors shall not wait for a report.
        self._outbox.put(self._report)

    def _report(self) -> None:
        now = steady_now()
        reports = self._reporter.reports(now)
        told = health.signature(reports)
        if told != self._told or now - self._told_at >= REPORT_PERIOD:
            self._told, self._told_at = told, now
            self._publish_reports(reports)

    def _publish_reports(self, reports: list[health.Report]) -> None:
        node_name = self.get_fully_qualified_name()  # there may be a driver for each of many packs
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status = [
            DiagnosticStatus(
                level=bytes([report.level]),
                name=f'{node_name}: {report.name}',
                message=report.text,
                hardware_id=report.hardware_id,
                values=[
                    KeyValue(key=key, value=str(value)) for key, value in report.values().items()
                ],
            )
            for report in reports
        ]
        self._diagnostics.publish(message)


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(CanDriverNode, args)


if __name__ == '__main__':
    sys.exit(main())
