# SPDX-License-Identifier: Apache-2.0
"""The security policy on a wire that enforces it: who has no enclave or the wrong one is nobody.

Needs sros2 for the keys, and a middleware built with security; skips where one is missing.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from dbms_msgs.msg import Limits, ProtectionState
from dbms_msgs.srv import Command
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from system_rig import DEADLINE, DIAGNOSTICS, STATE, Ears, closing

from dbms_bringup import security
from dbms_bringup.graph import graph, programs
from dbms_bringup.plan import Plan, make_plan
from dbms_bringup.processes import jobs
from dbms_node import middleware

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
OWN = 'battery'
BUTTON = 'emergency_stop/pressed'
IN_THE_CLEAR = {'can_hub', 'sim'}  # the simulator stands for the boards, and has no enclave
PROBE = """
import rclpy
rclpy.init(args=['--ros-args', '--enclave', '/battery/helm'])
rclpy.create_node('helm', namespace='battery')
"""
TOPICS = {
    'helm': {'state': (ProtectionState, 'protection/state', STATE)},
    'stranger': {'state': (ProtectionState, 'protection/state', STATE)},
    'status': {'diagnostics': (DiagnosticArray, '/diagnostics', DIAGNOSTICS)},
}


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
        enclave = security.enclave_of(access.node, OWN)
        keystore.create_enclave(keys, enclave)
        keystore.create_permission(keys, enclave, policy)
    found = {
        'ROS_SECURITY_KEYSTORE': str(keys),
        'ROS_SECURITY_ENABLE': 'true',
        'ROS_SECURITY_STRATEGY': 'Enforce',
    }
    done = subprocess.run(
        [sys.executable, '-c', PROBE],
        env={**os.environ, **found}, capture_output=True, text=True,
    )  # fmt: skip
    if "doesn't have the security libraries" in done.stderr:
        pytest.skip('this Fast DDS was built without security')
    assert done.returncode == 0, done.stderr
    return found


@contextmanager
def entered(name: str, enforced: dict[str, str] | None) -> Iterator[Ears]:
    """Run a node in its enclave, or in none unless there is something `enforced`."""
    context = Context()
    words = ['--ros-args', '--enclave', security.enclave_of(name, OWN)] if enforced else []
    with pytest.MonkeyPatch.context() as patch:
        for key, value in (enforced or {}).items():
            patch.setenv(key, value)
        middleware.init(args=words, context=context)
    try:
        with closing(Ears(OWN, name=name, context=context, **TOPICS.get(name, {}))) as ears:
            yield ears
    finally:
        context.try_shutdown()


@contextmanager
def running(words: list[str], enforced: dict[str, str] | None, log: Path) -> Iterator[None]:
    """Run a process, kept to the policy unless there is no `enforced`."""
    with log.open('wb') as file:
        child = subprocess.Popen(
            words,
            env={**os.environ, **(enforced or {})},
            stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
        try:
            yield
        finally:
            os.killpg(child.pid, signal.SIGINT)  # as Ctrl-C: to launch and all that it started
            try:
                child.wait(DEADLINE)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)


def launched(plan: Plan) -> list[str]:
    """Return the words that launch the nodes of the pack on the hub of a plan."""
    pytest.importorskip('launch_ros', reason='there is no launch_ros here')
    options = plan.options
    return [
        sys.executable, str(ROOT / 'tests' / 'launch' / 'run_launch.py'),
        str(ROOT / 'launch' / 'pack.launch.py'), f'pack:={plan.pack.path}',
        f'namespace:={OWN}', 'standby:=true', 'bus_interface:=socketcand',
        f'bus_host:={options.bus_host}', f'bus_port:={options.bus_port}',
    ]  # fmt: skip


@pytest.fixture(params=['processes', 'launch'])
def member(
    request: pytest.FixtureRequest,
    enforced: dict[str, str],
    patient: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Ears]]:
    """Run a pack with two guards on the enforcing wire; return what makes a member beside it."""
    words = [str(patient), '--processes', '--standby', '--load', 'constant:-5']
    plan = make_plan(words, terminal=False)
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path))  # the button pressed is a fault that stays
    with ExitStack() as stack:
        for job in jobs(graph(plan.pack, plan.options), programs(plan.options), OWN):
            log = tmp_path / f'{job.name}.log'
            if job.name in IN_THE_CLEAR:
                stack.enter_context(running(job.command(), None, log))
            elif request.param == 'processes':
                enclave = ['--enclave', security.enclave_of(job.name, OWN)]
                stack.enter_context(running(job.command() + enclave, enforced, log))
        if request.param == 'launch':
            log = tmp_path / 'launch.log'
            stack.enter_context(running(launched(plan), enforced, log))

        def make(name: str, *, secure: bool = True) -> Ears:
            return stack.enter_context(entered(name, enforced if secure else None))

        yield make


def named(state: str) -> Callable[[ProtectionState], bool]:
    return lambda told: told.state_name == state


def test_the_pack_works_for_its_enclaves_and_for_nobody_else(member):
    helm, planner, status = member('helm'), member('planner'), member('status')
    stranger = member('stranger', secure=False)
    states = helm.logs['state']
    connect = stranger.node.create_client(Command, 'connect')
    button = stranger.node.create_publisher(Bool, BUTTON, STATE)

    states.wait(named('STANDBY'), 'STANDBY')
    status.logs['diagnostics'].wait(
        lambda one: any(row.message.startswith('stands by') for row in one.status),
        'the second guard hears the first',
    )
    answer = planner.call(Command, 'connect', Command.Request(origin='test'))
    assert answer.success, answer.message
    states.wait(named('CONNECTED'), 'CONNECTED')

    # Who has no enclave is on the same wire, and presses the button for nobody.
    mark = states.mark
    for _ in range(8):
        button.publish(Bool(data=True))
        states.wait(lambda state: True, 'the next state', states.mark)
    assert all(state.state_name == 'CONNECTED' for state in states.since(mark))
    assert 'sim' in stranger.node.get_node_names(), 'it hears who speaks in the clear'
    assert not stranger.logs['state'].since(0)
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
    with entered(name, enforced) as who:
        with pytest.raises(Exception, match='failed to create client|Failed to create publisher'):
            if hasattr(kind, 'Request'):
                who.node.create_client(kind, topic_or_service)
            else:
                who.node.create_publisher(kind, topic_or_service, STATE)
