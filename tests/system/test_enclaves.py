# SPDX-License-Identifier: Apache-2.0
"""The security policy on a wire that enforces it: who has no enclave or the wrong one is nobody.

Needs sros2 for the keys, and a middleware built with security; skips where one is missing.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from dbms_msgs.msg import Limits, ProtectionState
from dbms_msgs.srv import Command
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from system_rig import DEADLINE, DIAGNOSTICS, STATE, Log, closing

from dbms_bringup import security
from dbms_bringup.graph import graph, programs
from dbms_bringup.plan import make_plan
from dbms_bringup.processes import Job, jobs
from dbms_node import middleware

pytestmark = pytest.mark.slow

OWN = 'battery'
BUTTON = 'emergency_stop/pressed'
IN_THE_CLEAR = {'can_hub', 'sim'}  # the simulator stands for the boards, and has no enclave
PROBE = 'import rclpy; rclpy.init(args=["--ros-args", "--enclave", "/battery/helm"])'


@pytest.fixture(scope='module')
def enforced(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of who has to keep to the policy; its keys are new."""
    keystore = pytest.importorskip(  # with a ROS 2 distribution only
        'sros2.keystore', reason='sros2, which makes the keys, is not here'
    )
    keys = tmp_path_factory.mktemp('keys')
    policy = keys / 'policy.xml'
    policy.write_text(security.policy(OWN), encoding='utf-8')
    keystore.create_keystore(keys)
    for access in (*security.NODES, *security.CALLERS):
        enclave = f'/{OWN}/{access.node}'
        keystore.create_enclave(keys, enclave)
        keystore.create_permission(keys, enclave, policy)
    found = {
        'ROS_SECURITY_KEYSTORE': str(keys),
        'ROS_SECURITY_ENABLE': 'true',
        'ROS_SECURITY_STRATEGY': 'Enforce',
    }
    probe = [sys.executable, '-c', PROBE + '; rclpy.create_node("helm", namespace="battery")']
    done = subprocess.run(probe, env={**os.environ, **found}, capture_output=True, text=True)
    if "doesn't have the security libraries" in done.stderr:
        pytest.skip('this Fast DDS was built without security')
    assert done.returncode == 0, done.stderr
    return found


class Member:
    """A node in an enclave of its own, or in none."""

    def __init__(self, name: str, enforced: dict[str, str] | None = None) -> None:
        self._context = Context()
        words = ['--ros-args', '--enclave', f'/{OWN}/{name}'] if enforced else []
        with pytest.MonkeyPatch.context() as patch:
            for key, value in (enforced or {}).items():
                patch.setenv(key, value)
            middleware.init(args=words, context=self._context)
            self.node = Node(name, namespace=OWN, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass

    def hear(self, kind: type, topic: str, profile: Any) -> Log:
        log = Log()
        self.node.create_subscription(kind, topic, log.add, profile)
        return log

    def ask(self, kind: type, service: str, request: Any) -> Any:
        client = self.node.create_client(kind, service)
        assert client.wait_for_service(DEADLINE), f'{service} was never there'
        answers = Log()
        client.call_async(request).add_done_callback(lambda done: answers.add(done.result()))
        return answers.wait(lambda answer: True, f'an answer of {service}')[1]

    def close(self) -> None:
        self._executor.shutdown()
        self._context.try_shutdown()
        self._thread.join()
        self.node.destroy_node()


@contextmanager
def process(job: Job, enforced: dict[str, str] | None, log: Path) -> Iterator[None]:
    """Run a job, in its enclave unless there is no `enforced`."""
    words = [sys.executable, '-m', 'dbms_bringup.child', str(os.getpid()), job.module]
    words += job.arguments
    if enforced:
        words += ['--enclave', f'/{OWN}/{job.name}']
    with (log / f'{job.name}.log').open('wb') as file:
        child = subprocess.Popen(
            words, env={**os.environ, **(enforced or {})}, stdout=file, stderr=file
        )
        try:
            yield
        finally:
            child.terminate()
            try:
                child.wait(10.0)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@pytest.fixture
def member(
    enforced: dict[str, str], patient: Path, tmp_path: Path
) -> Iterator[Callable[..., Member]]:
    """Run a pack with two guards on the enforcing wire; return what makes a member beside it."""
    words = [str(patient), '--processes', '--standby', '--load', 'constant:-5']
    plan = make_plan(words, terminal=False)
    with ExitStack() as stack:
        for job in jobs(graph(plan.pack, plan.options), programs(plan.options), OWN):
            clear = job.name in IN_THE_CLEAR
            stack.enter_context(process(job, None if clear else enforced, tmp_path))

        def make(name: str, *, secure: bool = True) -> Member:
            return stack.enter_context(closing(Member(name, enforced if secure else None)))

        yield make


def named(state: str) -> Callable[[ProtectionState], bool]:
    return lambda told: told.state_name == state


def test_the_pack_works_for_its_enclaves_and_for_nobody_else(member):
    helm, planner, status = member('helm'), member('planner'), member('status')
    stranger = member('stranger', secure=False)
    states = helm.hear(ProtectionState, 'protection/state', STATE)
    told = status.hear(DiagnosticArray, '/diagnostics', DIAGNOSTICS)
    overheard = stranger.hear(ProtectionState, 'protection/state', STATE)
    connect = stranger.node.create_client(Command, 'connect')
    button = stranger.node.create_publisher(Bool, BUTTON, STATE)

    states.wait(named('STANDBY'), 'STANDBY')
    told.wait(
        lambda one: any(row.message.startswith('stands by') for row in one.status),
        'the second guard hears the first',
    )
    answer = planner.ask(Command, 'connect', Command.Request(origin='test'))
    assert answer.success, answer.message
    states.wait(named('CONNECTED'), 'CONNECTED')

    # Who has no enclave is on the same wire, and presses the button for nobody.
    mark = states.mark
    for _ in range(8):
        button.publish(Bool(data=True))
        states.wait(lambda state: True, 'the next state', states.mark)
    assert all(state.state_name == 'CONNECTED' for state in states.since(mark))
    assert 'sim' in stranger.node.get_node_names(), 'it hears who speaks in the clear'
    assert not overheard.since(0)
    assert not connect.service_is_ready()

    # The same word from an enclave that may say it.
    mark = states.mark
    helm.node.create_publisher(Bool, BUTTON, STATE).publish(Bool(data=True))
    states.wait(lambda state: state.state_name != 'CONNECTED', 'open', mark)


@pytest.mark.parametrize(
    'name, kind, topic_or_service',
    [
        ('planner', Command, 'reset_faults'),
        ('planner', Trigger, 'emergency_stop'),
        ('dock', Command, 'reset_faults'),
        ('status', Command, 'connect'),
        ('emergency_stop', Command, 'connect'),
        ('planner', Limits, 'limits'),
        ('helm', ProtectionState, 'protection/state'),
    ],
)
def test_an_enclave_may_not_do_what_the_policy_does_not_name(
    enforced, name, kind, topic_or_service
):
    with closing(Member(name, enforced)) as who:
        with pytest.raises(Exception, match='failed to create client|Failed to create publisher'):
            if hasattr(kind, 'Request'):
                who.node.create_client(kind, topic_or_service)
            else:
                who.node.create_publisher(kind, topic_or_service, STATE)
