# SPDX-License-Identifier: Apache-2.0
"""Cutting a recording down to what a replay of it needs, in one file."""

from pathlib import Path

from .bags import Bag, BagTopic
from .carried import without
from .decoding import BLEED
from .replay import USED
from .schemas import Schema
from .segment import Segment, Topic

KEPT = (*USED, BLEED)


def trim(source: Path, target: Path, namespace: str) -> int:
    """Copy the topics that a replay of one battery uses into one MCAP; return how many messages.

    The pack file is left out: what is kept as a test is judged by the pack of today.
    Runs of the same recording give the same file: what time it was when it was made stays.
    """
    bag = Bag(source)
    segment = Segment(target, custom=without(bag.custom))
    numbers: dict[BagTopic, int] = {}
    count = 0
    for topic, time, data in bag.messages():
        if topic is None or topic.type not in KEPT or not topic.name.startswith(f'{namespace}/'):
            continue
        if topic not in numbers:
            numbers[topic] = len(numbers) + 1
            schema = Schema(topic.type, topic.definition, topic.digest)
            segment.add_topic(numbers[topic], Topic(topic.name, schema, topic.qos))
        segment.write(numbers[topic], time, time, data)
        count += 1
    segment.close()
    return count
