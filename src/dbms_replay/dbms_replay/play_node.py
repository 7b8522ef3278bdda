# SPDX-License-Identifier: Apache-2.0
"""Node `play`: a bag on its topics, with /clock, at any rate."""

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

from dbms_node import middleware, qos
from dbms_node.clocks import steady_now, steady_timer
from dbms_node.parameters import declare
from dbms_node.runtime import Stop, make_executor, run_nodes
from dbms_pack import PackError

from .bags import Bag, BagError, BagTopic, Topics
from .decoding import Decoders, Refused
from .playback import SECOND, Playback
from .qos_text import kept_for_late
from .record_node import message_type
from .replay import LOOK
from .translating import translator

PERIOD = 0.01  # s of wall time between two looks at what is due
OWN = ('/clock', '/rosout', '/parameter_events')  # not played: this run has its own


class PlayNode(Node):
    """Plays a bag as it was recorded. `paused` and `rate` may be set while it does.

    In a namespace other than the root, the topics of the recorded battery move there.
    """

    FASTEST = 100.0

    def __init__(self, ended: Callable[[], None] = lambda: None, **kwargs: Any) -> None:
        """Open the bag; BagError if there is nothing in it to play. `ended` hears of its end."""
        super().__init__('play', **kwargs)
        self.bag = Path(declare(self, 'bag', '', 'Directory of a bag, or an .mcap file.'))
        self.battery = declare(self, 'battery', '', 'Its namespace, if there are several.')
        rate = declare(
            self, 'rate', 1.0, 'Recorded seconds per second.', minimum=0.01, maximum=self.FASTEST,
            read_only=False,
        )  # fmt: skip
        start = declare(self, 'start', 0.0, 'Where to begin [s].', minimum=0.0, maximum=1e9)
        loop = declare(self, 'loop', False, 'Begin again at the end.')
        paused = declare(self, 'paused', False, 'Time stands.', read_only=False)
        self.messages = 0
        self.ended = ended
        self.problems: Counter[str] = Counter()  # what was not played, or not as it was
        self._versions = Decoders(self.problems)
        self._translators: dict[BagTopic, Callable[[bytes], Any]] = {}
        self._topics: Topics = {}
        self._outlets: dict[BagTopic, Publisher | None] = {}
        self._times = self.create_publisher(Clock, '/clock', qos.MEASUREMENT)
        self.prepare()
        self.playback = Playback(
            self.bag, self.wants, rate=rate, start=start, loop=loop, topics=self._topics
        )
        self.playback.paused = paused
        self._landings = 0
        self._looked = steady_now()
        self.add_on_set_parameters_callback(self._on_parameters)
        steady_timer(self, PERIOD, self._tick)

    # -- what a node that feeds others does in another way ------------------------------------

    def prepare(self) -> None:
        """Offer the topics, so that nobody misses the first messages."""
        for count, (topic, _, _) in enumerate(Bag(self.bag, self._topics).messages()):
            if topic is not None:
                self.wants(topic)
            if count > LOOK:
                return

    def wants(self, topic: BagTopic) -> bool:
        """Tell whether the messages of a topic are played."""
        if topic not in self._outlets:
            self._outlets[topic] = self._outlet(topic)
        return self._outlets[topic] is not None

    def ready(self) -> bool:
        """Tell whether time may pass."""
        return True

    def put(self, topic: BagTopic, data: bytes) -> None:
        """Say a message."""
        publisher = self._outlets[topic]
        if publisher is None:
            return
        try:
            publisher.publish(self.translated(topic, data))
        except Refused as error:
            self.problems[str(error)] += 1

    def translated(self, topic: BagTopic, data: bytes) -> Any:
        """Return a message as it is published here: as its bytes, or made from another version.

        Refused if it cannot be.
        """
        translate = self._translators.get(topic)
        return data if translate is None else translate(data)

    def landed(self) -> None:
        """Begin anew: the clock has jumped."""

    def close(self) -> None:
        """Say what was not played."""
        for what, count in sorted((+self.problems).items()):
            self.get_logger().warning(f'input: {count} {what}')

    # -- inside -------------------------------------------------------------------------------

    def offer(self, topic: BagTopic, name: str, profile: QoSProfile) -> Publisher | None:
        """Make a publisher for the bytes of a topic; None, and a warning, if nobody here could."""
        try:
            kind = message_type(topic.type)
            store, _, is_ours = self._versions.version(topic)
            if store is None:
                raise LookupError('what its bytes mean is not known')
        except LookupError as error:
            self.get_logger().warning(f'{topic.name} is not played: {error}')
            return None
        if not is_ours:
            self._translators[topic] = translator(store, topic.type, kind)
            self.get_logger().warning(
                f'{topic.name} is of another version: played with what both have'
            )
        return self.create_publisher(kind, name, profile)

    def _outlet(self, topic: BagTopic) -> Publisher | None:
        if topic.name in OWN:
            return None
        name, place = topic.name, self.get_namespace().rstrip('/')
        if place:
            recorded = f'/{self.battery.strip("/")}' if self.battery else f'/{name.split("/")[1]}'
            if name.startswith(f'{recorded}/'):
                name = place + name[len(recorded) :]
        profile = qos.STATE if kept_for_late(topic.qos) else qos.MEASUREMENT
        return self.offer(topic, name, profile)

    def _tick(self) -> None:
        now = steady_now()
        elapsed, self._looked = now - self._looked, now
        playback = self.playback
        due = playback.advance(elapsed) if self.ready() else []
        if playback.landings != self._landings:
            self._landings = playback.landings
            self.landed()
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(playback.time, SECOND)
        self._times.publish(message)
        for topic, data in due:
            self.put(topic, data)
        self.messages += len(due)
        if playback.ended:
            self.ended()

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        for one in parameters:
            if one.name == 'paused':
                self.playback.paused = bool(one.value)
            elif one.name == 'rate':
                self.playback.rate = float(one.value)
        return SetParametersResult(successful=True)


def run(factory: Callable[..., Node], args: list[str] | None = None) -> int:
    """Run a node that ends with its bag; 0: played to its end or interrupted, 1: it cannot be."""
    stop = Stop(signal.SIGINT, signal.SIGTERM)
    middleware.init(args=args)
    try:
        run_nodes([factory(ended=stop.set)], make_executor(), stop)
    except (BagError, PackError) as error:
        print(f'play: {error}')
        return 1
    finally:
        rclpy.try_shutdown()
    return 0


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run(PlayNode, args)
