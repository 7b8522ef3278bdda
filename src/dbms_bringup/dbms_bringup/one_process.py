# SPDX-License-Identifier: Apache-2.0
"""The graph in one process: all nodes in one executor, in one thread."""

import importlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

from dbms_node.runtime import close_node, make_executor, run_nodes

from .graph import NodeSpec


def make_nodes(specs: Sequence[NodeSpec], namespace: str) -> list[Node]:
    """Make the nodes in this process; if one cannot be made, the others are closed again."""
    made: list[Node] = []
    try:
        for spec in specs:
            made.append(make_node(spec, namespace))
    except BaseException:
        for node in reversed(made):
            close_node(node)
        raise
    return made


def make_node(spec: NodeSpec, namespace: str) -> Any:
    """Make one node of the graph."""
    factory = getattr(importlib.import_module(spec.module), spec.class_name)
    overrides = [Parameter(name, value=value) for name, value in spec.parameters.items()]
    return factory(namespace=namespace, parameter_overrides=overrides)


class Spinner:
    """Runs nodes of one context in a thread of its own, and closes them, last made first."""

    def __init__(self, nodes: Sequence[Node], on_failure: Callable[[BaseException], None]) -> None:
        self._nodes = nodes
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name='executor')

    def start(self) -> None:
        """Begin to spin."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the nodes are closed when this returns."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            run_nodes(self._nodes, make_executor(self._nodes[0].context), self._stop)
        except BaseException as error:
            self._on_failure(error)
