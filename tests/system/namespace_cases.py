# SPDX-License-Identifier: Apache-2.0
"""What test_namespaces.py runs on the host of the driver: one case, in a process of its own.

    python namespace_cases.py CASE PREFIX PACK FOLDER

The hosts: `ship` with hub, boards, driver and estimation; `fore` and `aft` with a guard each.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import rclpy
from dbms_msgs.msg import StringMeasurement
from dbms_msgs.srv import Command
from namespaces import Network
from system_rig import COMMAND, MEASUREMENT, Ears, closing, spy_on
from test_second_guard import TOPICS, other_in_office, standing_by

from dbms_bringup.graph import graph, programs
from dbms_bringup.plan import make_plan
from dbms_bringup.processes import Job, Supervisor, jobs
from dbms_node import middleware

HOSTS = ('ship', 'fore', 'aft')
GUARDS = {'protection': 'fore', 'protection_standby': 'aft'}
HEARD = {**TOPICS, 'string': (StringMeasurement, 'strings/a/measurement', MEASUREMENT)}
LEASES = 6  # that pass without anything happening before it counts as nothing
SLACK = 1.0  # s beyond the lease, for the unit and for a busy machine


class Boat:
    """The graph on three hosts, connected; what happens is judged on the wire and by topics."""

    def __init__(self, network: Network, plan, spy, ears: Ears) -> None:
        self.network = network
        self.lease = plan.pack.strings[0].contactors.lease
        self.spy, self.ears = spy, ears
        self.seconds: dict[str, float] = {}
        self._connect()
        self.first = standing_by(ears)
        self.second = next(name for name in GUARDS if name != self.first)
        self.mark, self.told = spy.log.mark, ears.logs['holder'].mark

    def _connect(self) -> None:
        states = self.ears.logs['state']
        mark = 0
        while True:
            _, state = states.wait(
                lambda one: one.state_name in ('STANDBY', 'CONNECTED'), 'STANDBY', mark
            )
            if state.state_name == 'CONNECTED':
                break
            mark = states.mark
            self.ears.call(Command, 'connect', Command.Request(origin='test'))
        self.spy.reported('main_closed')

    def host(self, guard: str) -> str:
        return GUARDS[guard]

    def take_over(self, since: float) -> None:
        """Wait until the second is in office; nothing may have opened."""
        over, _ = self.ears.logs['holder'].wait(
            other_in_office(self.first), 'the second in office', self.told
        )
        self.seconds['the other in office'] = over - since
        self.quiet()

    def quiet(self) -> None:
        """Let some leases pass by what is told in them, and see that nothing has opened."""
        beats, end = self.ears.logs['string'], time.monotonic() + LEASES * self.lease
        while time.monotonic() < end:
            beats.wait(lambda one: True, 'the driver', beats.mark)
        opened = [one for one in self.spy.log.since(self.mark) if not one.main_closed]
        assert not opened, f'opened: {opened[:3]}'

    def one_guard(self, *wanted: str) -> None:
        """See that each term had one guard, and that one of the wanted is in office."""
        told = [one for one in self.ears.logs['holder'].since(0) if one.guard]
        of_term: dict[int, set[str]] = {}
        for one in told:
            of_term.setdefault(one.term, set()).add(one.guard.rpartition('/')[2])
        assert all(len(guards) == 1 for guards in of_term.values()), of_term
        assert of_term[max(of_term)] <= set(wanted or GUARDS), of_term

    def obeys(self) -> None:
        """See that who is asked opens."""
        answer = self.ears.call(Command, 'disconnect', Command.Request(origin='test'))
        assert answer.success, answer.message
        self.spy.commanded('all_open', self.mark)

    def open_within_the_lease(self, since: float) -> None:
        """Wait for open contacts; the last moment is by the lease."""
        opened, _ = self.spy.reported('all_open', self.mark, self.lease + SLACK)
        self.seconds['open'] = opened - since


def cut_off(boat: Boat) -> None:
    """The guard in office loses its network: the other goes on, and it finds itself deposed."""
    host = boat.host(boat.first)
    boat.network.cut(host)
    boat.take_over(time.monotonic())
    boat.network.mend(host)
    heard = boat.ears.logs['holder'].mark
    boat.quiet()
    boat.one_guard(boat.second)
    assert boat.ears.logs['holder'].since(heard)
    boat.obeys()


def guards_apart(boat: Boat) -> None:
    """The guards do not hear each other, the driver hears both: the first stays."""
    boat.network.part('fore', 'aft')
    boat.quiet()
    boat.one_guard(boat.first)
    boat.network.part('fore', 'aft', parted=False)
    boat.quiet()
    boat.one_guard(boat.first)
    boat.obeys()


def driver_lost_to_the_first(boat: Boat) -> None:
    """The guard in office reaches the other guard and not the driver: the other goes on."""
    host = boat.host(boat.first)
    boat.network.part('ship', host)
    boat.take_over(time.monotonic())
    boat.network.part('ship', host, parted=False)
    boat.quiet()
    boat.one_guard(boat.second)
    boat.obeys()


def both_cut_off(boat: Boat) -> None:
    """No guard reaches the driver: open within the lease, and nothing closes by itself."""
    begun = time.monotonic()
    for host in GUARDS.values():
        boat.network.cut(host)
    boat.open_within_the_lease(begun)
    for host in GUARDS.values():
        boat.network.mend(host)
    after, states = boat.spy.log.mark, boat.ears.logs['state']
    for _ in range(LEASES):
        states.wait(lambda one: True, 'a guard again', states.mark)
    closed = [one.kind for one in boat.spy.log.since(after) if one.main_closed]
    assert not closed, f'closed again: {[f"{kind:#x}" for kind in closed]}'


def delayed(boat: Boat, seconds: float) -> None:
    """Every frame of the guard in office takes longer: closed by one guard, or open."""
    with boat.network.delayed(boat.host(boat.first), seconds):
        beats, end = boat.ears.logs['string'], time.monotonic() + 4 * LEASES * boat.lease
        while time.monotonic() < end:
            beats.wait(lambda one: True, 'the driver', beats.mark)
    log = boat.spy.log.since(boat.mark)
    commands = [one.main_closed for one in log if one.kind == COMMAND]
    changes = sum(a != b for a, b in zip(commands, commands[1:], strict=False))
    assert changes <= 1, 'nothing that opened closed again'
    late = seconds > boat.lease
    assert late or commands[-1], 'a delay that the lease allows for'
    boat.one_guard(*[boat.second] * (late and commands[-1]))


def delayed_by_100_ms(boat: Boat) -> None:
    """Less than what is left for the change of guards."""
    delayed(boat, 0.1)


def delayed_by_1_s(boat: Boat) -> None:
    """Longer than the lease: whatever comes, comes too late."""
    delayed(boat, 1.0)


CASES = {
    case.__name__: case
    for case in (cut_off, guards_apart, driver_lost_to_the_first, both_cut_off,
                 delayed_by_100_ms, delayed_by_1_s)
}  # fmt: skip


def start(network: Network, job: Job, folder: Path) -> subprocess.Popen[bytes]:
    """Start a guard on its host."""
    words = [sys.executable, '-m', 'dbms_bringup.child', str(os.getpid()), job.module]
    with (folder / f'{job.name}.log').open('wb') as log:
        return subprocess.Popen(
            [*network.within(GUARDS[job.name]), *words, *job.arguments],
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip


def main(case: str, prefix: str, pack: str, folder: Path) -> None:
    """Run a case on the host of the driver; AssertionError if it does not go as it has to."""
    network = Network(prefix, HOSTS)
    words = [pack, '--processes', '--standby', '--load', 'constant:-5', '--no-connect']
    plan = make_plan(words, terminal=False)
    made = jobs(graph(plan.pack, plan.options), programs(plan.options), plan.namespace)
    on_ship = [job for job in made if job.name not in GUARDS]
    middleware.init(args=[])
    supervisor = Supervisor(on_ship, folder, print, print)
    supervisor.start()
    guards = [start(network, job, folder) for job in made if job.name in GUARDS]
    try:
        with closing(spy_on(plan.pack, plan)) as spy, closing(Ears('battery', **HEARD)) as ears:
            boat = Boat(network, plan, spy, ears)
            CASES[case](boat)
            print(json.dumps({'lease': boat.lease, 'seconds': boat.seconds}))
    finally:
        for guard in guards:
            guard.kill()
            guard.wait()
        supervisor.stop()
        rclpy.try_shutdown()


if __name__ == '__main__':
    main(*sys.argv[1:4], Path(sys.argv[4]))
