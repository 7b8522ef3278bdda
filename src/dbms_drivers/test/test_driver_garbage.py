# SPDX-License-Identifier: Apache-2.0
"""100,000 frames, most of them garbage: nothing false comes out, and what is true does."""

import random
from collections import Counter

import can
import numpy as np
import pytest
from boards import Board, encode, make_module, make_string

from dbms_drivers.assembler import ModuleAssembler, ModuleScan
from dbms_drivers.decoder import BusDecoder
from dbms_drivers.strings import StringTracker

FRAMES = 100_000
SPOILED = 0.01  # of the valid frames arrive with 1 to 3 bits flipped instead
ANY = range(64)
OTHERS = [bit for bit in ANY if bit != 48]  # all but the parity of the counter


class Plant:
    """Two modules and a string on one bus. Every value that it sends tells when it was sent."""

    def __init__(self):
        self.modules = [make_module('m1', 1), make_module('m2', 2, cells=24, temperatures=12)]
        self.string = make_string(self.modules)
        self.boards = [Board(module, serial=0x4711 + i) for i, module in enumerate(self.modules)]
        self.step = 0
        self.scans = {}  # voltages of the last two scans by module
        self.currents = []  # the last ones: a copy may stand in for an original that was spoiled
        self.links = []  # the last ones: a value may be three periods old
        self.intact = Counter()  # what was sent whole, by source

    def frames(self):
        """Return the frames of the next 20 ms, each with what it belongs to."""
        self.step += 1
        step = self.step
        current = round(-100.0 + 0.001 * (step % 100_000), 3)
        self.currents = [*self.currents[-2:], current]
        found = [('current', encode('StringCurrent', 0, step, Current=current))]
        if step % 5 == 0:
            count = step // 5
            for board in self.boards:
                size = board.module.cells
                voltages = [3.0 + 0.0001 * ((step * 7 + i) % 10_000) for i in range(size)]
                name = board.module.name
                self.scans[name] = [*self.scans.get(name, [])[-1:], voltages]
                found += [(board.module.name, frame) for frame in board.scan(voltages)]
            link = round(10.0 + 0.001 * (count % 10_000), 3)
            self.links = [*self.links[-3:], link]
            found.append(
                ('link', encode('StringVoltages', 0, count, StringVoltage=120.0, LinkVoltage=link))
            )
            found.append(
                (
                    'feedback',
                    encode(
                        'ContactorFeedback', 0, count, Minus=2, Precharge=1, Plus=2, Interlock=1
                    ),
                )
            )
        return found


class Garbage:
    """Makes one bad message of a seeded kind, and counts the kinds.

    A flipped copy beside its original keeps the parity of its counter. With it flipped as well it
    would be an error that the CRC may miss, and a counter that looks like the next: two faults at
    once, whose probability docs/can-protocol.md gives.
    """

    def __init__(self, rng, ids):
        self.rng = rng
        self.ids = ids
        self.made = Counter()
        self.recent = []

    def message(self):
        rng = self.rng
        kind = rng.choice(
            [
                'random',
                'noise',
                'truncated',
                'repeated',
                'flipped',
                'flipped',
                'flipped',
                'extended',
                'remote',
                'error',
                'long',
            ]
        )
        self.made[kind] += 1
        can_id, data = rng.choice(self.recent)
        if kind == 'random':  # on an id that is listened to
            return message(rng.choice(self.ids), rng.randbytes(8))
        if kind == 'noise':
            return message(
                rng.choice([i for i in (0x000, 0x3FF, 0x7FF, 0x123)]),
                rng.randbytes(rng.randrange(9)),
            )
        if kind == 'truncated':
            return message(can_id, data[: rng.randrange(8)])
        if kind == 'long':
            return can.Message(
                arbitration_id=can_id, data=data + data, is_fd=True, is_extended_id=False
            )
        if kind == 'repeated':
            return message(can_id, data)
        if kind == 'flipped':
            return message(can_id, self.flipped(data, OTHERS))
        return can.Message(
            arbitration_id=can_id,
            data=data,
            is_extended_id=kind == 'extended',
            is_remote_frame=kind == 'remote',
            is_error_frame=kind == 'error',
        )

    def flipped(self, data, bits):
        value = int.from_bytes(data, 'big')
        for bit in self.rng.sample(bits, self.rng.randrange(1, 4)):
            value ^= 1 << bit
        return value.to_bytes(8, 'big')


def message(can_id, data):
    return can.Message(arbitration_id=can_id, data=data, is_extended_id=False)


@pytest.mark.parametrize('seed', [1, 2])
def test_garbage_between_valid_frames(seed):
    plant = Plant()
    assemblers = [ModuleAssembler(module) for module in plant.modules]
    tracker = StringTracker(plant.string)
    decoder = BusDecoder('main', assemblers, [tracker])
    rng = random.Random(seed)
    garbage = Garbage(rng, sorted(decoder._routes))
    arrived, total, now = Counter(), 0, 1000.0

    def feed(one):
        nonlocal total
        total += 1
        output = decoder.feed_message(one, now)
        if isinstance(output, ModuleScan):
            arrived[output.module] += 1
            # Whole and of one scan; of the one before if a copy stood in for its last frame.
            sent = plant.scans[output.module]
            assert any(np.allclose(output.voltages, scan, rtol=0, atol=1e-5) for scan in sent)
            assert np.all(output.temperatures == 25.0)
            assert output.bleeding == 0 and output.status & 0xFFFF == 0
        elif output is not None:
            arrived['current'] += 1
            values = output.compose(now)
            assert min(abs(values.current - sent) for sent in plant.currents) < 1e-9
            assert np.isnan(values.string_voltage) or values.string_voltage == 120.0
            link = values.link_voltage
            assert np.isnan(link) or min(abs(link - sent) for sent in plant.links) < 1e-9
            assert values.minus in (0, 2) and values.plus in (0, 2) and values.precharge in (0, 1)

    while total < FRAMES:
        frames = plant.frames()
        spoiled = set()
        for owner, (can_id, data) in frames:
            now += 0.02 / len(frames)
            garbage.recent = [*garbage.recent[-11:], (can_id, data)]
            if rng.random() < SPOILED:
                garbage.made['flipped'] += 1
                data = garbage.flipped(data, ANY)
                spoiled.add(owner)
            feed(message(can_id, data))
            for _ in range(rng.randrange(7)):
                feed(garbage.message())
        plant.intact.update({owner for owner, _ in frames} - spoiled)

    check_counts(plant, decoder, garbage, arrived)


def check_counts(plant, decoder, garbage, arrived):
    """The valid frames arrived, and the counters tell how many of what did not."""
    assert arrived['current'] >= 0.99 * plant.intact['current']
    for module in plant.modules:
        assert arrived[module.name] >= 0.99 * plant.intact[module.name]
    made, found = garbage.made, decoder.statistics
    assert found.error == made['error']
    assert found.extended == made['extended']
    assert found.remote == made['remote']
    assert found.fd == made['long']
    assert found.unknown == made['noise']
    sources = decoder.sources
    assert sum(source.dlc for source in sources) == made['truncated']
    refused = sum(
        source.crc + source.implausible + source.repeated + source.unconfirmed + source.conflict
        for source in sources
    )
    bad = made['random'] + made['flipped'] + made['repeated']
    assert refused >= 0.97 * bad
    assert sum(source.crc for source in sources) >= 0.98 * (made['random'] + made['flipped'])
