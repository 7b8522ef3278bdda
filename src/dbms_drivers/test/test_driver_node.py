# SPDX-License-Identifier: Apache-2.0
"""The node over DDS, on a virtual bus: frames in, topics out; service in, frames out."""

import math
import queue
import time

import can
import numpy as np
import pytest
import rclpy
import yaml
from boards import Board, decode, encode
from dbms_msgs.msg import BleedCommand, ModuleCells, StringMeasurement
from dbms_msgs.srv import SetContactors
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from socketcand_server import WAIT, Server

from dbms_drivers.can_driver_node import CanDriverNode
from dbms_node import middleware, qos
from dbms_pack import load_pack
from dbms_pack.paths import find


@pytest.fixture(scope='module')
def context():
    middleware.init()
    yield
    rclpy.shutdown()


@pytest.fixture
def rig(context, tmp_path):
    one = Rig(tmp_path)
    yield one
    one.close()


class Rig:
    """The driver of the shipped robot pack in its executor, a client, and boards on its bus."""

    count = 0

    def __init__(self, tmp_path):
        Rig.count += 1
        description = yaml.safe_load(find('packs', 'robot_13s').read_text())
        description['name'] = f'rig_{Rig.count}'  # a virtual bus of its own
        file = tmp_path / 'pack.yaml'
        file.write_text(yaml.safe_dump(description))
        self.pack = load_pack(file)
        self.string = self.pack.strings[0]
        self.module = self.string.modules[0]
        self.driver = CanDriverNode(
            namespace='battery',
            parameter_overrides=[
                Parameter('pack', value=str(file)),
                Parameter('bus_interface', value='virtual'),
            ],
        )
        self.client = rclpy.create_node('client', namespace='battery')
        self.got = {ModuleCells: [], StringMeasurement: [], DiagnosticArray: []}
        self.subscribe(ModuleCells, f'modules/{self.module.name}/cells', qos.MEASUREMENT)
        self.subscribe(
            StringMeasurement, f'strings/{self.string.name}/measurement', qos.MEASUREMENT
        )
        self.subscribe(DiagnosticArray, '/diagnostics', qos.DIAGNOSTICS)
        self.service = self.client.create_client(
            SetContactors, f'contactors/{self.string.name}/set'
        )
        channel = self.pack.redirected('virtual').buses[self.module.bus].channel
        self.bus = can.Bus(interface='virtual', channel=channel)
        self.frames = []
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.driver)
        self.executor.add_node(self.client)
        self.board = Board(self.module)
        self.step = 0
        self.until(self.service.service_is_ready)

    def subscribe(self, kind, topic, profile):
        self.client.create_subscription(kind, topic, self.got[kind].append, profile)

    def until(self, condition, act=lambda: None):
        """Spin until `condition()`, calling `act` and reading the bus between."""
        deadline = time.monotonic() + WAIT
        while not (result := condition()):
            assert time.monotonic() < deadline
            act()
            self.executor.spin_once(timeout_sec=0.02)
            while (message := self.bus.recv(0)) is not None:
                self.frames.append(decode((message.arbitration_id, bytes(message.data))))
        return result

    def send(self, frames):
        for can_id, data in frames:
            self.bus.send(can.Message(arbitration_id=can_id, data=data, is_extended_id=False))

    def scan(self):
        self.send(self.board.scan([3.0 + 0.1 * i for i in range(self.module.cells)]))

    def current(self, value=-12.5):
        self.step += 1
        address = self.string.current_sensor.address
        self.send([encode('StringCurrent', address, self.step, Current=value)])

    def ask(self, **values):
        future = self.service.call_async(SetContactors.Request(**values))
        self.until(future.done)
        return future.result()

    def commands(self):
        return [values for name, _, values in self.frames if name == 'ContactorCommand']

    def status(self, name):
        for message in reversed(self.got[DiagnosticArray]):
            for status in message.status:
                if status.name == name:
                    return status
        return None

    def close(self):
        self.driver.close()
        self.driver.destroy_node()
        self.client.destroy_node()
        self.executor.shutdown()
        self.bus.shutdown()


