# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the controller: commands contactors and sorts the frames of a World."""

import math

import numpy as np

from dbms_sim import wire
from dbms_sim.feeds import ModelFeed
from dbms_sim.loads import make_load
from dbms_sim.wire import Frame
from dbms_sim.world import World

OPEN, CLOSE = 1, 2


class Controller:
    """Commands one string's contactors, renewing its lease, and steps the world with it."""

    def __init__(self, world, string=0):
        self.world = world
        self.now = 0.0
        self.frames = []  # (time, frame)
        self._unit = world.pack.strings[string].contactors
        self._message = wire.database().get_message_by_frame_id(wire.CONTACTOR_COMMAND)
        self._counter = 0
        self._closed = ()
        self._renewal = 0.0

    def command(self, *closed, lease=250, sequence=0):
        """Send one command now: names of contactors to be closed, lease in ms."""
        frame = self.frame(*closed, lease=lease, sequence=sequence)
        self.world.receive(frame, self.now)

    def frame(self, *closed, lease=250, sequence=0):
        values = {
            name: CLOSE if name in closed else OPEN for name in ('Minus', 'Precharge', 'Plus')
        }
        values.update(Lease=lease, Sequence=sequence)
        can_id = wire.CONTACTOR_COMMAND + self._unit.address
        self._counter += 1
        data = wire.encode(self._message, can_id, self._counter, values)
        return Frame(self._unit.bus, can_id, data)

    def hold(self, *closed):
        """Command from now on, renewed in time."""
        self._closed = closed
        self._renewal = self.now

    def run(self, seconds, tick=0.01):
        """Step the world; return the frames it sent, and keep them."""
        sent = []
        for _ in range(round(seconds / tick)):
            self.now += tick
            if self._closed and self.now >= self._renewal:
                self._renewal = self.now + 0.08
                self.command(*self._closed)
            sent += [(self.now, frame) for frame in self.world.step(self.now)]
        self.frames += sent
        return sent

    def connect(self):
        """Close as a controller does: minus, precharge, plus, and precharge open again."""
        self.hold('Minus')
        self.run(0.1)
        self.hold('Minus', 'Precharge')
        self.run(1.0)
        self.hold('Minus', 'Precharge', 'Plus')
        self.run(0.1)
        self.hold('Minus', 'Plus')
        self.run(0.1)


def decoded(frames, base, address=0):
    """Return the decoded signals of all frames of one unit; checks their CRC."""
    message = wire.database().get_message_by_frame_id(base)
    can_id = base + address * (16 if base >= wire.MODULE else 1)
    found = []
    for time, frame in frames:
        if frame.can_id == can_id:
            assert len(frame.data) == 8
            assert frame.data[0] == wire.checksum(can_id, frame.data)
            found.append((time, wire.decode(message, frame.data)))
    return found


def make_rig(pack, load='rest', **options):
    feed = ModelFeed(pack, make_load(load, pack), seed=1)
    controller = Controller(World(pack, feed, **options))
    controller.run(0.5)
    return controller


def cells(frames, address, count):
    """Return the voltages of the last scan in V; NaN where they are no number."""
    volts = {}
    for k in range(-(-count // 3)):
        volts.update(decoded(frames, 0x400 + k, address)[-1][1])
    values = np.array([volts[f'Cell{i + 1}'] for i in range(count)])
    return np.where(values > 6.55335, math.nan, values)


def status(frames, address=1):
    return decoded(frames, 0x40C, address)[-1][1]


def feedback(frames):
    return decoded(frames, wire.CONTACTOR_FEEDBACK)[-1][1]
