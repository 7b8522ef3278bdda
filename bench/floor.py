# SPDX-License-Identifier: Apache-2.0
"""The bare transport floor: CAN in, one DDS hop, a service call, CAN out, and no logic at all.

Two nodes with the messages, QoS, executor and bus of the real ones. The first publishes a message
per scan and per current frame without checking anything; the second calls the service when the
scan is marked.
"""

import argparse
import array
import sys
import threading

import can
from dbms_msgs.msg import ModuleCells, StringMeasurement
from dbms_msgs.srv import SetContactors
from rclpy.client import Client
from rclpy.node import Node

from bench.traffic import MARK, STATUS
from dbms_node.qos import MEASUREMENT
from dbms_node.runtime import run_node
from dbms_pack import Pack, load_pack


class FloorDriver(Node):
    """A frame comes in, a message goes out; a call comes in, a frame goes out."""

    def __init__(self, pack: Pack, bus: can.BusABC) -> None:
        super().__init__('floor_driver')
        self._bus = bus
        self._modules = {
            0x400 + 16 * module.address + STATUS: (
                self.create_publisher(ModuleCells, f'modules/{module.name}/cells', MEASUREMENT),
                array.array('f', [0.0]) * module.cells,
                array.array('f', [0.0]) * module.temperatures,
            )
            for module in pack.modules
        }
        self._strings = {
            0x60 + string.current_sensor.address: self.create_publisher(
                StringMeasurement, f'strings/{string.name}/measurement', MEASUREMENT
            )
            for string in pack.strings
        }
        for string in pack.strings:
            self.create_service(
                SetContactors,
                f'contactors/{string.name}/set',
                lambda request, response, s=string: self._set(s.contactors.address, response),
            )
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._stop.is_set():
            frame = self._bus.recv(0.1)
            if frame is None:
                continue
            if frame.arbitration_id in self._modules:
                publisher, voltages, temperatures = self._modules[frame.arbitration_id]
                message = ModuleCells(voltages=voltages, temperatures=temperatures)
                message.header.stamp = self.get_clock().now().to_msg()
                message.status = frame.data[5]
                publisher.publish(message)
            elif frame.arbitration_id in self._strings:
                self._strings[frame.arbitration_id].publish(StringMeasurement())

    def _set(self, address: int, response: SetContactors.Response) -> SetContactors.Response:
        data = bytes([0, 0, 0b010101, 0, 0, 0, 0, 0])
        self._bus.send(can.Message(arbitration_id=0x20 + address, data=data, is_extended_id=False))
        response.accepted = True
        return response

    def close(self) -> None:
        self._stop.set()
        self._reader.join(1.0)
        self._bus.shutdown()


class FloorGuard(Node):
    """A marked message comes in, a call goes out."""

    def __init__(self, pack: Pack) -> None:
        super().__init__('floor_guard')
        for string in pack.strings:
            client = self.create_client(SetContactors, f'contactors/{string.name}/set')
            self.create_subscription(
                StringMeasurement, f'strings/{string.name}/measurement', _ignore, MEASUREMENT
            )
            for module in string.modules:
                self.create_subscription(
                    ModuleCells,
                    f'modules/{module.name}/cells',
                    lambda message, client=client: _trip(message, client),
                    MEASUREMENT,
                )


def _ignore(_message: StringMeasurement) -> None:
    pass


def _trip(message: ModuleCells, client: Client) -> None:
    if message.status & MARK:
        client.call_async(SetContactors.Request())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('role', choices=['driver', 'guard'])
    parser.add_argument('pack')
    parser.add_argument('port', type=int)
    arguments, rest = parser.parse_known_args()
    pack = load_pack(arguments.pack)
    if arguments.role == 'guard':
        return run_node(lambda: FloorGuard(pack), rest)
    bus = can.Bus(
        interface='socketcand',
        channel='floor',
        host='127.0.0.1',
        port=arguments.port,
        tcp_tune=True,
    )
    return run_node(lambda: FloorDriver(pack, bus), rest)


if __name__ == '__main__':
    sys.exit(main())
