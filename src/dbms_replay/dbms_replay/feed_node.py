# SPDX-License-Identifier: Apache-2.0
"""Node `play` that feeds estimation and protection of today with a recording.

It says what boards and sensors said, and stands in for the operator and the contactor drivers of
the recording. What came of it then is not said again: the nodes of today say that.
"""

from functools import partial

from dbms_msgs.msg import ProtectionState, StringMeasurement
from dbms_msgs.srv import Command, SetContactors
from rclpy.serialization import deserialize_message
from rclpy.task import Future

from dbms_node import qos
from dbms_node.clocks import steady_timer
from dbms_node.parameters import declare
from dbms_protection import conversions
from dbms_protection.measurements import StringSample

from .bags import Bag, BagTopic
from .decoding import BLEED, CELLS, STATE, Decoder, Refused, Told
from .play_node import PlayNode, run
from .replay import Replay
from .stand_in import StandIn

CONNECT_PERIOD = 0.2  # s of wall time between two attempts to connect
PATIENCE = 3  # attempts that are left out for an answer
NOT_GUARDING = (ProtectionState.UNCONFIGURED, ProtectionState.INACTIVE)


class FeedNode(PlayNode):
    """Feeds the graph of one pack in its namespace; time stands until protection is there."""

    # Faster, contactor drivers that answer in no time seem late on the clock of the recording.
    FASTEST = 5.0

    def prepare(self) -> None:
        """Find out which pack it is, and offer its topics."""
        told = declare(self, 'pack', '', 'Pack file or name; empty: as recorded.')
        self._replay = Replay(Bag(self.bag), told or None, self.battery or None)
        pack = self.pack = self._replay.pack
        self.stand_in = StandIn(pack, self._replay.states_recorded)
        self._modules = {f'modules/{one.name}/cells': i for i, one in enumerate(pack.modules)}
        self._bleeds = [f'modules/{one.name}/bleed' for one in pack.modules]
        self._strings = {
            f'strings/{one.name}/measurement': i for i, one in enumerate(pack.strings)
        }
        self._index = {one.name: i for i, one in enumerate(pack.strings)}
        self._decoders: dict[BagTopic, tuple[Decoder, str]] = {}
        self._guarded = False
        self._waiting: Future | None = None
        self._waited = 0  # periods
        self._callers = {
            kind: self.create_client(Command, kind)
            for kind in ('connect', 'disconnect', 'reset_faults')
        }
        for index, string in enumerate(pack.strings):
            name = f'replayed_contactors/{string.name}/set'
            self.create_service(SetContactors, name, partial(self._on_contactors, index))
        self.create_subscription(ProtectionState, 'protection/state', self._on_state, qos.STATE)
        super().prepare()
        steady_timer(self, CONNECT_PERIOD, self._connect)

    def wants(self, topic: BagTopic) -> bool:
        """Take what was measured, and the recorded state of protection."""
        if topic not in self._outlets:
            place = self._replay.namespace
            name = topic.name.removeprefix(f'{place}/')
            self._outlets[topic] = None
            if name in self._modules or name in self._strings:
                self._outlets[topic] = self.offer(topic, name, qos.MEASUREMENT)
            elif name in self._bleeds:  # balancing of today would say this itself
                self._outlets[topic] = self.offer(topic, name, qos.COMMAND)
            known = self._outlets[topic] is not None or name == 'protection/state'
            decode = self._replay.decoders.of(topic) if known else None
            if decode is not None:
                self._decoders[topic] = decode, name
        return topic in self._decoders

    def ready(self) -> bool:
        """Wait for protection: before it, nobody would hear what is said."""
        return self._guarded

    def put(self, topic: BagTopic, data: bytes) -> None:
        """Say a measurement, with the contactors as they are to be shown."""
        decode, name = self._decoders[topic]
        publisher = self._outlets[topic]
        try:
            told = decode(data)
            if publisher is not None:
                said = self.translated(topic, data)
        except Refused as error:
            self.problems[str(error)] += 1
            return  # as a subscriber of the bytes would
        if topic.type == STATE:
            self._on_recorded(told)
        elif publisher is not None and topic.type == CELLS:
            self.stand_in.cells(self._modules[name], told.voltages)
            publisher.publish(said)
        elif publisher is not None and topic.type == BLEED:
            publisher.publish(said)
        elif publisher is not None:
            message = said
            if isinstance(message, bytes):
                message = deserialize_message(message, StringMeasurement)
            sample = conversions.sample(message)
            shown = self.stand_in.shown(self._strings[name], sample, message.lease_remaining)
            publisher.publish(_as_shown(message, shown))

    def landed(self) -> None:
        """Begin anew, as those that are fed do."""
        self.stand_in.begin()
        self._waiting = None

    # -- operator and contactors --------------------------------------------------------------

    def _on_contactors(
        self, index: int, request: SetContactors.Request, response: SetContactors.Response
    ) -> SetContactors.Response:
        contacts = (request.minus, request.precharge, request.plus)
        self.stand_in.commanded(index, contacts)
        response.accepted = True
        return response

    def _on_state(self, message: ProtectionState) -> None:
        self._guarded = message.state not in NOT_GUARDING
        for one in message.strings:
            if one.name in self._index:
                self.stand_in.told(self._index[one.name], one.state)

    def _on_recorded(self, told: Told) -> None:
        disconnected = told.last_command.startswith('disconnect')
        for name, state in told.strings:
            index = self._index.get(name)
            if index is None:
                continue
            try:
                commands = self.stand_in.recorded(index, state, disconnected)
            except ValueError:
                self.problems['states that are none'] += 1
                continue
            for kind in commands:
                self._command(kind, name)

    def _connect(self) -> None:
        if self.playback.paused or not self._callers['connect'].service_is_ready():
            return
        self._waited += 1
        # An answer may be lost, so it is not waited for without end.
        if self._waiting is None or self._waiting.done() or self._waited > PATIENCE:
            for index in self.stand_in.unconnected():
                self._waiting = self._command('connect', self.pack.strings[index].name)
                self._waited = 0

    def _command(self, kind: str, string: str) -> Future:
        request = Command.Request(origin='play', reason='as recorded', strings=[string])
        return self._callers[kind].call_async(request)


def _as_shown(message: StringMeasurement, shown: StringSample) -> StringMeasurement:
    message.current, message.current_age = shown.current, shown.current_age
    message.string_voltage, message.link_voltage = shown.string_voltage, shown.link_voltage
    message.voltage_age, message.contactor_age = shown.voltage_age, shown.contact_age
    message.minus, message.precharge, message.plus = map(int, shown.contacts)
    for flag, stands in (
        (StringMeasurement.STATUS_LEASE_EXPIRED, shown.lease_expired),
        (StringMeasurement.STATUS_COIL_FAULT, shown.coil_fault),
    ):
        if not stands:
            message.status &= ~flag
    return message


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run(FeedNode, args)
