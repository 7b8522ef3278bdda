# SPDX-License-Identifier: Apache-2.0
"""A fake driver over DDS for the tests of the protection node."""

import math
import time

import rclpy
from builtin_interfaces.msg import Time
from dbms_msgs.msg import Faults, Limits, ModuleCells, ProtectionState, StringMeasurement
from dbms_msgs.srv import Command, SetContactors
from rclpy.node import Node
from rclpy.parameter import Parameter

from dbms_node import middleware, qos
from dbms_node.clocks import steady_timer
from dbms_node.runtime import make_executor
from dbms_protection.protection_node import ProtectionNode


class Driver(Node):
    """Publishes what boards, sensor and contactor unit measure; obeys the contactor service."""

    def __init__(self, pack, context):
        super().__init__('driver', context=context)
        self.pack = pack
        self.closed = (False, False, False)
        self.calls = []
        self.until = 0.0
        self.link = 0.0
        self.current = 0.0
        self.silent = set()
        self.dumb = False
        self.volts = {module.name: [3.7] * module.cells for module in pack.modules}
        self.frame = None  # of all messages, instead of the right one
        self.sequence = 0
        self.scans = {
            module.name: self.create_publisher(
                ModuleCells, f'modules/{module.name}/cells', qos.MEASUREMENT
            )
            for module in pack.modules
        }
        string = pack.strings[0].name
        self.string = self.create_publisher(
            StringMeasurement, f'strings/{string}/measurement', qos.MEASUREMENT
        )
        self.service = self.create_service(SetContactors, f'contactors/{string}/set', self.set)
        steady_timer(self, 0.02, self.measure)
        steady_timer(self, 0.1, self.scan_all)

    def set(self, request, response):
        self.closed = (request.minus, request.precharge, request.plus)
        self.calls.append(self.closed)
        self.until = time.monotonic() + request.lease
        response.accepted = True
        return response

    def measure(self):
        if time.monotonic() > self.until:
            self.closed = (False, False, False)
        voltage = 3.7 * self.pack.cells
        if self.closed[0] and (self.closed[1] or self.closed[2]):
            self.link += (voltage - self.link) * 0.5
        if self.dumb:
            return
        self.sequence += 1
        message = StringMeasurement(
            sequence=self.sequence,
            current=self.current if self.closed[0] and self.closed[2] else 0.0,
            string_voltage=voltage,
            link_voltage=self.link,
            interlock=StringMeasurement.INTERLOCK_CLOSED,
            insulation_resistance=math.nan,
        )
        message.minus, message.precharge, message.plus = (2 if c else 1 for c in self.closed)
        message.header.frame_id = self.frame or self.pack.strings[0].name
        self.string.publish(message)

    def scan_all(self):
        for module in self.pack.modules:
            if module.name not in self.silent:
                self.scan(module)

    def scan(self, module):
        self.sequence += 1
        message = ModuleCells(sequence=self.sequence)
        message.header.frame_id = self.frame or module.name
        message.header.stamp = Time(sec=1)
        message.voltages = self.volts[module.name]
        message.temperatures = [25.0] * module.temperatures
        self.scans[module.name].publish(message)


class Listener(Node):
    """Hears what protection says, and asks it for things."""

    def __init__(self, context):
        super().__init__('listener', context=context)
        self.state = self.faults = self.limits = None
        self.states = []
        self.create_subscription(ProtectionState, 'protection/state', self.hear, qos.STATE)
        self.create_subscription(Faults, 'faults', lambda m: setattr(self, 'faults', m), qos.STATE)
        self.create_subscription(Limits, 'limits', lambda m: setattr(self, 'limits', m), qos.STATE)
        self.commands = {
            kind: self.create_client(Command, kind)
            for kind in ('connect', 'disconnect', 'reset_faults')
        }

    def hear(self, message):
        self.state = message
        self.states.append(message.state_name)

    def names(self):
        return {(f.name, f.level, f.module) for f in self.faults.faults} if self.faults else set()


class World:
    """One context with driver, listener and protection, spun until something is so."""

    def __init__(self, pack, name='test', **parameters):
        self.context = rclpy.Context()
        middleware.init(context=self.context)
        self.executor = make_executor(self.context)
        self.pack = pack
        self.nodes = []
        self.driver = self.add(Driver(pack, self.context))
        self.listener = self.add(Listener(self.context))
        parameters = {'pack': name, 'autostart': False, 'event_file': 'none', **parameters}
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self.node = self.add(ProtectionNode(context=self.context, parameter_overrides=overrides))

    def add(self, node):
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def until(self, condition, what, timeout=15.0):
        """Spin until `condition()`; fail with `what` when that takes too long."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f'waited in vain: {what}'
            self.executor.spin_once(timeout_sec=0.05)

    def ask(self, kind, *strings):
        client = self.listener.commands[kind]
        self.until(client.service_is_ready, f'service {kind}')
        request = Command.Request(origin='test', reason='test', strings=list(strings))
        future = client.call_async(request)
        self.until(future.done, f'answer to {kind}')
        return future.result()

    def in_state(self, name):
        self.until(
            lambda: self.listener.state is not None and self.listener.state.state_name == name,
            f'state {name}',
        )

    def activate(self):
        if self.node.state_label == 'unconfigured':
            self.node.trigger_configure()
        self.node.trigger_activate()
        assert self.node.is_active
        self.in_state('STANDBY')
        guard = self.node.guard
        self.until(lambda: not guard._refusal(0, guard.now), 'all measurements there')
        return self

    def connect(self):
        answer = self.ask('connect')
        assert answer.success, answer.message
        self.in_state('CONNECTED')

    def close(self):
        for node in reversed(self.nodes):
            if isinstance(node, ProtectionNode):
                node.close()
            node.destroy_node()
        self.executor.shutdown()
        rclpy.shutdown(context=self.context)
