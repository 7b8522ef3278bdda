# SPDX-License-Identifier: Apache-2.0
"""The protection node: messages to the guard, its commands to the contactor drivers."""

import gc
import os
import traceback
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from dbms_msgs.msg import ModuleCells, StringMeasurement
from dbms_msgs.srv import SetContactors
from rclpy.client import Client
from rclpy.task import Future

from dbms_node import qos
from dbms_node.clocks import steady_now, steady_timer
from dbms_node.lifecycle import SafeLifecycleNode
from dbms_node.outbox import Outbox
from dbms_node.places import NOWHERE, state_file
from dbms_node.replay_clock import ReplayClock
from dbms_node.runtime import run_node
from dbms_pack import Level, Pack, load_pack

from . import conversions, soa
from .desk_node import Desk
from .estimates_node import listen
from .event_log import EventLog
from .guard import Guard
from .journal import Journal, Kept
from .lease import ContactorCommand
from .news import write
from .pair_node import Pairing
from .paired_guard import PairedGuard
from .parameters_node import declare_all
from .voice_node import Voice
from .watch_node import Watch

HEARTBEAT = 0.5  # s, between states without a change
TICKS_PER_LEASE = 6  # at least, so that a renewal is never late by much
PENDING = 16  # calls per string that may wait for an answer


