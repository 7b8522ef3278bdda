# SPDX-License-Identifier: Apache-2.0
"""From CAN logs and CSV files to bags, through the driver's own checks.

What the driver would have refused on the bus (wrong CRC, scans that are not whole, repeated
counters) is refused here and counted in the same words.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import can
from builtin_interfaces.msg import Time

from dbms_drivers import codec
from dbms_drivers.assembler import ModuleAssembler, ModuleScan
from dbms_drivers.conversions import module_cells, string_measurement
from dbms_drivers.decoder import BusDecoder
from dbms_drivers.statistics import BusStatistics, Statistics
from dbms_drivers.strings import StringTracker
from dbms_pack import Pack

from .carried import carried
from .cdr import serialize
from .decoding import CELLS, STRING
from .schemas import installed
from .segment import Segment, Topic

NAMESPACE = '/battery'
STEP = 0.01  # s, in which the simulated wire of a CSV file goes on
EPOCH = 1_000_000_000  # s: a CSV file says no date, and 0 would read as "no stamp"


class ConvertError(ValueError):
    """An input that cannot be converted, and why."""


class Converter:
    """Decodes the frames of a pack and writes what the driver would have published."""

    def __init__(self, pack: Pack, target: Path, time_scale: float = 1.0) -> None:
        target.unlink(missing_ok=True)
        custom = {**carried(pack), 'dbms_time_scale': f'{time_scale:g}'}
        self._segment = Segment(target, custom=custom)
        self._assemblers = [ModuleAssembler(module) for module in pack.modules]
        self._trackers = [StringTracker(string) for string in pack.strings]
        self._decoders = {
            name: BusDecoder(name, self._assemblers, self._trackers) for name in pack.buses
        }
        self._numbers: dict[str, int] = {}
        self._sequences = dict.fromkeys((string.name for string in pack.strings), 0)
        self.messages = 0
        for module in pack.modules:
            self._add(f'modules/{module.name}/cells', CELLS)
        for string in pack.strings:
            self._add(f'strings/{string.name}/measurement', STRING)

    def feed(self, bus: str, message: can.Message) -> None:
        """Take a frame of a bus; its timestamp is in s."""
        now = message.timestamp
        output = self._decoders[bus].feed_message(message, now)
        if output is None:
            return
        sec, nanosec = divmod(round(now * 1e9), 1_000_000_000)
        stamp = Time(sec=sec, nanosec=nanosec)
        if isinstance(output, ModuleScan):
            self._put(f'modules/{output.module}/cells', module_cells(output, stamp), now)
            return
        name = output.string.name
        self._sequences[name] = sequence = (self._sequences[name] + 1) & 0xFFFFFFFF
        told = string_measurement(output.compose(now), sequence, stamp)
        self._put(f'strings/{name}/measurement', told, now)

    def close(self) -> Counter[str]:
        """End the bag; return what was refused or lost, by the driver's names."""
        self._segment.close()
        refused: Counter[str] = Counter()
        for decoder in self._decoders.values():
            heard: list[BusStatistics | Statistics] = [decoder.statistics, *decoder.sources]
            for statistics in heard:
                for name, count in asdict(statistics).items():
                    if isinstance(count, int) and name not in ('frames', 'accepted', 'scans'):
                        refused[name] += count
        return +refused

    def _add(self, name: str, kind: str) -> None:
        number = self._numbers[name] = len(self._numbers) + 1
        self._segment.add_topic(number, Topic(f'{NAMESPACE}/{name}', installed(kind)))

    def _put(self, name: str, message: Any, now: float) -> None:
        time = round(now * 1e9)
        self._segment.write(self._numbers[name], time, time, serialize(message))
        self.messages += 1


def play(pack: Pack, path: Path, time_scale: float) -> Iterable[tuple[str, can.Message]]:
    """Put a CSV file on a simulated wire; yield its frames. ConvertError if it does not fit."""
    from dbms_sim.feeds import RecordingFeed
    from dbms_sim.playback import RecordingError, read_recording
    from dbms_sim.wire import Frame
    from dbms_sim.world import World

    try:
        feed = RecordingFeed(read_recording(path, pack), pack)
    except (RecordingError, OSError) as error:
        raise ConvertError(str(error)) from None
    world = World(pack, feed, time_scale=time_scale)
    closing = ((True, False, False), (True, True, False), (True, True, True), (True, False, True))
    count = 0
    while not feed.ended:
        now = EPOCH + count * STEP
        for string in pack.strings:
            unit = string.contactors
            # The recording runs while its contactors are closed: each step of it for 0.2 s.
            contacts = closing[min(count // 20, len(closing) - 1)]
            if count % 5 == 0:
                turn = count // 5
                frame = codec.encode_contactor_command(
                    unit.address, turn & 0xF, contacts, unit.lease, turn & 0xFFFF
                )
                world.receive(Frame(unit.bus, *frame), now)
        for one in world.step(now):
            yield (
                one.bus,
                can.Message(
                    timestamp=now, arbitration_id=one.can_id, data=one.data, is_extended_id=False
                ),
            )
        count += 1
