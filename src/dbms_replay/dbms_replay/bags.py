# SPDX-License-Identifier: Apache-2.0
"""Reading bags: MCAP and sqlite3, whole or torn.

Messages come in the order of the file: time may not run backwards in a recording, but if it did
when it was made, that is what a reader should see. What cannot be read is counted in `problems`.
"""

import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
import zstandard
from mcap.exceptions import InvalidMagic, McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Header, Message, Metadata, Schema
from mcap.stream_reader import StreamReader, get_chunk_data_stream

from .bag_writer import METADATA, BagWriter
from .schemas import Schema as Definition
from .segment import CUSTOM, Topic

_RECORD = struct.Struct('<BQ')
_MESSAGE = struct.Struct('<HIQQ')
_SUFFIXES = {'.mcap': 'mcap', '.db3': 'sqlite3'}


class BagError(ValueError):
    """A recording that cannot be read at all, and why."""


@dataclass(frozen=True, eq=False)
class BagTopic:
    """A topic as one bag knows it, one object for each. '' where the bag does not say."""

    name: str
    type: str
    definition: str
    digest: str
    qos: str = ''


Topics = dict[tuple[str, ...], BagTopic]
# A message: its topic (None: files are missing between here and what went before), log time in
# ns, serialized content.
Read = tuple[BagTopic | None, int, bytes]


class Bag:
    """A recording: a directory as of rosbag2, or a single file."""

    def __init__(self, path: Path, topics: Topics | None = None) -> None:
        """Find the files; BagError if there are none that could be read.

        Bags that share `topics` have the same objects for the same topics.
        """
        self.path = path
        self.problems: Counter[str] = Counter()
        self.custom: dict[str, str] = {}
        self.position = 0.0  # 0..1, how much of it was read
        self._compressed = False
        self._topics: Topics = {} if topics is None else topics
        if not path.exists():
            raise BagError(f'{path}: no such file or directory')
        self.files = self._find() if path.is_dir() else [path]
        kinds = {_SUFFIXES.get(file.suffix) for file in self.files if file.suffix != '.zstd'}
        self._sqlite = 'sqlite3' in kinds
        if not path.is_dir() and path.suffix == '.mcap':
            self._read_custom(path)
        if not self._compressed and (len(kinds) != 1 or None in kinds):
            raise BagError(f'{path}: not a recording: it has no .mcap and no .db3 file')

    def messages(self) -> Iterator[Read]:
        """Read everything that can be read, in the order of the files."""
        if self._sqlite or self._compressed:
            yield from self._through_rosbags()
            return
        total = sum(file.stat().st_size for file in self.files if file.exists()) or 1
        before, last = 0, None
        for file in self.files:
            if not file.exists():
                self.problems['files missing'] += 1
                continue
            number = _number(file)
            if last is not None and number != last + 1:
                yield None, 0, b''
            last = number
            for position, message in self._file(file):
                self.position = (before + position) / total
                yield message
            before += file.stat().st_size
        self.position = 1.0

    def _find(self) -> list[Path]:
        try:
            content = yaml.safe_load((self.path / METADATA).read_text('utf-8'))
            told = content['rosbag2_bagfile_information']
            self.custom = {str(k): str(v) for k, v in (told.get('custom_data') or {}).items()}
            self._compressed = bool(told.get('compression_mode'))
            # Without the directory: a bag may have been moved.
            files = [self.path / Path(name).name for name in told['relative_file_paths']]
        except OSError:
            self.problems['metadata.yaml missing'] += 1
            files = []
        except (yaml.YAMLError, KeyError, TypeError, AttributeError, UnicodeDecodeError):
            self.problems['metadata.yaml malformed'] += 1
            files = []
        if not files:
            files = [file for file in self.path.iterdir() if file.suffix in _SUFFIXES]
            files.sort(key=lambda file: (_number(file), file.name))
        if not files:
            raise BagError(f'{self.path}: not a recording: it has no .mcap and no .db3 file')
        return files

    def _read_custom(self, file: Path) -> None:
        """Take what a file of its own says of itself before its first message."""
        try:
            with file.open('rb') as stream:
                for record in StreamReader(stream, emit_chunks=True).records:
                    if isinstance(record, Metadata) and record.name == CUSTOM:
                        self.custom = dict(record.metadata)
                    if not isinstance(record, Header):
                        return
        except (McapError, EOFError, ValueError, struct.error, MemoryError):
            return  # reading its messages counts what is wrong

    # -- MCAP ---------------------------------------------------------------------------------

    def _file(self, file: Path) -> Iterator[tuple[int, Read]]:
        with file.open('rb') as stream:
            if not file.stat().st_size:
                self.problems['files of length zero'] += 1
                return
            definitions: dict[int, Schema] = {}
            channels: dict[int, BagTopic] = {}
            try:
                for record in StreamReader(stream, emit_chunks=True).records:
                    if isinstance(record, Chunk):
                        yield from self._chunk(record, stream.tell(), definitions, channels)
                    elif isinstance(record, Message):
                        topic = channels.get(record.channel_id)
                        if topic is not None:
                            yield stream.tell(), (topic, record.log_time, record.data)
                    elif isinstance(record, Header) and record.profile not in ('ros2', ''):
                        self.problems[f'files of profile {record.profile!r}'] += 1
                        return
                    else:
                        self._learn(record, definitions, channels)
            except InvalidMagic:
                kind = 'files without an end' if stream.tell() > 8 else 'files that are no MCAP'
                self.problems[kind] += 1
            except (McapError, EOFError, ValueError, struct.error, MemoryError, KeyError):
                self.problems['files without an end'] += 1

    def _chunk(
        self,
        chunk: Chunk,
        position: int,
        definitions: dict[int, Schema],
        channels: dict[int, BagTopic],
    ) -> Iterator[tuple[int, Read]]:
        content = self._unpacked(chunk)
        place = 0
        while place < len(content):
            opcode, length = _RECORD.unpack_from(content, place)
            start = place + 9
            place = start + length
            if opcode == Opcode.MESSAGE:
                channel, _, time, _ = _MESSAGE.unpack_from(content, start)
                topic = channels.get(channel)
                if topic is None:
                    self.problems['messages of an unknown channel'] += 1
                    continue
                yield position, (topic, time, content[start + 22 : place])
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                stream, _ = get_chunk_data_stream(_as_chunk(content[start - 9 : place]))
                stream.read(9)
                reads = Schema.read if opcode == Opcode.SCHEMA else Channel.read
                self._learn(reads(stream), definitions, channels)

    def _unpacked(self, chunk: Chunk) -> bytes:
        try:
            stream, length = get_chunk_data_stream(chunk)
            content = stream.read(length)
        except (zstandard.ZstdError, RuntimeError, McapError, MemoryError):
            self.problems['damaged chunks'] += 1
            return b''
        if chunk.uncompressed_crc and zlib.crc32(content) != chunk.uncompressed_crc:
            self.problems['damaged chunks'] += 1
            return b''
        return content

    def _learn(
        self, record: Any, definitions: dict[int, Schema], channels: dict[int, BagTopic]
    ) -> None:
        if isinstance(record, Schema):
            definitions[record.id] = record
        elif isinstance(record, Channel) and record.id not in channels:
            schema = definitions.get(record.schema_id)
            if schema is None:
                self.problems['topics without a type'] += 1
                return
            text = schema.data.decode('utf-8', 'replace') if schema.encoding == 'ros2msg' else ''
            channels[record.id] = self._topic(
                record.topic, schema.name, text,
                record.metadata.get('topic_type_hash', ''),
                record.metadata.get('offered_qos_profiles', ''),
            )  # fmt: skip

    def _topic(self, *words: str) -> BagTopic:
        """Return the same object for the same topic, whichever file it is in."""
        return self._topics.setdefault(words, BagTopic(*words))

    # -- the rest -----------------------------------------------------------------------------

    def _through_rosbags(self) -> Iterator[Read]:
        from rosbags.rosbag2 import Reader, ReaderError

        directory = self.path if self.path.is_dir() else self.path.parent
        done = 0
        try:
            with Reader(directory) as reader:
                topics = {
                    one.id: self._topic(one.topic, one.msgtype, one.msgdef.data, one.digest)
                    for one in reader.connections
                }
                for connection, time, data in reader.messages():
                    done += 1
                    self.position = done / max(reader.message_count, 1)
                    yield topics[connection.id], time, bytes(data)
        except (ReaderError, OSError) as error:
            raise BagError(f'{self.path}: {error}') from None
        except Exception as error:  # of sqlite, which has no exception of its own in rosbags
            if type(error).__module__.split('.')[0] not in ('apsw', 'sqlite3'):
                raise
            self.problems['files without an end'] += 1


