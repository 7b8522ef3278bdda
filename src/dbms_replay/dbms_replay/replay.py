# SPDX-License-Identifier: Apache-2.0
"""From a bag to an outcome: which topic goes where."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from dbms_pack import Pack, PackError, load_pack

from .bags import Bag, BagError, BagTopic
from .carried import DIGEST, NAME, restored
from .decoding import (
    BLEED,
    CELLS,
    STATE,
    STRING,
    Decoder,
    Decoders,
    Measurement,
    Refused,
    Scan,
    Told,
)
from .outcome import Outcome
from .session import Session
from .timeline import Timeline

LOOK = 2000  # messages in which every topic of a battery has spoken
USED = (CELLS, STRING, STATE)

Take = Callable[[Any, float], None]


class Replay:
    """One replay of one battery of a bag."""

    def __init__(
        self,
        bag: Bag,
        pack: Pack | str | Path | None = None,
        namespace: str | None = None,
        time_scale: float | None = None,
    ) -> None:
        """Find out what is in the bag; BagError if that is not clear.

        Without `pack` it is the one that the recording carries, else the one here of the name
        that the recorded protection told.
        """
        self.bag = bag
        self.outcome = Outcome(problems=bag.problems)
        self.decoders = Decoders(bag.problems, self.outcome.notes)
        self.namespace, told = self._look(namespace)
        self.pack = pack if isinstance(pack, Pack) else self._load(pack, told)
        name, digest = told
        self.states_recorded = bool(name)
        name, digest = name or bag.custom.get(NAME, ''), digest or bag.custom.get(DIGEST, '')[:12]
        if name and digest and digest != self.pack.digest[:12]:
            self.outcome.notes.append(
                f'recorded with pack {name} ({digest}), replayed with {self.pack.name} '
                f'({self.pack.digest[:12]})'
            )
        scale = bag.custom.get('dbms_time_scale', '1')
        self.time_scale = float(scale) if time_scale is None else time_scale
        self._places = self._destinations()
        self._bleeds = 0

    def run(
        self,
        until: float = float('inf'),
        progress: Callable[[float], None] | None = None,
        output: Path | None = None,
    ) -> Outcome:
        """Replay up to `until`, in s from the beginning; return what came of it.

        `progress` gets the share that is done, 0..1. `output` is an MCAP file that gets what the
        nodes would have published.
        """
        timeline = Timeline(self.outcome.problems)
        session = Session(
            self.pack, self.outcome, states_recorded=self.states_recorded,
            time_scale=self.time_scale,
        )  # fmt: skip
        if output is None:
            self._through(session, timeline, until, progress)
        else:
            from .outputs import OutputWriter  # the only part that needs ROS

            writer = OutputWriter(output, self.namespace, session, timeline, self.time_scale)
            session.watch, session.told = writer.watch, writer.told
            try:
                self._through(session, timeline, until, progress)
            finally:
                writer.close()
        self._end(session, timeline)
        return self.outcome

    def _through(
        self,
        session: Session,
        timeline: Timeline,
        until: float,
        progress: Callable[[float], None] | None,
    ) -> None:
        problems, counts = self.outcome.problems, self.outcome.messages
        takers: dict[BagTopic, tuple[Any, Take] | None] = {}
        begun, count = False, 0
        for topic, log_time, data in self.bag.messages():
            if topic is None:
                problems['gaps'] += begun
                begun = False
                continue
            if topic not in takers:
                takers[topic] = self._taker(topic, session)
            taker = takers[topic]
            if taker is None:
                continue
            now = timeline.advance(log_time)
            if now > until:
                break
            if not begun or timeline.gap:
                problems['gaps'] += timeline.gap
                session.begin(now)
                begun = True
            session.advance(now)
            decode, take = taker
            try:
                message = decode(data)
            except Refused as error:
                problems[str(error)] += 1
                continue
            take(message, now)
            count += 1
            counts[topic.type] += 1
            if progress is not None and not count & 0x3FF:
                progress(self.bag.position)

    def _end(self, session: Session, timeline: Timeline) -> None:
        outcome = self.outcome
        outcome.duration = timeline.now
        outcome.notes += session.unconnected()
        if self._bleeds:
            outcome.notes.append(f'{self._bleeds} bleed commands: balancing is not replayed yet')
        for counter in (session.estimation.estimator.counters, session.guard.judge.refused):
            for what, count in counter.items():
                outcome.problems[what] += count
        heard = {name for name, taken in self._heard.items() if taken}
        missing = sorted(set(self._places) - heard - {'protection/state'})
        for name in missing:
            outcome.notes.append(f'nothing recorded of {self.namespace}/{name}')
        outcome.problems['topics missing'] += len(missing)

    def _take_bleed(self, _: bytes, now: float) -> None:
        """Count a command of balancing: there is no balancing of today that would decide anew."""
        self._bleeds += 1

    # -- what is in the bag -------------------------------------------------------------------

    def _look(self, namespace: str | None) -> tuple[str, tuple[str, str]]:
        """Return the namespace of the battery, and name and digest of its pack if told."""
        found: dict[str, tuple[str, str]] = {}
        # With counters of its own: the replay itself counts everything once more.
        decoders = Decoders(Counter())
        for count, (topic, _, data) in enumerate(Bag(self.bag.path).messages()):
            if topic is None or topic.type not in USED:
                continue
            place = _namespace(topic)
            if topic.type == STATE and not found.get(place, ('', ''))[0]:
                found[place] = _told_pack(decoders.of(topic), data)
            found.setdefault(place, ('', ''))
            if count > LOOK:
                break
        wanted = None if namespace is None else f'/{namespace.strip("/")}'
        if wanted is not None and wanted in found:
            return wanted, found[wanted]
        if not found:
            raise BagError(f'{self.bag.path}: no topic of a battery in it')
        if wanted is not None or len(found) > 1:
            raise BagError(
                f'{self.bag.path}: batteries in it: {", ".join(sorted(found))}; name one of them'
            )
        return next(iter(found.items()))

    def _load(self, pack: str | Path | None, told: tuple[str, str]) -> Pack:
        if pack is None and told[0] in ('', self.bag.custom.get(NAME)):
            own = restored(self.bag.custom)
            if own is not None:
                self._compare(own)
                return own
        name = pack or told[0] or self.bag.custom.get(NAME, '')
        if not name:
            raise BagError(f'{self.bag.path}: it does not say of which pack; name it by --pack')
        return load_pack(name)

    def _compare(self, own: Pack) -> None:
        """Say it if the pack of today is another one than that which the recording carries."""
        try:
            here = load_pack(own.name)
        except PackError:
            return
        if here.digest != own.digest:
            self.outcome.notes.append(
                f'replayed with the pack file in the recording; {own.name} here is another one: '
                f'--pack {own.name} takes that'
            )

    def _destinations(self) -> dict[str, tuple[str, int]]:
        """Return what is expected of the pack: the end of a topic's name, type and index."""
        pack = self.pack
        places = {f'modules/{one.name}/cells': (CELLS, i) for i, one in enumerate(pack.modules)}
        for index, string in enumerate(pack.strings):
            places[f'strings/{string.name}/measurement'] = (STRING, index)
        places['protection/state'] = (STATE, 0)
        self._heard = dict.fromkeys(places, False)
        return places

    def _taker(self, topic: BagTopic, session: Session) -> tuple[Any, Take] | None:
        """Return how messages of a topic are unpacked and who takes them."""
        if _namespace(topic) != self.namespace or topic.type not in (*USED, BLEED):
            return None
        if topic.type == BLEED:
            return bytes, self._take_bleed
        name = topic.name[len(self.namespace) :].strip('/')
        kind, index = self._places.get(name, ('', 0))
        if kind != topic.type:
            self.outcome.problems['topics that the pack does not have'] += 1
            self.outcome.notes.append(f'{topic.name} ({topic.type}): pack has none')
            return None
        decode = self.decoders.of(topic)
        if decode is None:
            return None
        self._heard[name] = True
        if kind == CELLS:
            return decode, partial(_take_cells, session, index, self._modules[index])
        if kind == STRING:
            return decode, partial(_take_string, session, index, self._strings[index])
        return decode, partial(_take_state, session, self._strings)

    @property
    def _modules(self) -> list[str]:
        return [module.name for module in self.pack.modules]

    @property
    def _strings(self) -> list[str]:
        return [string.name for string in self.pack.strings]


def _take_cells(session: Session, index: int, name: str, scan: Scan, now: float) -> None:
    if scan.place not in ('', name):
        session.outcome.problems['messages of another place'] += 1
        return
    session.cells(index, scan, now)


def _take_string(
    session: Session, index: int, name: str, measured: Measurement, now: float
) -> None:
    if measured.place not in ('', name):
        session.outcome.problems['messages of another place'] += 1
        return
    session.string(index, measured, now)


def _take_state(session: Session, names: list[str], told: Told, now: float) -> None:
    for name, state in told.strings:
        if name in names:
            session.state(names.index(name), state, told.last_command, now)


def _told_pack(decode: Decoder | None, data: bytes) -> tuple[str, str]:
    if decode is None:
        return '', ''
    try:
        told: Told = decode(data)
        return told.pack, told.digest
    except Refused:
        return '', ''


def _namespace(topic: BagTopic) -> str:
    """Return what stands before the names that a battery's topics have."""
    words = topic.name.split('/')
    return '/'.join(words[: -2 if topic.type == STATE else -3])