def test_scan_on_the_bus_becomes_a_message(rig):
    message = rig.until(lambda: rig.got[ModuleCells] and rig.got[ModuleCells][-1], rig.scan)
    expected = [3.0 + 0.1 * i for i in range(rig.module.cells)]
    np.testing.assert_allclose(message.voltages, expected, atol=1e-5)
    np.testing.assert_allclose(message.temperatures, [25.0] * rig.module.temperatures, atol=1e-4)
    assert message.header.frame_id == rig.module.name
    assert message.header.stamp.sec > 0
    assert message.serial == 0x1234


def test_current_on_the_bus_becomes_a_measurement(rig):
    got = rig.got[StringMeasurement]
    message = rig.until(lambda: got and got[-1], rig.current)
    assert message.current == pytest.approx(-12.5)
    assert message.current_age == 0.0
    assert math.isnan(message.string_voltage) and math.isnan(message.lease_remaining)
    assert message.minus == StringMeasurement.CONTACTOR_UNKNOWN


def test_contactors_close_on_the_bus_and_open_when_the_lease_runs_out(rig):
    rig.until(rig.commands)
    assert rig.commands()[0]['Plus'] == 1  # the driver begins with everything open
    lease = rig.string.contactors.lease
    assert rig.ask(minus=True, lease=lease, sequence=1).accepted
    closed = rig.until(lambda: [c for c in rig.commands() if c['Minus'] == 2])[0]
    assert (closed['Precharge'], closed['Plus'], closed['Sequence']) == (1, 1, 1)
    assert lease - 0.05 < closed['Lease'] / 1000 <= lease
    rig.until(lambda: rig.commands()[-1]['Minus'] == 1)
    old = rig.ask(minus=True, plus=True, lease=lease, sequence=2)
    assert not old.accepted and 'at once' in old.message
    assert sum(c['Minus'] == 2 for c in rig.commands()) >= 3


def test_call_without_a_valid_lease_is_refused(rig):
    for lease in (math.nan, -1.0, 0.0, 100.0):
        answer = rig.ask(minus=True, lease=lease, sequence=1)
        assert not answer.accepted and 'lease' in answer.message
    assert rig.ask(lease=math.nan).accepted  # opening
    assert all(command['Minus'] == 1 for command in rig.commands())


def test_closing_the_node_opens_the_contactors(rig):
    lease = rig.string.contactors.lease
    assert rig.ask(minus=True, lease=lease, sequence=1).accepted
    rig.driver.close()
    rig.until(lambda: rig.commands() and rig.commands()[-1]['Minus'] == 1)


def test_bleed_command_goes_to_its_board(rig):
    publisher = rig.client.create_publisher(
        BleedCommand, f'modules/{rig.module.name}/bleed', qos.COMMAND
    )
    rig.until(lambda: publisher.get_subscription_count() == 1)

    def bleeds():
        return [frame for frame in rig.frames if frame[0] == 'ModuleBleedCommand']

    for bad in ({'lease': math.nan}, {'lease': -1.0}, {'cells': 1 << rig.module.cells}):
        publisher.publish(BleedCommand(**({'cells': 1, 'lease': 1.0} | bad)))
    publisher.publish(BleedCommand(cells=5, lease=2.5))
    _, address, values = rig.until(bleeds)[-1]
    assert address == rig.module.address
    assert (values['Cells'], values['Lease']) == (5, pytest.approx(2.5))
    assert len(bleeds()) == 1