def recover(directory: Path) -> Counter[str]:
    """Write torn files of a bag anew with all that can be read of them; return what was wrong."""
    bag = Bag(directory)
    fresh = directory.with_name(directory.name + '.recovering')
    writer = BagWriter(fresh, bag.custom)
    numbers: dict[BagTopic, int] = {}
    for topic, time, data in bag.messages():
        if topic is None:
            continue
        if topic not in numbers:
            definition = Definition(topic.type, topic.definition, topic.digest)
            numbers[topic] = writer.add_topic(Topic(topic.name, definition, topic.qos))
        writer.write(numbers[topic], time, data)
    writer.close()
    torn = directory.with_name(directory.name + '.torn')
    directory.rename(torn)
    _renamed(fresh, directory)
    return bag.problems


def _renamed(fresh: Path, directory: Path) -> None:
    """Move a bag; its files carry the name of the directory."""
    metadata = fresh / METADATA
    text = metadata.read_text('utf-8').replace(f'{fresh.name}_', f'{directory.name}_')
    metadata.write_text(text, 'utf-8')
    for file in list(fresh.glob('*.mcap')):
        file.rename(fresh / file.name.replace(fresh.name, directory.name))
    fresh.rename(directory)


def _number(file: Path) -> int:
    match = re.search(r'_(\d+)\.\w+$', file.name)
    return int(match[1]) if match else 0


def _as_chunk(record: bytes) -> Chunk:
    """Wrap bytes so that the library's own functions read records from them."""
    return Chunk('', record, 0, 0, 0, len(record))
