# SPDX-License-Identifier: Apache-2.0
"""Contactors in a replay: those of the recording, as long as they do what the replay says.

The recorded contacts followed the protection of then. Where the protection of now commands the
same, they are shown as recorded, welded ones too. Where it commands something else, the recording
cannot know what would have happened: contacts that obey are shown, and on the way to connected a
string without load. So they are where contacts opened because the protection of then had fallen
silent: that of now has not. Measured cells, temperatures and the current of a connected or opened
string are always those of the recording.
"""

from dataclasses import replace

from dbms_protection.contactors import ALL_OPEN, CLOSING, Contacts, State
from dbms_protection.measurements import Contact, StringSample

# What a state means for minus, precharge, plus; opening may be any of several.
_COMMANDED: dict[int, Contacts | None] = {
    State.OPEN: ALL_OPEN,
    State.CLOSING_MINUS: (True, False, False),
    State.PRECHARGING: (True, True, False),
    State.CLOSING_PLUS: (True, True, True),
    State.ENDING_PRECHARGE: (True, False, True),
    State.CONNECTED: (True, False, True),
    State.LEAVING: (True, False, True),
    State.OPENING: None,
    State.FAULTED: ALL_OPEN,
}
WANTED = (*CLOSING, State.CONNECTED)
_RENEWED = (State.CONNECTED, State.LEAVING)


class ReplayedContactors:
    """The contactors of one string. `recorded` None: the recording has no protection in it."""

    def __init__(self) -> None:
        self.command: Contacts = ALL_OPEN  # of the replay
        self.recorded: State | None = None

    def agree(self, sample: StringSample, lease: float) -> bool:
        """Tell whether the recorded protection commanded what the replayed one does.

        `lease`: what the contactor unit had left of it in s; NaN: not recorded.
        """
        if self.recorded is None or self._fell_silent(sample, lease):
            return False
        then = _COMMANDED[self.recorded]
        if then is None:
            return not (self.command[0] and self.command[2])
        return then == self.command

    def _fell_silent(self, sample: StringSample, lease: float) -> bool:
        """Tell whether contacts have opened for want of a lease, in a state that renews it."""
        minus, _, plus = sample.contacts
        closed = minus == Contact.CLOSED and plus == Contact.CLOSED
        return self.recorded in _RENEWED and lease == 0.0 and not closed

    def seen(
        self, sample: StringSample, lease: float, connecting: bool, cell_sum: float
    ) -> StringSample:
        """Return the measurement as the guard is to see it; `lease` in s, `cell_sum` in V."""
        if self.agree(sample, lease):
            return sample
        minus, precharge, plus = (Contact.CLOSED if c else Contact.OPEN for c in self.command)
        shown = replace(
            sample, contacts=(minus, precharge, plus), contact_age=0.0,
            lease_expired=False, coil_fault=False,
        )  # fmt: skip
        if not connecting:
            closed = self.command[0] and self.command[2]
            return replace(shown, link_voltage=sample.string_voltage) if closed else shown
        voltage = sample.string_voltage
        if not voltage == voltage:
            voltage = cell_sum
        return replace(
            shown, current=0.0, current_age=0.0, string_voltage=voltage, link_voltage=voltage,
            voltage_age=0.0,
        )  # fmt: skip


class Wishes:
    """Which strings the operator of then wanted connected, and when faults were reset.

    Taken from the recorded states; where there are none, every string is wanted at once.
    """

    def __init__(self, strings: int, known: bool) -> None:
        self._known = known
        self._last: list[State | None] = [None] * strings
        self._open = [not known] * strings  # wanted, and not connected yet in this episode

    def state(self, index: int, state: State, disconnected: bool) -> list[str]:
        """Take a recorded state; return the commands it stands for.

        `disconnected`: the last command of then was to disconnect.
        """
        last, self._last[index] = self._last[index], state
        if state is last:
            return []
        commands = []
        if last is State.FAULTED:
            commands.append('reset_faults')
        if state in WANTED and last not in WANTED:
            self._open[index] = True
        elif last in WANTED and state not in WANTED:
            self._open[index] = False
            if disconnected:
                commands.append('disconnect')
        return commands

    def wanted(self, index: int) -> bool:
        """Tell whether the string is still to be connected."""
        return self._open[index]

    def connected(self, index: int) -> None:
        """Take note that it was: it is not connected again by itself."""
        self._open[index] = False
