# SPDX-License-Identifier: Apache-2.0
"""The node that records: hears every topic of a battery as serialized bytes."""

import importlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from dbms_msgs.msg import Fault, Faults, ProtectionState
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription

from dbms_node.clocks import steady_now, steady_timer
from dbms_pack import PackError, load_pack

from .carried import FILES, carried
from .qos_text import qos_text, subscription_profile
from .recorder import Recorder
from .schemas import installed
from .segment import Topic

LOOK_PERIOD = 0.25  # s, between looks for new topics
TICK = 0.05  # s
DIAGNOSTICS = '/diagnostics'


class RecordNode(Node):
    """Records the topics of the namespaces named; none named: those of every battery it sees."""

    def __init__(
        self,
        recorder: Recorder,
        namespaces: list[str],
        expected: Mapping[str, tuple[type, QoSProfile]] | None = None,
        **kwargs: Any,
    ) -> None:
        """Listen to the topics `expected` from the start: not even their first message is lost."""
        super().__init__('dbms_record', **kwargs)
        self._recorder: Recorder | None = recorder
        self._namespaces = [f'/{name.strip("/")}' for name in namespaces]
        self._topics: dict[str, Subscription] = {}
        self._refused: set[str] = set()
        self._standing: dict[str, set[tuple[Any, ...]]] = {}  # MSL faults per topic
        self._pack_told = False
        self.messages = 0
        for name, (kind, profile) in (expected or {}).items():
            self._listen(name, kind, [profile])
        self._look()
        steady_timer(self, LOOK_PERIOD, self._look)
        steady_timer(self, TICK, self._tick)

    @property
    def topics(self) -> list[str]:
        """Names of the topics that are recorded."""
        return sorted(self._topics)

    def close(self) -> None:
        """End the recording."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.close()

    def _look(self) -> None:
        """Subscribe to what is new."""
        known = dict(self.get_topic_names_and_types())
        places = self._namespaces or [
            name.removesuffix('/protection/state')
            for name in known
            if name.endswith('/protection/state')
        ]
        for name, types in known.items():
            if name in self._topics or name in self._refused:
                continue
            mine = any(name.startswith(f'{place}/') for place in places)
            # A graph that is just coming up says its drivers' topics before its guard's.
            ours = not self._namespaces and any(one.startswith('dbms_msgs/') for one in types)
            if mine or ours or name == DIAGNOSTICS:
                self._subscribe(name, types)

    def _subscribe(self, name: str, types: list[str]) -> None:
        offered = [info.qos_profile for info in self.get_publishers_info_by_topic(name)]
        if not offered:
            return  # nobody speaks there yet
        try:
            if len(types) > 1:
                raise LookupError(f'it has more than one type: {", ".join(types)}')
            self._listen(name, message_type(types[0]), offered)
        except LookupError as error:
            self._refused.add(name)
            self.get_logger().warning(f'{name} is not recorded: {error}')

    def _listen(self, name: str, kind: Any, offered: list[QoSProfile]) -> None:
        assert self._recorder is not None
        package, group = kind.__module__.split('.')[:2]
        schema = installed(f'{package}/{group}/{kind.__name__}')
        number = self._recorder.writer.add_topic(Topic(name, schema, qos_text(offered[:1])))
        told = {Faults: self._on_faults, ProtectionState: self._on_state}.get(kind)
        self._topics[name] = self.create_subscription(
            kind,
            name,
            # One argument: with the information beside it the EventsExecutor of rclpy 7.1.6 ends.
            partial(self._on_message, name, number, told),
            subscription_profile(offered),
            raw=True,
        )

    def _on_message(
        self,
        name: str,
        number: int,
        also: Callable[[str, bytes, int], None] | None,
        data: bytes,
    ) -> None:
        if self._recorder is None:
            return
        arrived = time.time_ns()
        self._recorder.write(number, arrived, data)
        self.messages += 1
        if also is not None:
            also(name, data, arrived)

    def _on_faults(self, name: str, data: bytes, arrived: int) -> None:
        message = deserialize_message(data, Faults)
        standing = {
            (one.name, one.string_name, one.module, one.cell, one.sensor)
            for one in message.faults
            if one.level == Fault.LEVEL_MSL
        }
        if standing - self._standing.get(name, set()) and self._recorder is not None:
            self._recorder.fault(arrived)
        self._standing[name] = standing

    def _on_state(self, name: str, data: bytes, arrived: int) -> None:
        """Let the bag carry the pack that protection says it guards, if its file is here."""
        if self._recorder is None or self._pack_told:
            return
        told = deserialize_message(data, ProtectionState)
        writer, self._pack_told = self._recorder.writer, bool(told.pack)
        if not told.pack or FILES['pack'] in writer.custom:
            return
        try:
            pack = load_pack(told.pack)
        except PackError:
            pack = None
        if pack is not None and pack.digest.startswith(told.pack_digest):
            writer.tell(carried(pack))
        else:
            self.get_logger().warning(
                f'the file of pack {told.pack} ({told.pack_digest}) is not here: the recording '
                'goes without it; --pack names it'
            )

    def _tick(self) -> None:
        if self._recorder is not None:
            self._recorder.tick(steady_now())


def message_type(name: str) -> Any:
    """Return the class of a message type; LookupError if it is not installed."""
    package, kind, base = name.split('/')
    try:
        return getattr(importlib.import_module(f'{package}.{kind}'), base)
    except (ImportError, AttributeError):
        raise LookupError(f'message type {name} is not installed') from None
