# SPDX-License-Identifier: Apache-2.0
"""The fault campaign: every trigger of a pack, made bad in every manner, and what came of it.

Each case is a pack of its own that is connected under load. Judged are detection, the place that
is named, the action, and its time from the first bad sample against what `check --limits` tells.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from bench.safety_feed import FILTERED, NoisyFeed
from bench.safety_loop import STEP, Loop, connected
from bench.safety_others import others
from bench.safety_stimuli import STIMULI, Meddled, Patient, Stimulus, target
from dbms_drivers import codec
from dbms_pack import Level, Limit, Pack, load_pack
from dbms_pack.filters import hidden_for
from dbms_pack.limits import QUANTITIES, action_of, levels_of
from dbms_pack.limits_table import rows
from dbms_protection.contactors import State
from dbms_sim.loads import make_load
from dbms_sim.wire import Frame
from dbms_sim.world import World

MANNERS = ('slow', 'fast', 'intermittent', 'start', 'precharge', 'balancing')
SOC = 0.6
PAUSE = 0.6  # s, between the bad times of what comes and goes
LONGEST = 5.0  # s, beyond what is promised: then it is missed
LONG, LONG_STEP = 20.0, 0.02  # s: what takes so long goes in steps of the current sensors
FEEDBACK = 0.02  # s: a feedback frame that tells of a contact comes with the next step

# The limit of each current: nominal already, and below what flows against it.
CURRENTS = {'OVERCURRENT_CHARGE': 'charge_current', 'OVERCURRENT_DISCHARGE': 'discharge_current'}


@dataclass(frozen=True)
class Case:
    """One trigger at one level, in one manner."""

    pack: str
    fault: str  # that has to be raised
    level: Level
    manner: str
    promised: float  # s, from the first bad sample to the end of the action
    action: str  # warn, derate, leave, open
    place: str  # kind of place that has to be named
    stimulus: Stimulus
    limit: Limit | None = None  # None: a loss or a report, which counts from its beginning
    value: float = 0.0  # beyond the limit

    def __str__(self) -> str:
        return f'{self.fault} {self.level.name} {self.manner}'

    def __reduce__(self) -> tuple[Callable[[str, str], 'Case'], tuple[str, str]]:
        """Travel to another process by name: a stimulus is made of functions."""
        return case_named, (self.pack, str(self))


@dataclass
class Result:
    """What came of a case. Times in s from the first bad sample; NaN: it never came."""

    case: Case
    detected: float
    acted: float
    whole: float = math.nan  # to the action, from the beginning of the stimulus: with its filter
    told: str = ''  # what was raised, for a person
    verdict: str = ''  # '', missed, place, late
    problem: str = ''

    @property
    def good(self) -> bool:
        """Whether all is as promised."""
        return not self.problem


def cases(pack: Pack) -> Iterator[Case]:
    """Yield all cases of the quantities that a pack limits."""
    # From the first sample that is bad after the filter: a case knows by how much it is beyond.
    promised = {(row.quantity, row.level): row.total - row.filter for row in rows(pack)}
    for key, levels in levels_of(pack.limits).items():
        for level, limit in sorted(levels.items()):
            for manner in MANNERS:
                if manner in STIMULI[key].manners:
                    total = promised[key, level.name]
                    action = action_of(key, level, limit)
                    value = target(pack, key, level, levels)
                    yield Case(
                        pack.name, key.upper(), level, manner, total, action,
                        QUANTITIES[key].place, STIMULI[key], limit, value,
                    )  # fmt: skip
    for other in others(pack):
        for manner in other.stimulus.manners:
            yield Case(
                pack.name, other.fault, other.level, manner, other.promised, other.action,
                other.place, other.stimulus,
            )  # fmt: skip


@cache
def _by_name(pack: str) -> dict[str, Case]:
    return {str(case): case for case in cases(load_pack(pack))}


def case_named(pack: str, name: str) -> Case:
    """Return the case of a pack that calls itself so."""
    return _by_name(pack)[name]


def prepare(pack: Pack, load: float, seed: int, step: float = STEP) -> Patient:
    """Return a pack that is measured and not connected yet."""
    feed = NoisyFeed(pack, make_load('rest', pack), SOC, seed)
    feed.set_noise(FILTERED)
    loop = Loop(pack, World(pack, feed, seed=seed), step, seed=seed)
    patient = Patient(loop)
    feed.set_load(make_load(f'constant:{load * len(pack.strings):g}', pack))  # A per string
    return patient


def play(pack: Pack, case: Case, seed: int = 1) -> Result:
    """Play a case and judge it."""
    stimulus = case.stimulus
    step = LONG_STEP if lasts(pack, case) > LONG else STEP
    patient = prepare(pack, stimulus.load, seed, step)
    loop = patient.loop
    course = _Course(patient, case, step)
    if case.manner != 'start':
        loop.run(1.5)
        loop.guard.command('connect', 'campaign', case.fault, [], loop.now)
        if case.manner == 'precharge':
            if not loop.run(20.0, lambda: patient.state is State.PRECHARGING):
                return _failed(case, 'no precharge')
        else:
            if not loop.run(20.0, lambda: connected(loop)):
                return _failed(case, 'never connected')
            loop.run(loop.now + 1.5)
    if case.manner == 'balancing':
        course.bleed()
        loop.run(loop.now + 0.5)
    course.begin()
    end = loop.now + course.crossing + stimulus.delay + case.promised + LONGEST
    while loop.now < end and not course.done:
        course.step()
        loop.advance()
        course.look()
        if case.manner == 'start' and course.asks:
            loop.guard.command('connect', 'campaign', case.fault, [], loop.now)
    return course.judge()


def lasts(pack: Pack, case: Case) -> float:
    """Return the s that a case takes about, from its beginning."""
    if case.limit is None:
        return case.promised
    return case.promised + case.stimulus.lag(case.value, case.limit, pack)


def _failed(case: Case, problem: str) -> Result:
    return Result(case, math.nan, math.nan, verdict='missed', problem=problem)


class _Course:
    """A case while it is played."""

    def __init__(self, patient: Patient, case: Case, step: float) -> None:
        self._patient, self._stimulus, self._case = patient, case.stimulus, case
        self._loop, self._limit = patient.loop, case.limit
        self._place = patient.site.place(patient.pack, case.place)
        self._target = case.value
        self._healthy = 0.0
        self._slack = step + 1e-6  # s: times are seen in steps of the simulator
        self._begun = 0.0
        self.crossing = 0.0  # s from the beginning until the value is at the limit
        self._counter = 0
        self._detected = self._since = self._acted = math.nan
        self._limits = self._loop.guard.limits
        self._asked = 0
        self._looked = 0

    def begin(self) -> None:
        stimulus, limit = self._stimulus, self._limit
        if stimulus.before is not None:
            stimulus.before(self._patient)
        self._begun = self._loop.now
        self._healthy = stimulus.healthy(self._patient)
        self._limits = self._loop.guard.limits
        if limit is None:
            return
        if self._case.manner == 'slow':
            span = self._target - self._healthy
            self.crossing = stimulus.ramp * (limit.at - self._healthy) / span
        self.crossing += stimulus.lag(self._target, limit, self._patient.pack)

    def bleed(self) -> None:
        """Balance cells of the module as a balancer would, with a lease."""
        module = self._patient.board.module
        self._counter = (self._counter + 1) & 0xF
        can_id, data = codec.encode_bleed_command(module.address, self._counter, 0b101, 25.0)
        self._loop.world.receive(Frame(module.bus, can_id, data), self._loop.now)

    @property
    def asks(self) -> bool:
        """Tell when to ask for contactors at a start: when all is measured, and again."""
        due = (1.5, 2.5, 4.0)
        if self._asked < len(due) and self._loop.now >= due[self._asked]:
            self._asked += 1
            return True
        return False

    def step(self) -> None:
        t = self._loop.now - self._begun
        stimulus, manner = self._stimulus, self._case.manner
        if manner == 'slow':
            share = min(t / stimulus.ramp, 1.0)
            value = self._healthy + share * (self._target - self._healthy)
            stimulus.apply(self._patient, value, t)
        elif manner == 'intermittent':
            assert self._limit is not None
            key, pack = self._case.fault.lower(), self._patient.pack
            bad = self._limit.debounce + 2.0 * stimulus.delay + 0.1
            bad += hidden_for(pack, key, self._limit.at, self._target)
            self._patient_is(t % (bad + PAUSE) < bad, t)
        else:
            stimulus.apply(self._patient, self._target, t)

    def _patient_is(self, bad: bool, t: float) -> None:
        patient = self._patient
        if bad:
            self._stimulus.apply(patient, self._target, t)
            return
        patient.board.cell_faults.clear()
        patient.board.temperature_faults.clear()
        sensor: Meddled = patient.sensor
        sensor.current = sensor.string = sensor.link = sensor.insulation = None

    def look(self) -> None:
        """See what the guard made of it by now."""
        loop = self._loop
        for raised in loop.raised[self._looked :]:
            right = (raised.name, raised.level, raised.place)
            if right == (self._case.fault, self._case.level, self._place):
                if math.isnan(self._detected):
                    self._detected = loop.now
                    fault = loop.guard.book.get(*right)
                    assert fault is not None
                    # The guard's own time begins with its first call, at 0 s.
                    self._since = fault.since if self._limit is not None else self._begun
        self._looked = len(loop.raised)
        if not math.isnan(self._detected) and math.isnan(self._acted) and self._has_acted():
            self._acted = loop.now

    def _has_acted(self) -> bool:
        case, loop = self._case, self._loop
        if case.level is Level.MOL:
            return True
        if case.level is Level.MSL:
            unit = loop.world.units[self._patient.string.name]
            return not (unit.main_closed or unit.precharge_closed)
        before, now = self._limits, loop.guard.limits
        if case.fault in CURRENTS:
            # Less than flows: limits are those of the pack, the current that of one string.
            strings = sum(string.state is State.CONNECTED for string in loop.guard.strings)
            return float(getattr(now, CURRENTS[case.fault])) < self._target * max(strings, 1)
        if case.manner in ('start', 'precharge'):
            loss = loop.guard.judge.losses()[self._patient.site.string]
            by_slope = self._limit is not None and self._limit.derate is None
            return loss.factor < 1.0 or by_slope
        return (
            now.charge_current < before.charge_current
            or now.discharge_current < before.discharge_current
            or now.charge_peak < before.charge_peak
            or now.discharge_peak < before.discharge_peak
        )

    @property
    def done(self) -> bool:
        """Whether there is no more to come."""
        return not math.isnan(self._acted)

    def judge(self) -> Result:
        case, loop = self._case, self._loop
        named = {str(one.place) for one in loop.raised if one.name == case.fault}
        wrong = sorted(named - {str(self._place)} if not self._stimulus.everywhere else ())
        told = '; '.join(f'{one.time - self._begun:.2f} s {one.text}' for one in loop.raised[:6])
        first = self._since
        since = self._acted - self._begun
        result = Result(case, self._detected - first, self._acted - first, since, told)
        reached = self._begun + self.crossing
        late = (
            self._stimulus.delay
            + (2.0 if case.manner in ('start', 'precharge') else 0.0)
            + 2.0 * self._slack
        )
        inexact = min(0.05 * self.crossing, 1.5) + 2.0 * self._slack + self._stimulus.doubt
        if case.manner == 'slow':
            inexact += self._stimulus.slow_doubt
        took = self._acted - first
        allowed = case.promised + self._slack + FEEDBACK
        if case.limit is None:  # from the beginning on, which no sample marks
            allowed += self._stimulus.delay
        if math.isnan(self._detected):
            result.verdict, result.problem = 'missed', 'never seen'
        elif wrong:
            result.verdict, result.problem = 'place', f'also named: {", ".join(wrong)}'
        elif case.limit is not None and not -inexact <= first - reached <= late + inexact:
            result.verdict = 'late'
            result.problem = f'condition seen {first - reached:+.2f} s from when it was there'
        elif not took <= allowed:
            result.verdict, result.problem = 'late', f'{case.action} after {took:.2f} s'
        return result
