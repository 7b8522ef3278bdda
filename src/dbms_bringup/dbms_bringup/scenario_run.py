# SPDX-License-Identifier: Apache-2.0
"""One run of a scenario in this process: the real graph over the real wire protocol.

    python -m dbms_bringup.scenario_run FILE DIRECTORY [--control]

Writes verdicts.json, samples.csv and events.csv into the directory.
"""

import json
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import rclpy

from dbms_node import middleware
from dbms_node.clocks import steady_now
from dbms_node.runtime import SWITCH_INTERVAL, close_node
from dbms_sim.current_sensor import SensorQuality
from dbms_sim.scenario import Action, Scenario, load_scenario
from dbms_sim.scenario_words import Condition

from .graph import Options, graph
from .one_process import Spinner, make_nodes
from .scenario_actions import act, prepare, put_load
from .scenario_node import ScenarioNode, read_truth
from .scenario_record import Recorder
from .verdicts import Judge, Verdict, View, what_is

NAMESPACE = 'scenario'
READY_WITHIN = 30.0  # s, for the graph to start and to connect
TICK = 0.02  # s, between looks at the truth
# A machine that gives a run no time for so long, of half a second, is what leases are made to
# notice. What then fails is not judged: the run is made again, and that is said.
STARVATION_SPAN, STARVED = 0.5, 0.1  # s


class Starvation:
    """Finds when a process got too little time from the machine. Times in s."""

    def __init__(self) -> None:
        self.most = 0.0  # within STARVATION_SPAN
        self._last: tuple[float, float] | None = None
        self._late: deque[tuple[float, float]] = deque()

    def look(self, now: float, used: float, slept: float) -> None:
        """Look at `now`, with `used` s of processor so far, after `slept` s were asked for.

        What was neither slept nor used was not given. A thread that holds all others up uses it.
        """
        if self._last is not None:
            late = now - self._last[0] - slept - (used - self._last[1])
            self._late.append((now, max(late, 0.0)))
            while now - self._late[0][0] > STARVATION_SPAN:
                self._late.popleft()
            self.most = max(self.most, sum(late for _, late in self._late))
        self._last = now, used


class NotReady(Exception):
    """The graph did not come up, or did not connect; nothing was judged."""