def test_diagnostics_name_the_silent_module_and_count_what_was_wrong(rig):
    def act():
        rig.scan()
        can_id, data = encode('ModuleStatus', rig.module.address, 0)
        rig.send([(can_id, bytes([data[0] ^ 0xFF]) + data[1:])])

    name = f'/battery/driver: module {rig.module.name}'
    other = f'/battery/driver: module {rig.string.modules[1].name}'
    bus = f'/battery/driver: bus {rig.module.bus}'

    def counted():
        status = rig.status(name)
        counts = {v.key: v.value for v in status.values} if status else {}
        return int(counts.get('crc', 0)) > 2 and int(counts.get('scans', 0)) > 2

    rig.until(counted, act)
    assert rig.status(name).level == DiagnosticStatus.WARN
    assert rig.status(name).hardware_id == '1234'
    assert rig.status(other).level == DiagnosticStatus.ERROR
    assert rig.status(other).message == 'never heard'
    assert {v.key: v.value for v in rig.status(bus).values}['state'] == 'up'
    rig.until(lambda: 'bus' in rig.status(name).message)  # everything is silent now
    rig.until(lambda: rig.status(bus).level == DiagnosticStatus.ERROR)
    assert rig.status(bus).message == 'up, but no board speaks'


def test_two_boards_on_one_address_are_told(rig):
    other = Board(rig.module, serial=0xBEEF, counter=1)

    def act():
        rig.scan()
        rig.send(other.scan([3.0] * rig.module.cells))

    name = f'/battery/driver: module {rig.module.name}'
    rig.until(lambda: rig.status(name) and 'duplicate' in rig.status(name).message, act)
    assert '1234, BEEF' in rig.status(name).message
    assert rig.status(name).level == DiagnosticStatus.ERROR


def test_driver_names_a_bus_that_is_not_in_the_pack(context):
    with pytest.raises(ValueError, match='nonsense'):
        CanDriverNode(
            parameter_overrides=[
                Parameter('pack', value='robot_13s'),
                Parameter('buses', value=['nonsense']),
            ]
        )


def sent_to(server):
    """Return the next frame that a socketcand server was sent, decoded."""
    words = server.received.get(timeout=WAIT).split(b'>')[0].split()
    return decode((int(words[2], 16), bytes.fromhex(b''.join(words[4:]).decode())))


def test_bus_that_returns_is_told_what_holds_and_heard_again(context):
    server = Server()
    driver = CanDriverNode(
        parameter_overrides=[
            Parameter('pack', value='robot_13s'),
            Parameter('bus_interface', value='socketcand'),
            Parameter('bus_port', value=server.port),
        ]
    )
    messages = queue.Queue()
    client = rclpy.create_node('client')
    module = load_pack('robot_13s').modules[0]
    client.create_subscription(
        ModuleCells, f'modules/{module.name}/cells', messages.put, qos.MEASUREMENT
    )
    executor = SingleThreadedExecutor()
    executor.add_node(client)
    assert sent_to(server)[2]['Plus'] == 1
    server.leave()
    again = Server(server.port)
    name, _, values = sent_to(again)
    assert (name, values['Minus'], values['Plus']) == ('ContactorCommand', 1, 1)
    assert again.ready.wait(WAIT)
    board = Board(module)
    deadline = time.monotonic() + WAIT
    while messages.empty():
        assert time.monotonic() < deadline
        for can_id, data in board.scan([3.5] * module.cells):
            again.say(b'< frame %03X 1.0 %s >' % (can_id, data.hex().encode()))
        executor.spin_once(timeout_sec=0.05)
    np.testing.assert_allclose(messages.get().voltages, [3.5] * module.cells)
    driver.close()
    driver.destroy_node()
    client.destroy_node()
    executor.shutdown()
    again.leave()


def test_executor_that_stood_still_closes_nothing(rig):
    rig.until(lambda: rig.got[DiagnosticArray])
    rig.driver._tick -= 10.0  # as if the executor had been held up for so long
    request = SetContactors.Request(minus=True, lease=rig.string.contactors.lease, sequence=1)
    answer = rig.driver._on_set(rig.string.name, request, SetContactors.Response())
    assert not answer.accepted and 'stood still' in answer.message
    opening = SetContactors.Request(sequence=2)
    assert rig.driver._on_set(rig.string.name, opening, SetContactors.Response()).accepted
    rig.driver._tick = math.inf
    rig.until(lambda: rig.ask(minus=True, lease=0.1, sequence=3).accepted)
