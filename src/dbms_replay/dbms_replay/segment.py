# SPDX-License-Identifier: Apache-2.0
"""One MCAP file, written in chunks that are on disk when the caller says so.

The writer of the library `mcap` ends a chunk by its size alone, and what is in an unfinished
chunk is lost with the process. Here the caller ends it, by time. The records are the library's.
"""

import struct
import zlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    Chunk,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    MessageIndex,
    Metadata,
    Statistics,
    SummaryOffset,
)
from mcap.records import Schema as SchemaRecord

from .schemas import Schema

MAGIC = b'\x89MCAP0\r\n'
CUSTOM = 'dbms'  # name of the metadata record in a file of its own
CHUNK_SIZE = 1 << 20  # bytes, after which a chunk is ended anyway
_MESSAGE = struct.Struct('<BQHIQQ')  # opcode, length, channel, sequence, log and publish time
_IN_MESSAGE = 22  # bytes of that which count for the length


@dataclass(frozen=True)
class Topic:
    """What a bag knows of a topic."""

    name: str
    schema: Schema
    qos: str = ''  # YAML, as rosbag2 has it


class Segment:
    """Writes one file. Times are in ns; `size` is what is on disk."""

    def __init__(
        self, path: Path, *, compress: bool = True, custom: Mapping[str, str] | None = None
    ) -> None:
        """Begin a file; `custom` is for one that is not part of a bag with metadata.yaml."""
        self.path = path
        self.size = 0
        self.start, self.end = 0, 0  # ns, of its messages
        self.counts: dict[int, int] = defaultdict(int)
        self._file = path.open('xb', buffering=0)
        self._compressor = zstandard.ZstdCompressor(level=3) if compress else None
        self._schemas: dict[str, SchemaRecord] = {}
        self._channels: dict[int, Channel] = {}
        self._indexes: list[ChunkIndex] = []
        self._chunk = bytearray()
        self._entries: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._put(MAGIC + _encoded(Header('ros2', 'dbms')))
        self._metadata = bool(custom) * 1
        if custom:
            self._put(_encoded(Metadata(CUSTOM, dict(custom))))

    @property
    def messages(self) -> int:
        """How many messages were written."""
        return sum(self.counts.values())

    def add_topic(self, number: int, topic: Topic) -> None:
        """Make a topic known under a number that messages name it by."""
        schema = self._schemas.get(topic.schema.name)
        if schema is None:
            schema = SchemaRecord(
                id=len(self._schemas) + 1,
                name=topic.schema.name,
                encoding='ros2msg',
                data=topic.schema.definition.encode(),
            )
            self._schemas[topic.schema.name] = schema
            self._chunk += _encoded(schema)
        channel = Channel(number, topic.name, 'cdr', _metadata(topic), schema.id)
        self._channels[number] = channel
        self._chunk += _encoded(channel)

    def write(self, number: int, log_time: int, publish_time: int, data: bytes) -> None:
        """Add a message to the open chunk."""
        self._entries[number].append((log_time, len(self._chunk)))
        sequence = self.counts[number]
        self.counts[number] = sequence + 1
        self._chunk += _MESSAGE.pack(
            0x05, _IN_MESSAGE + len(data), number, sequence & 0xFFFFFFFF, log_time, publish_time
        )
        self._chunk += data
        if len(self._chunk) >= CHUNK_SIZE:
            self.flush()

    def flush(self) -> None:
        """End the open chunk and hand it to the operating system."""
        if not self._chunk:
            return
        times = [time for entries in self._entries.values() for time, _ in entries]
        first, last = (min(times), max(times)) if times else (0, 0)
        if times:
            self.start = min(self.start, first) if self._seen else first
            self.end = max(self.end, last)
        content = bytes(self._chunk)
        packed = self._compressor.compress(content) if self._compressor else content
        name = 'zstd' if self._compressor else ''
        chunk = Chunk(name, packed, last, first, zlib.crc32(content), len(content))
        encoded, offset = bytearray(_encoded(chunk)), self.size
        length, offsets = len(encoded), {}
        for number, entries in self._entries.items():
            offsets[number] = offset + len(encoded)
            encoded += _encoded(MessageIndex(number, entries))
        self._put(encoded)
        if times:
            self._indexes.append(
                ChunkIndex(
                    chunk_length=length, chunk_start_offset=offset, compression=name,
                    compressed_size=len(packed), message_end_time=last,
                    message_index_length=len(encoded) - length, message_index_offsets=offsets,
                    message_start_time=first, uncompressed_size=len(content),
                )
            )  # fmt: skip
        self._chunk.clear()
        self._entries.clear()

    def close(self) -> None:
        """Write what is left and the summary, and close the file."""
        self.flush()
        self._put(_encoded(DataEnd(0)))
        start = self.size
        groups: list[tuple[Opcode, list[McapRecord]]] = [
            (Opcode.SCHEMA, list(self._schemas.values())),
            (Opcode.CHANNEL, list(self._channels.values())),
            (Opcode.STATISTICS, [self._statistics()]),
            (Opcode.CHUNK_INDEX, list(self._indexes)),
        ]
        summary, offsets = bytearray(), bytearray()
        for opcode, records in groups:
            encoded = b''.join(_encoded(record) for record in records)
            if encoded:
                place = SummaryOffset(int(opcode), start + len(summary), len(encoded))
                offsets += _encoded(place)
            summary += encoded
        footer = Footer(start, start + len(summary), 0)
        self._put(bytes(summary) + bytes(offsets) + _encoded(footer) + MAGIC)
        self._file.close()

    @property
    def _seen(self) -> bool:
        return bool(self._indexes)

    def _statistics(self) -> Statistics:
        return Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts=dict(self.counts),
            chunk_count=len(self._indexes),
            message_count=self.messages,
            message_end_time=self.end,
            message_start_time=self.start,
            metadata_count=self._metadata,
            schema_count=len(self._schemas),
        )

    def _put(self, data: bytes | bytearray) -> None:
        rest = memoryview(data)
        while rest:  # an unbuffered file may take less than it is given
            rest = rest[self._file.write(rest) :]
        self.size += len(data)


def _metadata(topic: Topic) -> dict[str, str]:
    told = {'offered_qos_profiles': topic.qos}
    if topic.schema.digest:
        told['topic_type_hash'] = topic.schema.digest
    return told


def _encoded(record: McapRecord) -> bytes:
    builder = RecordBuilder()
    record.write(builder)
    return builder.end()