class ProtectionNode(SafeLifecycleNode):
    """Guards one pack while active; opens all contactors whenever it stops being active."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('protection', **kwargs)
        self._role = declare_all(self)
        self.guard: Guard | None = None
        self._pairing: Pairing | None = None
        self._time: Callable[[], float | None] = steady_now
        self._journal: Journal | None = None
        self._event_log: EventLog | None = None
        self._keeping = Outbox('protection events', self._cannot_keep)
        self._clients_of: list[Client] = []
        self._pending: list[deque[Future]] = []
        self._foreign = 0
        self._outbox = Outbox('protection reports', self._cannot_tell)
        self._watch = Watch(self, self._outbox)
        self._desk = Desk(self, self._outbox, self._work, self._note_command)
        self._voice = Voice(self, self._outbox)
        if not self._role:
            self._open_voice()
        self._heartbeat = steady_timer(self, HEARTBEAT, self._on_heartbeat)

    def _open_voice(self) -> None:
        self._desk.open()
        self._voice.open()

    def close(self) -> None:
        """Open the contactors, release everything, and finish telling it."""
        super().close()
        self._watch.close()
        self._keeping.close()
        self._outbox.close()

    def _cannot_keep(self, error: str) -> None:
        self.get_logger().error(f'event log: {error}', throttle_duration_sec=1.0)

    def _cannot_tell(self, error: str) -> None:
        self.get_logger().error(f'a report was lost: {error}', throttle_duration_sec=1.0)

    # -- life ---------------------------------------------------------------------------------

    def configured(self) -> None:
        """Read the pack and build the guard; ValueError if anything forbids to protect it."""
        value = {name: self.get_parameter(name).value for name in self._parameters}
        replay = value['replay']
        if replay != value['use_sim_time'] and (replay or not value['allow_sim_time']):
            raise ValueError(
                'replay is set, but use_sim_time is not'
                if replay
                else 'use_sim_time is set: protection runs on the steady clock only'
            )
        self._time = ReplayClock(self.get_clock(), self._begin_anew).now if replay else steady_now
        if value['time_scale'] != 1.0 and not value['simulation']:
            raise ValueError(f'time_scale is {value["time_scale"]}, but simulation is false')
        if not value['pack']:
            raise ValueError('parameter pack is not set')
        pack = load_pack(value['pack'])
        wrong = soa.problems(pack.limits)
        if wrong:
            raise ValueError(f'limits of {pack.name}: {"; ".join(wrong)}')
        # Numbers that go on from an earlier run: the driver refuses older ones.
        first = int(self.get_clock().now().nanoseconds * 32e-9)
        options = {'time_scale': value['time_scale'], 'first_sequence': first}
        if self._role:
            guard = PairedGuard(pack, self._send, **options)
            self._pairing = Pairing(self, self, self._desk, guard, self._role)
            self.guard = guard
        else:
            self.guard = Guard(pack, self._send, **options)
        self._desk.configure(self.guard)
        self._journal = self._begin_journal(pack, self.guard, value)
        for index, string in enumerate(pack.strings):
            # By another name in a replay: real contactors must not hear of it.
            name = f'{"replayed_" if replay else ""}contactors/{string.name}/set'
            self._clients_of.append(self.create_client(SetContactors, name))
            self._pending.append(deque())
            self.gated_subscription(
                StringMeasurement,
                f'strings/{string.name}/measurement',
                partial(self._on_string, index, string.name),
                qos.MEASUREMENT,
            )
        for index, module in enumerate(pack.modules):
            self.gated_subscription(
                ModuleCells,
                f'modules/{module.name}/cells',
                partial(self._on_cells, index, module.name),
                qos.MEASUREMENT,
            )
        listen(self, pack, self._work)
        shortest = min(string.contactors.lease for string in pack.strings)
        period = min(1.0 / value['rate'], shortest / TICKS_PER_LEASE)
        played = replay or value['simulation']
        wear = self._journal.wear if self._journal is not None else None
        self._watch.configure(self.guard, self._event_log, wear, period, played)
        self.managed_timer(period, self._tick)
        self.get_logger().info(
            f'pack {pack.name} ({pack.digest[:12]}): {len(pack.strings)} strings, '
            f'{len(pack.modules)} modules, {pack.cells} cells'
        )
        self._publish()

    def enter_office(self, term: int) -> None:
        """Speak for the pack: this node is the one that commands."""
        self._open_voice()
        self._log(f'in office, term {term}')

    def leave_office(self, reason: str) -> None:
        """Fall silent: what was said last must not be heard by who comes late."""
        self._desk.close()
        self._voice.close()
        self._log(f'out of office: {reason}')

    def _log(self, text: str) -> None:
        self._outbox.put(partial(write, self.get_logger(), [(Level.MOL, text)]))

    def _begin_journal(self, pack: Pack, guard: Guard, value: dict[str, Any]) -> Journal | None:
        apart = value['simulation'] or value['replay']
        suffix = '-events' if self.get_name() == 'protection' else f'-{self.get_name()}-events'
        name = value['event_file'] or (NOWHERE if apart else '')
        path = state_file(name, self.get_namespace(), pack.name, suffix, os.environ)
        if path is None:
            return None
        self._event_log = EventLog(path, self._cannot_keep)
        journal = Journal(pack, self._event_log, self._keeping.put)
        journal.attach(guard, self._stamp())
        return journal

    def _stamp(self) -> float:
        return float(self.get_clock().now().nanoseconds * 1e-9)

    def activated(self) -> None:
        """Begin to guard."""
        assert self.guard is not None
        gc.freeze()  # what was configured lasts: see settle_memory
        now = self._time()
        if self._pairing is not None:
            self._pairing.start(steady_now())
        if now is not None:  # or else it begins with the first /clock
            self.guard.activate(now)
        self._watch.activated()
        self.get_logger().info('active: guarding, contactors open')
        self._publish()

    def _begin_anew(self, now: float, reason: str) -> None:
        """Know nothing any more, because the time of a replay has jumped."""
        if self.guard is not None and self.is_active:
            self.guard.activate(now)
            self.get_logger().warning(f'{reason}: guarding begins anew, contactors open')

    def make_safe(self, reason: str) -> None:
        """Open all contactors and renew nothing any more."""
        if self.guard is not None and self.guard.active:
            self.guard.deactivate(self._time() or 0.0, reason)
            self.get_logger().info(f'contactors opened: {reason}')
            self._publish()
            if self._journal is not None:
                self._journal.observe(self._stamp())
            if self._pairing is not None:
                self._pairing.depose(reason)

    def released(self) -> None:
        """Forget the pack."""
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.finish(self._stamp())
        clients, self._clients_of = self._clients_of, []
        self._pending, self.guard = [], None
        pairing, self._pairing = self._pairing, None
        if pairing is not None:
            pairing.close()
        self._event_log = None
        self._watch.release()
        self._desk.release()
        for client in clients:
            self.destroy_client(client)
        self._publish()

    # -- in -----------------------------------------------------------------------------------

    def _on_cells(self, index: int, name: str, message: ModuleCells) -> None:
        if message.header.frame_id not in ('', name):
            self._foreign += 1
            return
        self._work(
            lambda guard, now: guard.on_cells(
                index,
                message.sequence,
                np.asarray(message.voltages, dtype=np.float32),
                np.asarray(message.temperatures, dtype=np.float32),
                message.status,
                now,
            )
        )

    def _on_string(self, index: int, name: str, message: StringMeasurement) -> None:
        if message.header.frame_id not in ('', name):
            self._foreign += 1
            return
        self._work(
            lambda guard, now: guard.on_string(
                index, message.sequence, conversions.sample(message), now
            )
        )

    def _tick(self) -> None:
        self._work(self._cycle)
        if self._journal is not None:
            self._journal.observe(self._stamp())
        if self.guard is not None:
            self._voice.tell_new_limits(self.guard)

    def _cycle(self, guard: Guard, now: float) -> None:
        self._watch.cycle(guard, self._pairing is None or self._pairing.leading)
        if self._pairing is not None:
            self._pairing.tick(now, self._clients_of)
        self._desk.tick(now)
        guard.tick(now)
        self._watch.alive()  # only here: a guard that fails or hangs is no live one

    def _work(self, call: Callable[[Guard, float], None]) -> None:
        """Let the guard work; a fault of its own opens everything instead of ending the node."""
        guard, now = self.guard, self._time()
        if guard is None or now is None:
            return
        if self._pairing is not None:
            self._pairing.awake(now)
        try:
            call(guard, now)
        except Exception as error:
            self.get_logger().error(
                f'internal error: {traceback.format_exc()}', throttle_duration_sec=1.0
            )
            guard.fail(now, f'{type(error).__name__}: {error}')
        if self._voice.behind(guard):
            self._publish()

    def _note_command(
        self, kind: str, origin: str, reason: str, strings: str, answer: str, /,
        kept: Kept | None = None,
    ) -> bool:  # fmt: skip
        if self._journal is not None:
            stamp = self._stamp()
            self._journal.command(kind, origin, reason, strings, answer, stamp, kept)
        return self._journal is not None

    # -- out ----------------------------------------------------------------------------------

    def _send(self, command: ContactorCommand) -> None:
        """Call the contactor driver; whatever goes wrong shows as a missing answer."""
        if self._journal is not None:
            self._journal.contactors(command)
        minus, precharge, plus = command.contacts
        request = SetContactors.Request(
            minus=minus, precharge=precharge, plus=plus,
            lease=command.lease, sequence=command.sequence,
        )  # fmt: skip
        if self._pairing is not None:
            request.guard, request.term = self._pairing.pair.name, self._pairing.pair.term
        client, pending = self._clients_of[command.string], self._pending[command.string]
        try:
            future = client.call_async(request)
        except Exception as error:
            self.get_logger().error(f'{client.srv_name}: {error!r}')
            return
        future.add_done_callback(partial(self._on_answer, command))
        pending.append(future)
        while len(pending) > PENDING:
            client.remove_pending_request(pending.popleft())

    def _on_answer(self, command: ContactorCommand, future: Future) -> None:
        if future.exception() is not None or self.guard is None:
            return
        pending = self._pending[command.string]
        if future in pending:
            pending.remove(future)
        answer = future.result()
        if answer.deposed and self._pairing is not None:
            self._pairing.depose(f'{answer.holder} holds term {answer.highest_term}')
            return
        self._work(
            lambda guard, now: guard.on_answer(
                command.string, command.sequence, answer.accepted, answer.message, now
            )
        )

    def _on_heartbeat(self) -> None:
        if not self.is_active:
            self._watch.alive()  # nothing to guard
        pairing = self._pairing
        self._watch.report(pairing.pair.told(steady_now()) if pairing is not None else None)
        self._publish()
        self._publish_holder(periodic=True)

    def _publish_holder(self, periodic: bool) -> None:
        pair = self._pairing.pair if self._pairing is not None else None
        self._desk.publish(pair.name if pair else '', pair.term if pair else 0, periodic)

    def _publish(self) -> None:
        """Tell state, faults and limits, and who holds the pack."""
        self._voice.tell(self.guard)
        if self._voice.speaks and self.guard is not None:
            self._publish_holder(periodic=False)


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run_node(ProtectionNode, args)
