# SPDX-License-Identifier: Apache-2.0
"""A guard whose journal is kept in a file."""

from protection_rig import Rig, make_pack

from dbms_protection.event_log import EventLog
from dbms_protection.journal import Journal

BIRTH = 1.7e9  # s since 1970 at the start of a rig


class Kept:
    """A rig whose guard keeps a journal in a file, without threads."""

    def __init__(self, path, pack=None):
        self.told = []
        self.log = EventLog(path, self.told.append)
        self.rig = Rig(pack or make_pack())
        self.journal = Journal(self.rig.pack, self.log, lambda work: work())
        self.journal.attach(self.rig.guard, self.stamp)
        send, guard = self.rig._send, self.rig.guard
        for keeper in guard._keepers:
            keeper._send = lambda command: (self.journal.contactors(command), send(command))
        self.rig.activate()

    @property
    def stamp(self):
        return BIRTH + self.rig.now

    def run(self, seconds):
        for _ in range(round(seconds / 0.02)):
            self.rig.run(0.02)
            self.journal.observe(self.stamp)

    def finish(self):
        self.journal.finish(self.stamp)
