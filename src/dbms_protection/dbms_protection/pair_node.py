# SPDX-License-Identifier: Apache-2.0
"""The part of the protection node that shares the guarding of a pack with a second node."""

from functools import partial
from typing import Any, Protocol

from dbms_msgs.msg import Faults, GuardBeat, Holder
from dbms_msgs.srv import SetContactors
from rclpy.client import Client
from rclpy.task import Future

from dbms_node import qos
from dbms_node.clocks import steady_now
from dbms_pack import Level

from .contactors import Contacts, State
from .conversions import fault_of
from .desk_node import Desk
from .pair import Pair
from .paired_guard import PairedGuard

# Shares of a lease that a driver has not renewed. One late answer may be on its way; who then says
# nothing lets the other guard ask, which may reach the driver. Who still has no answer shortly
# before the end steps down without a fault: the other one would take that for its own.
LATE, CUT_OFF = 0.4, 0.9
PATIENCE = {'first': 0.5, 'second': 2.0}  # s, until each asks when it has heard of no other


class Voice(Protocol):
    """What a node does when it enters or leaves office."""

    def enter_office(self, term: int) -> None: ...

    def leave_office(self, reason: str) -> None: ...


class Pairing:
    """Asks for office when the other guard is silent, and gives it up when deposed."""

    def __init__(self, node: Any, voice: Voice, desk: Desk, guard: PairedGuard, role: str) -> None:
        self._node, self._voice, self._desk, self._guard = node, voice, desk, guard
        if role not in PATIENCE:
            raise ValueError(f'pair is {role}: allowed are {", ".join(PATIENCE)}')
        lease = min(string.contactors.lease for string in guard.pack.strings)
        self.pair = Pair(node.get_fully_qualified_name(), lease, PATIENCE[role])
        self._sequence = 0
        self._asked: dict[int, Future] = {}
        self._asked_at: dict[int, float] = {}
        self._publisher = node.create_publisher(GuardBeat, 'protection/beat', qos.COMMAND)
        self._made = [
            node.create_subscription(GuardBeat, 'protection/beat', self._on_beat, qos.COMMAND),
            node.create_subscription(Faults, 'faults', self._on_faults, qos.STATE),
            node.create_subscription(Holder, 'protection/holder', self._on_holder, qos.STATE),
        ]
        self._now = 0.0

    def close(self) -> None:
        """Take no part any more."""
        for subscription in self._made:
            self._node.destroy_subscription(subscription)
        self._node.destroy_publisher(self._publisher)

    @property
    def leading(self) -> bool:
        """Tell whether this node is in office."""
        return self.pair.leading

    def start(self, now: float) -> None:
        """Begin by looking on."""
        self._now = now
        self._guard.step_down()
        self.pair.look_on(now)

    def awake(self, now: float) -> None:
        """Note that the node works; who was held up for a lease is not in office any more."""
        self._now = now
        gap = self.pair.held_up(now)
        if gap:
            self.depose(f'held up for {gap:.2f} s')

    def depose(self, reason: str) -> None:
        """Look on from here."""
        was = self.pair.leading
        self.pair.look_on(self._now)
        self._guard.step_down()
        if was:
            self._voice.leave_office(reason)

    def tick(self, now: float, clients: list[Client]) -> None:
        """Give a sign of life in office; else ask for it when it is time to."""
        if not self._guard.active:
            return
        pair = self.pair
        if pair.lapsed(now):
            self.depose('granted, but lapsed')
        for index in pair.asks(len(clients), now):
            self._ask(index, clients[index], now)
        if pair.complete(len(clients), now):
            pair.leading = True
            self._guard.take_over(pair.granted, pair.leaving, now)
            self._voice.enter_office(pair.term)
        spent = self._guard.spent() if pair.leading else 0.0
        if spent > CUT_OFF:  # what is closed is another guard's by now, or open
            self.depose('a driver of contactors does not answer')
        elif (pair.leading or pair.granted) and spent <= LATE:
            self._beat()

    def _beat(self) -> None:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        self._publisher.publish(
            GuardBeat(
                guard=self.pair.name,
                term=self.pair.term,
                sequence=self._sequence,
                states=[int(string.state) for string in self._guard.strings],
            )
        )

    def _ask(self, index: int, client: Client, now: float) -> None:
        wanted = self._guard.wanted(index)
        waiting = self._asked.get(index)
        if waiting is not None and not waiting.done():
            if now - self._asked_at[index] > self.pair.lease:  # the driver is not there
                client.remove_pending_request(self._asked.pop(index))
            return
        if wanted is None:
            return
        minus, precharge, plus = wanted
        request = SetContactors.Request(
            minus=minus, precharge=precharge, plus=plus,
            lease=self._guard.pack.strings[index].contactors.lease,
            sequence=self._guard.next_sequence(index),
            guard=self.pair.name, term=self.pair.term,
        )  # fmt: skip
        future = client.call_async(request)
        self._asked[index] = future
        self._asked_at[index] = now
        future.add_done_callback(partial(self._on_answer, index, wanted, now, self.pair.term))

    def _on_answer(
        self, index: int, wanted: Contacts, at: float, term: int, future: Future
    ) -> None:
        if future.exception() is not None or future.cancelled():
            return
        answer = future.result()
        accepted = answer.accepted and term == self.pair.term
        self.pair.answer(index, wanted, at, accepted, answer.highest_term)

    # -- from the other guard -----------------------------------------------------------------

    def _on_beat(self, beat: GuardBeat) -> None:
        strings = range(min(len(beat.states), len(self._guard.strings)))
        leaving = tuple(index for index in strings if beat.states[index] == State.LEAVING)
        if self.pair.beat(beat.guard, beat.term, leaving, steady_now()):
            self.depose(f'{beat.guard} is in office, term {beat.term}')

    def _on_faults(self, message: Faults) -> None:
        if not self.pair.leading:
            kept = [fault_of(one, Level(one.level)) for one in message.faults if one.latched]
            self._guard.learn(kept, self._now)

    def _on_holder(self, message: Holder) -> None:
        commander = self._desk.commander
        if not self.pair.leading and commander is not None:
            commander.claim.adopt(message.holder, message.lease, self._now)