class ScenarioRun:
    """Starts the graph, goes through the timeline, judges, ends the graph."""

    def __init__(self, scenario: Scenario, directory: Path, control: bool = False) -> None:
        """Run a scenario; as a control without its faults, and until an expectation fails."""
        self._control = control
        self._scenario = scenario
        self._view = View(scenario.pack)
        self._changed = threading.Condition()  # of the view; also keeps judge and view together
        self._start = math.inf  # s, steady time of the scenario's zero
        self._failure = ''
        self.problem = ''  # why it did not begin
        self._judge = Judge(scenario.expectations, self._view)
        self._recorder = Recorder(directory, scenario)
        self._actions = [
            action
            for action in scenario.actions
            if not (control and action.kind in ('inject', 'clear'))
        ]
        self._sim: Any = None
        self._node: ScenarioNode
        self._starvation = Starvation()

    @property
    def starved(self) -> float:
        """For how many s of half a second at most the machine gave this process no time."""
        return self._starvation.most

    def run(self) -> list[Verdict]:
        """Run it; return all verdicts in the order in which they fell."""
        middleware.init(args=[])
        spinner = None
        try:
            nodes = self._make_nodes()
            spinner = Spinner(nodes, self._on_failure)
            spinner.start()
            self._connect()
            self._follow()
        except NotReady as error:
            self.problem = str(error)
            self._judge.end(0.0, self.problem)
        finally:
            if spinner is not None:
                spinner.stop()
            self._recorder.close()
            rclpy.try_shutdown()
        return self._judge.verdicts

    def _make_nodes(self) -> list[Any]:
        scenario = self._scenario
        options = Options(
            simulate=True,
            bus_interface='virtual',
            initial_soc=scenario.initial_soc,
            time_scale=scenario.time_scale,
            extra={'sim': {'seed': scenario.seed, **_sensors(scenario.current_sensor)}},
        )
        nodes = make_nodes(graph(scenario.pack, options), NAMESPACE)
        try:
            self._sim = next(node for node in nodes if node.get_name() == 'sim')
            self._sim.with_world(lambda world: prepare(world, scenario))
            self._node = ScenarioNode(self._view, self._on_change, namespace=NAMESPACE)
        except BaseException:
            for node in reversed(nodes):
                close_node(node)
            raise
        return [*nodes, self._node]

    def _now(self) -> float:
        """Return the time of the scenario in s of battery time; below 0: not begun."""
        return (steady_now() - self._start) * self._scenario.time_scale

    def _on_change(self) -> None:
        with self._changed:
            self._look()
            self._changed.notify()

    def _on_failure(self, error: BaseException) -> None:
        with self._changed:
            self._failure = f'the graph failed: {error!r}'
            self._changed.notify()

    def _look(self) -> None:
        now = self._now()
        if now >= 0.0:
            self._judge.look(now)
            self._recorder.changes(now, self._view)

    def _wait_for(self, true: Callable[[], bool], deadline: float) -> bool:
        with self._changed:
            while not self._failure:
                if true():
                    return True
                left = deadline - steady_now()
                if left <= 0.0:
                    return False
                self._changed.wait(min(left, 0.1))
        return False

    def _connect(self) -> None:
        deadline = steady_now() + READY_WITHIN
        if not self._wait_for(lambda: self._node.ready, deadline):
            raise NotReady(self._failure or f'not ready: state {self._view.state or "unknown"}')
        while self._scenario.connected and not self._all_connected():
            # A machine that is busy elsewhere may miss a lease here: that is not what is judged.
            for kind in ('reset', 'connect'):
                self._node.command(kind)
                if not self._wait_for(lambda: self._view.answer != '', deadline):
                    raise NotReady(self._failure or f'{kind} was not answered')
            self._wait_for(lambda: self._view.state == 'CONNECTING', steady_now() + 0.5)
            self._wait_for(lambda: self._view.state != 'CONNECTING', deadline)
            if self._failure or steady_now() >= deadline:
                raise NotReady(self._failure or what_is(Condition('string_state'), self._view))

    def _all_connected(self) -> bool:
        strings = self._view.strings
        return bool(strings) and all(state == 'CONNECTED' for state, _ in strings.values())

    def _follow(self) -> None:
        """Go through the timeline; the executor's thread judges what the topics tell meanwhile."""
        self._starvation.look(steady_now(), time.process_time(), 0.0)
        # Cells have warmed or cooled while the graph came up, at a high time scale a lot.
        self._sim.with_world(lambda world: prepare(world, self._scenario))
        self._sim.with_world(lambda world: put_load(world, self._scenario.load))
        self._sim.with_world(lambda world: read_truth(world, self._view))
        with self._changed:
            self._start = steady_now()
        while not self._failure:
            now = self._now()
            while self._actions and self._actions[0].at <= now:
                self._act(self._actions.pop(0))
            self._sim.with_world(lambda world: read_truth(world, self._view))
            with self._changed:
                now = self._now()
                self._recorder.sample(now, self._view)
                self._look()
            if now >= self._scenario.duration and self._judge.done:
                return
            failed = not all(one.passed for one in self._judge.verdicts)
            if failed and (self._control or self.starved >= STARVED):
                return  # it is decided, or to be run again
            slept = self._pause(now)
            self._starvation.look(steady_now(), time.process_time(), slept)
        self._judge.end(self._now(), self._failure)

    def _pause(self, now: float) -> float:
        next_action = self._actions[0].at if self._actions else math.inf
        due = min(next_action, self._judge.due()) - now
        left = min(max(due / self._scenario.time_scale, 0.0), TICK)
        threading.Event().wait(left or 0.001)
        return left

    def _act(self, action: Action) -> None:
        self._recorder.note(self._now(), 'action', str(action))
        act(action, self._sim, self._node)


def _sensors(quality: SensorQuality) -> dict[str, float]:
    return {
        'current_offset': float(quality.offset),
        'current_gain': float(quality.gain),
        'current_noise': float(quality.noise),
        'current_range': float(quality.range or 0.0),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one scenario; 0: all as expected, 1: not."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    path, directory, control = Path(words[0]), Path(words[1]), '--control' in words[2:]
    sys.setswitchinterval(SWITCH_INTERVAL)
    with suppress(OSError, AttributeError):  # as a controller would have it; not everybody may
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    scenario = load_scenario(path)
    run = ScenarioRun(scenario, directory, control)
    verdicts = run.run()
    content = {
        'scenario': scenario.name,
        'purpose': scenario.purpose,
        'began': not run.problem,
        'problem': run.problem,
        'starved': round(run.starved, 3) if run.starved >= STARVED else 0.0,
        'passed': all(verdict.passed for verdict in verdicts),
        'verdicts': [vars(verdict) for verdict in verdicts],
    }
    (directory / 'verdicts.json').write_text(json.dumps(content, indent=2) + '\n', 'utf-8')
    return 0 if content['passed'] else 1


if __name__ == '__main__':
    sys.exit(main())
