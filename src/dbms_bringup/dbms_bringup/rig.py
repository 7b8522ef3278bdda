# SPDX-License-Identifier: Apache-2.0
"""A running graph in either form, with the node that follows it."""

import functools
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import rclpy
from rclpy.node import Node

from dbms_node import middleware
from dbms_node.runtime import SWITCH_INTERVAL

from .graph import graph, programs
from .observer_node import ObserverNode
from .one_process import Spinner, make_nodes
from .plan import Plan
from .processes import Supervisor, jobs
from .story import Story


class Rig:
    """Makes the graph of a plan and its observer run, and ends them.

    `tell` gets lines, `finished` the reason why the run has reached its end, `failed` why the
    graph cannot go on. They are called from other threads.
    """

    def __init__(
        self,
        plan: Plan,
        log: Path,
        tell: Callable[[str], None],
        finished: Callable[[str], None],
        failed: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._log = log
        self._tell = tell
        self._finished = finished
        self._failed = failed
        self._supervisor: Supervisor | None = None
        self._spinner: Spinner | None = None
        self._stopping = threading.Lock()
        self.observer: ObserverNode
        self.story = Story(tell, plan.options.time_scale)

    def start(self) -> None:
        """Start everything; ValueError if a node refuses what it is told."""
        sys.setswitchinterval(SWITCH_INTERVAL)  # see dbms_node.runtime
        middleware.init(args=[])
        plan = self._plan
        specs = graph(plan.pack, plan.options)
        nodes: list[Node] = []
        position: Callable[[], float] | None = None
        if plan.processes:
            self._supervisor = Supervisor(
                jobs(specs, programs(plan.options), plan.namespace),
                self._log, self._note, self._failed,
            )  # fmt: skip
            self._supervisor.start()
        else:
            nodes = make_nodes(specs, plan.namespace)
            position = _position_of(nodes)
        self.observer = ObserverNode(
            plan.pack,
            self.story,
            connect=plan.connect,
            played=bool(plan.options.play),
            finished=self._finished,
            time_scale=plan.options.time_scale,
            position=position,
            namespace=plan.namespace,
        )
        self._spinner = Spinner([*nodes, self.observer], lambda error: self._failed(repr(error)))
        self._spinner.start()

    def pids(self) -> dict[str, int]:
        """Return the process of each job in the many-process form."""
        return {} if self._supervisor is None else self._supervisor.pids()

    def stop(self) -> None:
        """End everything; may be called more than once."""
        with self._stopping:
            supervisor, self._supervisor = self._supervisor, None
            spinner, self._spinner = self._spinner, None
            if supervisor is not None:
                supervisor.stop()
            if spinner is not None:
                spinner.stop()
            rclpy.try_shutdown()

    def _note(self, text: str) -> None:
        self._tell(text if self._spinner is None else f'{self.observer.now}  {text}')


def _position_of(nodes: Sequence[Node]) -> Callable[[], float] | None:
    """Return what tells the battery time of the simulator among the nodes, if there is one."""
    for node in nodes:
        if node.get_name() == 'sim':
            return functools.partial(getattr, node, 'position')
    return None
