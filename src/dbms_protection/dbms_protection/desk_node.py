# SPDX-License-Identifier: Apache-2.0
"""The part of the protection node that takes commands: services, emergency stop, holder."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from dbms_msgs.msg import Holder
from dbms_msgs.srv import Command
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from dbms_node import qos
from dbms_node.clocks import steady_now, steady_timer
from dbms_node.held_answers import HeldAnswers
from dbms_node.outbox import Outbox
from dbms_node.parameters import declare
from dbms_pack import Level

from .commander import Commander
from .emergency import EmergencyStop
from .guard import Guard
from .holder import Request, Rules, plain
from .journal import Kept
from .news import write

KINDS = ('connect', 'disconnect', 'reset_faults')
LAPSES = ('stay', 'disconnect')
BUTTON = 'emergency_stop/pressed'
ANSWER_WITHIN = 1.0  # s, also if the event log does not have the command by then
LOOK = 0.05  # s, between looks for answers that are overdue

Work = Callable[[Callable[[Guard, float], None]], None]  # the call gets the steady time


class Note(Protocol):
    """Keeps a command; tells whether `kept` will hear what came of it."""

    def __call__(
        self, kind: str, origin: str, reason: str, strings: str, answer: str, /,
        kept: Kept | None = None,
    ) -> bool: ...  # fmt: skip


class Desk:
    """Offers the services of a guard. `work` lets the guard do something, `note` keeps it."""

    def __init__(self, node: Node, outbox: Outbox, work: Work, note: Note) -> None:
        self._node = node
        self._outbox = outbox
        self._work = work
        self._note = note
        self._declare()
        self._pressed = False  # by the button's last word
        self._now = 0.0  # of the last tick
        self._told: tuple[str, str, int] | None = None
        self.commander: Commander | None = None
        # Who only joins now gets what the button said last; the other hears every publisher.
        for profile in (qos.STATE, qos.DISPLAY):
            node.create_subscription(Bool, BUTTON, self._on_button, profile)
        self._answers = HeldAnswers(node, self._cannot_answer)
        self._overdue = steady_timer(node, LOOK, self._look, autostart=False)
        self._services: list[Any] = []
        self._publisher: Any = None

    def _declare(self) -> None:
        node = self._node
        declare(node, 'holder_lapse', 'stay', 'what a lapsed lease of a holder does: '
                'stay (contactors stay, anybody may command) or disconnect')  # fmt: skip
        declare(node, 'holder_required', False, 'connect only for a named holder with a lease')
        declare(node, 'may_force', ['*'], 'patterns of the holders that may take over by force')
        declare(node, 'emergency_stop_timeout', 0.0, f'{BUTTON} not heard for so long is pressed '
                '[s]; 0: it may be silent', minimum=0.0, maximum=60.0)  # fmt: skip

    # -- life ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Offer the services."""
        if self._services:
            return
        make = self._answers.create_service
        for kind in KINDS:
            self._services.append(make(Command, kind, partial(self._on_command, kind)))
        self._services.append(make(Trigger, 'emergency_stop', self._on_stop))
        self._publisher = self._node.create_publisher(Holder, 'protection/holder', qos.STATE)

    def close(self) -> None:
        """Offer nothing any more: another guard does."""
        services, self._services = self._services, []
        for service in services:
            self._node.destroy_service(service)
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            self._outbox.put(partial(self._node.destroy_publisher, publisher))

    def configure(self, guard: Guard) -> None:
        """Take commands for a guard; ValueError if a parameter makes no sense."""
        value = self._node.get_parameter
        lapse = value('holder_lapse').value
        if lapse not in LAPSES:
            raise ValueError(f'holder_lapse is {lapse}: allowed are {", ".join(LAPSES)}')
        patterns = tuple(pattern for pattern in value('may_force').value if pattern)
        rules = Rules(patterns, value('holder_required').value, lapse == 'disconnect')
        stop = EmergencyStop(value('emergency_stop_timeout').value, self._pressed)
        self.commander = Commander(guard, rules, stop)

    def release(self) -> None:
        """Forget the guard."""
        self.commander = None

    # -- in -----------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Look after leases and the button; before the guard's own tick."""
        commander = self.commander
        if commander is None:
            return
        self._now = now
        commander.tick(now)
        events, commander.events = commander.events, []
        for text in events:
            self._note('lapse', 'protection', text, '', text)
            self._log(Level.MOL, text)

    def _on_button(self, message: Bool) -> None:
        self._pressed = message.data
        commander = self.commander
        if commander is not None:
            self._work(lambda guard, now: commander.stop.hear(guard, message.data, now))

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        commander = self.commander
        response.message = 'refused: protection is not configured, and holds nothing closed'
        if commander is None:
            return response

        def work(guard: Guard, now: float) -> None:
            commander.stop.press(guard, 'called by service', now)
            response.success, response.message = True, 'stopped; reset_faults before connecting'

        self._work(work)
        self._answered('emergency_stop', Command.Request(), response)
        return response

    def _on_command(
        self, kind: str, request: Command.Request, response: Command.Response
    ) -> Command.Response:
        commander = self.commander
        response.message = 'protection is not configured'
        if commander is None:
            return response
        # One name more than there are strings: with that many, one is wrong, and all is refused.
        most = len(commander.guard.strings) + 1
        strings = [plain(name) for name in list(dict.fromkeys(request.strings))[:most]]
        request.origin, request.reason = plain(request.origin), plain(request.reason)
        request.strings = strings
        asked = Request(
            kind, request.origin, request.reason, tuple(strings),
            request.holder, request.lease, request.force,
        )  # fmt: skip

        def work(guard: Guard, now: float) -> None:
            self._now = now
            response.success, response.message = commander.command(asked, now)

        response.message = 'refused: internal error'
        self._work(work)
        self._answered(kind, request, response)
        return response

    def _answered(self, kind: str, request: Command.Request, response: Any) -> None:
        """Note what was answered; the answer leaves when that is kept, or cannot be."""
        origin = request.origin
        if request.holder and request.holder != origin:
            origin = f'{origin or "unknown"} for {plain(request.holder)}'
        if request.force:
            kind = f'{kind} by force'
        answer = response.message

        def unkept(why: str) -> None:
            response.message = f'{answer}; not in the event log: {why}'

        late = partial(unkept, f'the disk takes longer than {ANSWER_WITHIN:g} s')
        held = self._answers.hold(response, steady_now() + ANSWER_WITHIN, late)

        def kept(why: str) -> None:
            if held is not None:
                held.release(partial(unkept, why) if why else None)

        what = (kind, origin, request.reason, ' '.join(request.strings), answer)
        if held is None:
            unkept('too many commands wait for the disk')
            self._note(*what)
        elif self._note(*what, kept=kept):
            self._overdue.reset()
        else:
            held.release()  # nothing is kept at all, by order
        text = f'{kind} by {origin or "unknown"} ({request.reason}): {answer}'
        self._log(None, text)

    def _look(self) -> None:
        self._answers.tick(steady_now())
        if not self._answers.waiting:
            self._overdue.cancel()

    def _cannot_answer(self, error: str) -> None:
        self._log(Level.MSL, error)

    def _log(self, level: Level | None, text: str) -> None:
        self._outbox.put(partial(write, self._node.get_logger(), [(level, text)]))

    # -- out ----------------------------------------------------------------------------------

    def publish(self, guard_name: str, term: int, periodic: bool) -> None:
        """Tell who holds the pack: when that has changed, or again with `periodic`."""
        if self._publisher is None:
            return
        claim = self.commander.claim if self.commander else None
        holder = claim.holder if claim else ''
        told = (holder, guard_name, term)
        if told == self._told and not periodic:
            return
        self._told = told
        left = claim.left(self._now) if claim else 0.0
        message = Holder(holder=holder, lease=left, guard=guard_name, term=term)
        self._outbox.put(partial(self._publisher.publish, message))
