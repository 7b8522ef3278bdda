# SPDX-License-Identifier: Apache-2.0
"""End-to-end protection of frames: AUTOSAR E2E profile 2 and the check of counters.

Byte 0 of a frame is a CRC-8H2F (polynomial 0x2F, start 0xFF, final XOR 0xFF, not reflected) over
bytes 1..7 and one byte more that is not sent: the data id, which depends on CAN id and counter.
Source: AUTOSAR FO PRS E2E Protocol, profile 2.
"""

PERIODS_TO_RESYNC = 5  # of silence, then any counter may follow
REPEATED = -1  # the counter of the frame before: refused
UNCONFIRMED = -2  # a counter that cannot follow the last: refused until others confirm it
STARTING = -3  # the first one after a start or a silence: not used before a second confirms it


def _make_table() -> bytes:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value << 1) ^ 0x12F if value & 0x80 else value << 1
        table.append(value)
    return bytes(table)


_TABLE = _make_table()


def data_id(can_id: int, counter: int) -> int:
    """Return the data id of an 11-bit CAN id: its low byte, for odd counters id ^ id >> 3 ^ 0x98.

    The two together tell every pair of ids apart, so a frame under a wrong id fails by the second.
    Ids that differ in their lowest three bits only, the frames of one module, differ in both. With
    the constant no flip of counter bit 0 alone makes up for the data id that it changes.
    """
    return (can_id ^ can_id >> 3 ^ 0x98) & 0xFF if counter & 1 else can_id & 0xFF


def crc(data: bytes | bytearray, can_id: int) -> int:
    """Return the CRC that belongs in byte 0 of the 8 bytes of `data` under `can_id`."""
    t = _TABLE
    head = data[1]
    last = (can_id ^ can_id >> 3 ^ 0x98) & 0xFF if head & 1 else can_id & 0xFF
    value = t[t[t[0xFF ^ head] ^ data[2]] ^ data[3]]
    value = t[t[t[t[value ^ data[4]] ^ data[5]] ^ data[6]] ^ data[7]]
    return t[value ^ last] ^ 0xFF


def protect(can_id: int, counter: int, high: int, payload: bytes) -> bytes:
    """Return the 8 bytes of a frame around 6 bytes of payload; `high` is 4 bits of the layout."""
    data = bytearray(8)
    data[1] = (counter & 0xF) | (high & 0xF) << 4
    data[2:] = payload
    data[0] = crc(data, can_id)
    return bytes(data)


class CounterCheck:
    """Follows the 4-bit counter of one id; times in s on a steady clock.

    A counter may advance by one, or by as many periods as went by. One that advanced further is
    refused, because one passed CRC alone does not make a frame true (a random one passes with
    1/256). Three in a row make a new start, or two that both say that their sender has restarted.
    After silence two in a row do, or one if `confirm` is false: for scans, which have passed a
    CRC per frame already.
    """

    __slots__ = (
        '_period', '_confirm', '_last', '_time', '_candidate', '_seen', '_confirmed', '_anew',
    )  # fmt: skip

    def __init__(self, period: float, confirm: bool = True) -> None:
        self._period = period
        self._confirm = confirm
        self._last: int | None = None
        self._time = 0.0
        self._candidate: int | None = None
        self._seen = 0.0  # when the candidate came
        self._confirmed = 0
        self._anew = False  # the candidate said that its sender has restarted

    def update(self, counter: int, now: float, restarted: bool = False) -> int:
        """Return how many were lost before this frame (0, 1, ..), or why it is refused.

        `restarted`: it says that its sender began anew, which the last one that was used did not.
        """
        elapsed = now - self._time
        if self._last is not None and elapsed <= PERIODS_TO_RESYNC * self._period:
            step = (counter - self._last) & 0xF
            if step == 0:
                return REPEATED
            if step == 1 or step <= elapsed / self._period + 0.5:
                return self._accept(counter, now, step - 1)
            needed = 2
        else:
            self._last = None
            if not self._confirm:
                return self._accept(counter, now, 0)
            needed = 1
        return self._await(counter, now, needed, restarted)

    def _accept(self, counter: int, now: float, lost: int) -> int:
        self._last = counter
        self._time = now
        self._candidate = None
        self._confirmed = 0
        return lost

    def _await(self, counter: int, now: float, needed: int, restarted: bool) -> int:
        since = now - self._seen
        step = -1
        if self._candidate is not None and since <= PERIODS_TO_RESYNC * self._period:
            step = (counter - self._candidate) & 0xF
        if step == 0:
            return REPEATED
        follows = step == 1
        possible = follows or 1 < step <= since / self._period + 0.5
        both_anew = restarted and self._anew and possible
        if both_anew or (follows and self._confirmed + 1 >= needed):
            return self._accept(counter, now, 0)
        self._confirmed = self._confirmed + 1 if follows else 0
        self._candidate = counter
        self._seen = now
        self._anew = restarted
        return STARTING if self._last is None else UNCONFIRMED
