# SPDX-License-Identifier: Apache-2.0
"""The launch files under the real launch_ros; left out, saying so, where there is none."""

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault('ROS_DOMAIN_ID', str(20 + os.getpid() % 80))
pytest.importorskip('launch', reason='there is no launch here')
pytest.importorskip('launch_ros', reason='there is no launch_ros here')

from launch import LaunchContext, LaunchDescription  # noqa: E402
from launch.actions import (  # noqa: E402
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.launch_description_sources import (  # noqa: E402
    get_launch_description_from_python_launch_file,
)
from launch_ros.actions import LifecycleNode, Node  # noqa: E402

from dbms_bringup.graph import Options, graph  # noqa: E402
from dbms_pack import load_pack  # noqa: E402
from dbms_replay.bags import Bag  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / 'launch'
GOLDEN = ROOT / 'tests' / 'replay' / 'golden' / 'cell_overvoltage.mcap'
DEADLINE = 60.0  # s; nothing takes nearly as long
RUN = Path(__file__).with_name('run_launch.py')


def described(name: str) -> LaunchDescription:
    return get_launch_description_from_python_launch_file(str(LAUNCH / name))


def arguments_of(description: LaunchDescription) -> set[str]:
    return {one.name for one in description.entities if isinstance(one, DeclareLaunchArgument)}


def actions_of(name: str, **given: str) -> list[Any]:
    """Return the actions that a launch file comes to with these arguments."""
    description = described(name)
    context = LaunchContext()
    context.launch_configurations.update(given)
    actions: list[Any] = []
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.execute(context)
        elif isinstance(entity, OpaqueFunction):
            actions += entity.execute(context) or []
    return actions


def processes_of(actions: list[Any]) -> list[Any]:
    return [one for one in actions if isinstance(one, ExecuteProcess)]


def node_names(actions: list[Any]) -> list[str]:
    nodes = [one for one in actions if isinstance(one, Node)]
    return [node._Node__node_name for node in nodes]  # expanded only when it is executed


def test_pack_has_the_nodes_of_the_graph():
    pack = load_pack('marine_2x16s')
    actions = actions_of('pack.launch.py', pack='marine_2x16s')
    assert node_names(actions) == [node.name for node in graph(pack, Options())]
    lifecycle = [one for one in actions if isinstance(one, LifecycleNode)]
    assert node_names(lifecycle) == ['protection']
    assert len(processes_of(actions)) == 3  # nothing that is virtual


def test_secure_nodes_are_in_their_enclaves_and_launch_makes_no_node_of_its_own(monkeypatch):
    monkeypatch.setenv('ROS_SECURITY_ENABLE', 'true')
    actions = actions_of('pack.launch.py', namespace='aft/battery', standby='true')
    assert not [one for one in actions if isinstance(one, LifecycleNode)]
    nodes = [one for one in actions if isinstance(one, Node)]
    given = [node._Node__ros_arguments for node in nodes]
    assert [words[words.index('--enclave') + 1] for words in given] == [
        f'/aft/battery/{name}' for name in node_names(actions)
    ]


def test_simulated_has_hub_and_boards_too():
    actions = actions_of('pack.launch.py', simulate='true', boards='m2')
    assert node_names(actions) == ['sim', 'sim_m2', 'driver', 'estimation', 'protection']
    assert len(processes_of(actions)) == 6


def test_sim_has_no_part_of_the_controller():
    actions = actions_of('sim.launch.py', pack='leaf_module')
    assert node_names(actions) == ['sim']
    assert len(processes_of(actions)) == 2


def test_what_contradicts_the_pack_is_refused():
    with pytest.raises(ValueError, match='no module m9'):
        actions_of('pack.launch.py', simulate='true', boards='m9')
    with pytest.raises(ValueError, match='simulation only'):
        actions_of('pack.launch.py', time_scale='10')


def test_replay_has_no_driver_and_runs_on_the_time_of_the_bag():
    actions = actions_of('replay.launch.py', bag=str(GOLDEN))
    assert node_names(actions) == ['estimation', 'protection', 'play']
    assert len(processes_of(actions)) == 3


def test_a_recorder_runs_beside_the_graph_where_it_is_asked_for(tmp_path):
    assert len(processes_of(actions_of('pack.launch.py', record=str(tmp_path)))) == 4
    words = ['simulate:=true', f'record:={tmp_path}', 'namespace:=launched_recorded']
    with launched('pack.launch.py', *words) as run:
        pid = int(run.wait(r'\[record-\d+\]: process started with pid \[(\d+)\]')[1])
        end = time.monotonic() + DEADLINE
        while '/launched_recorded/protection/state' not in recorded(tmp_path):
            assert time.monotonic() < end and run.process.poll() is None
            time.sleep(0.1)
        os.kill(pid, signal.SIGTERM)
        run.wait(r'\d+ messages of \d+ topics')
        run.wait('record has ended')
        assert run.process.poll() is None  # the battery goes on
    (bag,) = tmp_path.iterdir()
    recording = Bag(bag)
    assert len(list(recording.messages())) > 10 and not recording.problems


def recorded(folder: Path) -> set[str]:
    """Return the topics in the bags of a folder, also while they are written."""
    return {
        topic.name
        for bag in folder.iterdir()
        if list(bag.glob('*.mcap'))
        for topic, _, _ in Bag(bag).messages()
        if topic is not None
    }


def test_a_bag_is_replayed_to_its_end_and_ends_all():
    with launched('replay.launch.py', f'bag:={GOLDEN}', 'namespace:=launched_replay') as run:
        run.wait('protection.*replayed time begins: guarding begins anew')
        run.wait('string a: CONNECTED')
        run.wait('CELL_OVERVOLTAGE MSL at module m1 cell 3')
        run.process.wait(DEADLINE)


@pytest.mark.parametrize('name', ['pack.launch.py', 'sim.launch.py'])
def test_every_argument_is_declared_and_has_a_default(name):
    declared = [one for one in described(name).entities if isinstance(one, DeclareLaunchArgument)]
    assert {'pack', 'namespace', 'log_level'} <= arguments_of(described(name))
    assert all(one.default_value is not None for one in declared)


def test_pack_takes_what_users_of_launch_files_expect():
    expected = {
        'use_sim_time',
        'respawn',
        'simulate',
        'play',
        'time_scale',
        'transitions',
        'record',
    }
    assert expected <= arguments_of(described('pack.launch.py'))


def test_discovery_stays_on_this_machine_unless_the_user_chose(monkeypatch):
    for name in ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_LOCALHOST_ONLY'):
        monkeypatch.delenv(name, raising=False)
    first = described('pack.launch.py').entities[0]
    assert isinstance(first, SetEnvironmentVariable)
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET')
    entities = described('pack.launch.py').entities
    assert not any(isinstance(one, SetEnvironmentVariable) for one in entities)


class Launched:
    """A launch file that runs in a process of its own."""

    def __init__(self, name: str, *words: str) -> None:
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [sys.executable, str(RUN), str(LAUNCH / name), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def wait(self, pattern: str) -> re.Match[str]:
        """Return the next line that matches."""
        end = time.monotonic() + DEADLINE
        seen = []
        while True:
            try:
                seen.append(self._lines.get(timeout=max(0.0, end - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f'no line with {pattern}:\n{"".join(seen)}') from None
            if match := re.search(pattern, seen[-1]):
                return match


@contextlib.contextmanager
def launched(name: str, *words: str) -> Iterator[Launched]:
    run = Launched(name, *words)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.process.send_signal(signal.SIGINT)
        try:
            run.process.wait(DEADLINE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.process.pid, signal.SIGKILL)
            run._reader.join()


@pytest.mark.parametrize('transitions', ['auto', 'launch'])
def test_protection_gets_active_and_gets_active_again_after_kill(transitions):
    words = ['simulate:=true', f'transitions:={transitions}', 'namespace:=launched']
    with launched('pack.launch.py', *words) as run:
        pid = int(run.wait(r'\[protection-\d+\]: process started with pid \[(\d+)\]')[1])
        run.wait('active: guarding')
        os.kill(pid, signal.SIGKILL)
        again = int(run.wait(r'\[protection-\d+\]: process started with pid \[(\d+)\]')[1])
        assert again != pid
        run.wait('active: guarding')
    assert run.process.returncode == 0


def test_without_respawn_the_end_of_the_driver_ends_all():
    with launched('pack.launch.py', 'simulate:=true', 'respawn:=false') as run:
        pid = int(run.wait(r'\[driver-\d+\]: process started with pid \[(\d+)\]')[1])
        run.wait('active: guarding')
        os.kill(pid, signal.SIGKILL)
        run.process.wait(DEADLINE)
