# SPDX-License-Identifier: Apache-2.0
"""Normal missions: a day of two packs in which nothing is wrong, as noisy as life.

Whatever the guard says beyond what a mission names as true is a false trip.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from bench.safety_feed import FILTERED, POOR, QUIET, USUAL, NoisyFeed
from bench.safety_loop import Loop, Raised, connected
from dbms_drivers import codec
from dbms_pack import Level, Pack, load_pack, paths
from dbms_protection.contactors import State
from dbms_sim.current_sensor import SensorQuality
from dbms_sim.loads import make_load
from dbms_sim.wire import Frame
from dbms_sim.world import World

HOUR = 3600.0
STEP = 0.02  # s: the period of the current sensors
JITTER = 0.003  # s, by which a step of an operating system is late
# The disturbances of a day: none of them is a fault.
# One after the other, each for an eighth of an hour. What a board is off by stays as it is.
NOISES = tuple(
    replace(
        noise,
        cell_error=USUAL.cell_error,
        temperature_error=USUAL.temperature_error,
        string_error=USUAL.string_error,
    )
    for noise in (USUAL, FILTERED, POOR, QUIET)
)
NOISE_TIME = HOUR / 8
LOSS = 2e-4  # share of the frames that never arrive
BURST_EVERY, BURST = 300.0, 0.06  # s: a relay nearby, in which nothing arrives
REBOOT_EVERY, REBOOT = 1200.0, 0.1  # s: a board whose supply dips
CURRENT = SensorQuality(offset=0.05, gain=1.002, noise=0.1)
BLEED_PERIOD, BLEED_LEASE = 1.0, 2.5  # s


@dataclass(frozen=True)
class Mission:
    """What a pack does for some hours. `true`: warnings that are right, and why."""

    name: str
    pack: str
    load: str
    hours: float
    soc: float
    seed: int
    temperature: float = 25.0  # degC, of cells and surroundings
    imbalance: float = 0.0  # SOC, from the mean to the fullest and emptiest cell
    bleeding: bool = False
    true: Mapping[tuple[str, Level], str] = field(default_factory=dict)


MOL = Level.MOL
MISSIONS = (
    Mission('robot day', 'robot_13s', 'robot', 6.0, 0.7, 1),
    Mission('charge to full', 'robot_13s', 'charge:12', 3.0, 0.3, 2),
    Mission(
        'cold start', 'robot_13s', 'obey:robot', 2.0, 0.8, 3, temperature=-10.0,
        true={('UNDERTEMPERATURE_DISCHARGE', MOL): 'it is -10 degC'},
    ),
    Mission(
        'balancing', 'robot_13s', 'charge:2', 3.0, 0.88, 4, imbalance=0.02, bleeding=True
    ),
    Mission('boat trip', 'marine_2x16s', 'boat_trip.csv', 5.0, 0.9, 5),
    Mission(
        'sun', 'marine_2x16s', 'obey:solar:6000', 3.0, 0.85, 6, imbalance=0.01
    ),
    # The charger's own voltage is above MOL: what keeps it below is the charge voltage limit.
    Mission(
        'shore power', 'marine_2x16s', 'obey:charge:120:57.6', 2.0, 0.7, 7, imbalance=0.01
    ),
)  # fmt: skip


@dataclass
class Outcome:
    """What the guard made of a mission."""

    mission: Mission
    hours: float
    frames: int
    false: list[Raised]
    true: list[Raised]
    opened: list[str]  # contactors that opened, or never closed, and why


def build(mission: Mission, speed: float) -> Loop:
    """Return the pack of a mission, at rest and not connected yet."""
    pack = load_pack(mission.pack)
    feed = NoisyFeed(pack, make_load('rest', pack), mission.soc, mission.seed)
    plant = feed.plant
    plant.ambient = mission.temperature
    plant.temperature = np.full(pack.cells, mission.temperature)
    if mission.imbalance:
        spread = np.random.default_rng(mission.seed).uniform(-1.0, 1.0, pack.cells)
        plant.soc = plant.soc + mission.imbalance * spread
    world = World(pack, feed, seed=mission.seed, current_sensors=CURRENT, time_scale=speed)
    return Loop(pack, world, STEP, jitter=JITTER, seed=mission.seed)


def run(mission: Mission, share: float = 1.0, speed: float = 1.0) -> Iterator[float | Outcome]:
    """Play a share of a mission; yield how much of it is done, 0..1, and at last the outcome.

    At a `speed` above 1 the battery lives faster and debounces are shorter by as much, while
    boards measure at their own pace: fewer samples, of which fewer make a fault.
    """
    loop = build(mission, speed)
    world, guard = loop.world, loop.guard
    loop.run(2.0)
    accepted, answer = guard.command('connect', 'mission', 'begin', [], loop.now)
    opened = [] if accepted else [f'not connected: {answer}']
    loop.run(20.0, lambda: connected(loop))
    world.feed.set_load(make_load(load_name(mission), loop.pack))
    begun, end = loop.now, loop.now + mission.hours * HOUR * share / speed
    life = _Life(loop, mission)
    while loop.now < end:
        life.step()
        loop.run(min(loop.now + BLEED_PERIOD, end))
        if not loop.steps % 3000:
            yield (loop.now - begun) / (end - begun)
    opened += [
        f'{time:.2f} s: string {loop.pack.strings[index].name} {state.name}: '
        f'{guard.strings[index].reason}'
        for time, index, state in loop.states
        if time > begun and state is not State.CONNECTED
    ]
    if not connected(loop):
        opened.append('; '.join(string.reason for string in guard.strings))
    true = [one for one in loop.raised if (one.name, one.level) in mission.true]
    false = [one for one in loop.raised if one not in true]
    yield Outcome(mission, (loop.now - begun) / HOUR * speed, loop.frames, false, true, opened)


def load_name(mission: Mission) -> str:
    """Return the load of a mission as the simulator finds it."""
    if not mission.load.endswith('.csv'):
        return mission.load
    return str(paths.find('packs', mission.pack).parent.parent / 'loads' / mission.load)


class _Life:
    """What happens around a pack that is not wrong."""

    def __init__(self, loop: Loop, mission: Mission) -> None:
        self._loop = loop
        self._mission = mission
        self._random = np.random.default_rng((mission.seed, 2))
        self._burst_at = self._later(BURST_EVERY)
        self._reboot_at = self._later(REBOOT_EVERY)
        self._counter = 0
        loop.loss = LOSS

    def step(self) -> None:
        loop = self._loop
        feed = loop.world.feed
        assert isinstance(feed, NoisyFeed)
        feed.set_noise(NOISES[int(feed.position / NOISE_TIME) % len(NOISES)])
        if loop.now >= self._burst_at:
            self._burst_at = self._later(BURST_EVERY)
            self._burst()
        if loop.now >= self._reboot_at:
            self._reboot_at = self._later(REBOOT_EVERY)
            module = self._random.choice([module.name for module in loop.pack.modules])
            loop.world.inject('board_reboot', module, {'down': REBOOT}, loop.now)
        if self._mission.bleeding:
            self._bleed(loop.pack)

    def _later(self, mean: float) -> float:
        return self._loop.now + float(self._random.exponential(mean))

    def _burst(self) -> None:
        """Let nothing through for a moment."""
        self._loop.loss = 1.0
        self._loop.run(self._loop.now + BURST)
        self._loop.loss = LOSS

    def _bleed(self, pack: Pack) -> None:
        """Bleed what is above the mean, as a balancer does."""
        self._counter = (self._counter + 1) & 0xF
        voltages = self._loop.guard.judge.cells.voltages
        above = voltages > np.nanmean(voltages) + 0.003
        for module in pack.modules:
            bits = sum(1 << k for k in np.flatnonzero(above[module.cell_slice]).tolist())
            can_id, data = codec.encode_bleed_command(
                module.address, self._counter, bits, BLEED_LEASE
            )
            self._loop.world.receive(Frame(module.bus, can_id, data), self._loop.now)
