# SPDX-License-Identifier: Apache-2.0
"""A bag as rosbag2 has it: a directory of MCAP files with metadata.yaml.

metadata.yaml is right whenever a file is begun, ended or dropped, so a bag whose writer was killed
lacks only the end of its last file.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .segment import Segment, Topic

# Of rosbag2. Later ones write QoS as YAML nodes, which Humble cannot read; all read this one.
VERSION = 8
METADATA = 'metadata.yaml'


@dataclass(frozen=True)
class FileInfo:
    """A file of a bag that has its end. Times in ns."""

    path: Path
    start: int
    end: int
    size: int  # bytes
    counts: Mapping[int, int]  # topic number -> messages

    @property
    def messages(self) -> int:
        """How many messages are in it."""
        return sum(self.counts.values())


class BagWriter:
    """Writes a bag. Not for use from several threads at once."""

    def __init__(
        self, directory: Path, custom: Mapping[str, str] | None = None, *, compress: bool = True
    ) -> None:
        """Begin a bag in a directory that is not there yet, or is empty; else OSError."""
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise FileExistsError(17, 'not empty: a recording needs a directory of its own',
                                  str(directory))  # fmt: skip
        self.directory = directory
        self.closed: list[FileInfo] = []
        self._custom = dict(custom or {})
        self._compress = compress
        self._topics: list[Topic] = []
        self._number = 0
        self.segment = self._begin()

    def add_topic(self, topic: Topic) -> int:
        """Return the number of a new topic."""
        self._topics.append(topic)
        number = len(self._topics)
        self.segment.add_topic(number, topic)
        return number

    def write(
        self, number: int, log_time: int, data: bytes, publish_time: int | None = None
    ) -> None:
        """Write a serialized message of the topic of that number; times in ns."""
        published = log_time if publish_time is None else publish_time
        self.segment.write(number, log_time, published, data)

    def tell(self, custom: Mapping[str, str]) -> None:
        """Say more of the bag in its metadata."""
        self._custom |= custom
        self._tell()

    @property
    def custom(self) -> Mapping[str, str]:
        """What the metadata says of the bag in words of its writer."""
        return self._custom

    def flush(self) -> None:
        """Hand everything written so far to the operating system."""
        self.segment.flush()

    def rotate(self) -> None:
        """End the file and begin the next."""
        self._end()
        self.segment = self._begin()

    def drop(self, file: FileInfo) -> None:
        """Remove a file that was ended."""
        self.closed.remove(file)
        self._tell()  # first: metadata never names a file that is not there
        file.path.unlink()

    def close(self) -> None:
        """End the bag."""
        self._end()
        self._tell()

    @property
    def size(self) -> int:
        """Bytes on disk."""
        open_one = 0 if self._is_closed else self.segment.size
        return open_one + sum(file.size for file in self.closed)

    def _begin(self) -> Segment:
        path = self.directory / f'{self.directory.name}_{self._number}.mcap'
        self._number += 1
        segment = Segment(path, compress=self._compress)
        for number, topic in enumerate(self._topics, 1):
            segment.add_topic(number, topic)
        self._tell(segment)
        return segment

    def _end(self) -> None:
        segment = self.segment
        segment.close()
        self.closed.append(
            FileInfo(segment.path, segment.start, segment.end, segment.size, dict(segment.counts))
        )

    def _tell(self, segment: Segment | None = None) -> None:
        """Write metadata.yaml, whole or not at all."""
        files = list(self.closed)
        open_one = segment or (None if self._is_closed else self.segment)
        if open_one is not None:
            files.append(FileInfo(open_one.path, open_one.start, open_one.end, 0, open_one.counts))
        content = metadata(self._topics, files, self._custom)
        target = self.directory / METADATA
        partial = target.with_suffix('.partial')
        partial.write_text(yaml.safe_dump(content, sort_keys=False), 'utf-8')
        os.replace(partial, target)

    @property
    def _is_closed(self) -> bool:
        return any(file.path == self.segment.path for file in self.closed)


def metadata(
    topics: list[Topic], files: list[FileInfo], custom: Mapping[str, str]
) -> dict[str, Any]:
    """Return what metadata.yaml says of a bag; `topics` have the numbers 1, 2, ..."""
    filled = [file for file in files if file.messages]
    start = min((file.start for file in filled), default=0)
    end = max((file.end for file in filled), default=0)
    return {
        'rosbag2_bagfile_information': {
            'version': VERSION,
            'storage_identifier': 'mcap',
            'duration': {'nanoseconds': end - start},
            'starting_time': {'nanoseconds_since_epoch': start},
            'message_count': sum(file.messages for file in files),
            'topics_with_message_count': [
                {
                    'topic_metadata': {
                        'name': topic.name,
                        'type': topic.schema.name,
                        'serialization_format': 'cdr',
                        'offered_qos_profiles': topic.qos,
                        'type_description_hash': topic.schema.digest,
                    },
                    'message_count': sum(file.counts.get(number, 0) for file in files),
                }
                for number, topic in enumerate(topics, 1)
            ],
            'compression_format': '',
            'compression_mode': '',
            'relative_file_paths': [file.path.name for file in files],
            'files': [
                {
                    'path': file.path.name,
                    'starting_time': {'nanoseconds_since_epoch': file.start},
                    'duration': {'nanoseconds': file.end - file.start},
                    'message_count': file.messages,
                }
                for file in files
            ],
            'custom_data': dict(custom) or None,
            'ros_distro': os.environ.get('ROS_DISTRO', ''),
        }
    }
