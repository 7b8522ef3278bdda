# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from boards import Board, make_module

from dbms_drivers.assembler import (
    STATUS_FRAMES_REJECTED,
    STATUS_SCANS_LOST,
    ModuleAssembler,
)
from dbms_drivers.decoder import BusDecoder

CELLS = [3.1, 3.2, 3.3, 3.4, 3.5, 3.6, 3.7]


class Bench:
    """A board, its assembler and a bus between them. Scans are 0.1 s apart."""

    def __init__(self, **module):
        self.module = make_module(**module)
        self.board = Board(self.module)
        self.assembler = ModuleAssembler(self.module)
        self.decoder = BusDecoder('main', [self.assembler], [])
        self.now = 100.0

    @property
    def statistics(self):
        return self.assembler.statistics

    def feed(self, frames):
        scans = [self.decoder.feed(can_id, data, self.now) for can_id, data in frames]
        return [scan for scan in scans if scan is not None]

    def step(self, change=lambda frames: frames, voltages=CELLS, board=None):
        return self.pass_on(change((board or self.board).scan(voltages)))

    def pass_on(self, frames):
        self.now += 0.1
        return self.feed(frames)

    def warm(self):
        self.step()
        assert len(self.step()) == 1
        return self


def test_scan_arrives_as_it_was_sent():
    bench = Bench(address=5)
    bench.step()
    bench.now += 0.1
    (scan,) = bench.feed(
        bench.board.scan(CELLS, [25.0, -10.5, 'NotMeasured'], bleeding=5, OpenWire=1, BoardHot=1)
    )
    np.testing.assert_allclose(scan.voltages, CELLS, atol=1e-6)
    np.testing.assert_allclose(scan.temperatures, [25.0, -10.5, np.nan], atol=1e-5)
    assert (scan.module, scan.time, scan.bleeding, scan.serial) == ('m1', bench.now, 5, 0x1234)
    assert scan.status == 1 | 8


@pytest.mark.parametrize('cells, temperatures', [(1, 0), (24, 12), (3, 1), (16, 4)])
def test_modules_of_any_size(cells, temperatures):
    bench = Bench(cells=cells, temperatures=temperatures)
    voltages = [3.0 + 0.01 * i for i in range(cells)]
    bench.step(voltages=voltages)
    (scan,) = bench.step(voltages=voltages)
    np.testing.assert_allclose(scan.voltages, voltages, atol=1e-6)
    assert len(scan.temperatures) == temperatures


def test_sequence_counts_scans_without_gap():
    bench = Bench().warm()
    assert [bench.step()[0].sequence for _ in range(40)] == list(range(3, 43))
    assert bench.statistics.lost == bench.statistics.incomplete == 0


@pytest.mark.parametrize('missing', range(5))
def test_scan_with_a_missing_frame_is_not_published_and_the_next_is(missing):
    bench = Bench().warm()
    assert bench.step(lambda frames: frames[:missing] + frames[missing + 1 :]) == []
    (scan,) = bench.step()
    assert scan.sequence == 4
    assert scan.status & STATUS_SCANS_LOST
    assert bench.statistics.lost == bench.statistics.incomplete == 1
    assert bench.step()[0].status == 0


def test_lost_scans_are_counted():
    bench = Bench().warm()
    for _ in range(3):
        bench.step(lambda frames: [])
    (scan,) = bench.step()
    assert (scan.sequence, bench.statistics.lost) == (6, 3)


def test_frame_with_a_wrong_crc_is_not_used():
    def spoil(frames):
        can_id, data = frames[1]
        return [frames[0], (can_id, bytes([data[0] ^ 1]) + data[1:]), *frames[2:]]

    bench = Bench().warm()
    assert bench.step(spoil) == []
    assert bench.statistics.crc == 1
    assert bench.step()[0].status & STATUS_FRAMES_REJECTED


def test_frame_of_wrong_length_is_not_used():
    bench = Bench().warm()
    assert bench.step(lambda frames: [(i, data[:7]) for i, data in frames]) == []
    assert bench.statistics.dlc == 5


def test_frames_of_a_module_under_the_address_of_another_are_not_used():
    bench = Bench(address=1).warm()
    stranger = Board(make_module(address=2), counter=bench.board.counter)
    moved = [[(can_id - 16, data) for can_id, data in stranger.scan(CELLS)] for _ in range(4)]
    assert [bench.pass_on(frames) for frames in moved] == [[]] * 4
    assert bench.statistics.crc == 20


def test_frame_in_the_place_of_its_neighbour_is_noticed_at_every_counter():
    bench = Bench().warm()
    found = [bench.step(lambda f: [f[0], (f[1][0], f[0][1]), *f[2:]]) for _ in range(6)]
    assert bench.statistics.crc == 6
    assert sum(map(len, found)) == 0


def test_repeated_frame_is_counted_and_changes_nothing():
    bench = Bench().warm()
    (scan,) = bench.step(lambda frames: [frame for frame in frames for _ in range(3)])
    np.testing.assert_allclose(scan.voltages, CELLS, atol=1e-6)
    assert bench.statistics.repeated == 10


def test_repeated_scan_is_not_published_twice():
    bench = Bench().warm()
    assert len(bench.step(lambda frames: frames + frames)) == 1
    assert bench.statistics.repeated == 5


def test_frozen_board_is_not_published():
    bench = Bench()
    frames = bench.board.scan(CELLS)
    assert sum(len(bench.pass_on(frames)) for _ in range(60)) == 0


def test_two_frames_for_one_place_spoil_the_scan():
    bench = Bench().warm()
    other = Board(bench.module, counter=bench.board.counter).scan([1.0] * 7)
    assert bench.step(lambda frames: [frames[0], other[0], *frames[1:]]) == []
    assert bench.step(lambda frames: [other[0], *frames]) != []  # of the scan before: no harm
    assert bench.statistics.conflict == 1


def test_old_frames_between_new_ones_do_no_harm():
    bench = Bench().warm()
    old = [bench.board.scan(CELLS) for _ in range(3)]
    bench.now += 0.3
    for i in range(9):
        pairs = zip(bench.board.scan(CELLS), old[i % 3], strict=True)
        (scan,) = bench.pass_on([frame for pair in pairs for frame in pair])
        np.testing.assert_allclose(scan.voltages, CELLS, atol=1e-6)


def test_board_that_restarts_counts_anew_and_is_back():
    bench = Bench().warm()
    bench.board.counter = 9
    published = [len(bench.step()) for _ in range(5)]
    assert published == [0, 0, 1, 1, 1]


def restarted(bench, **flags):
    """Let the board begin anew and say so in its scans; return those that come of five."""
    bench.board.counter = 9
    flags = flags or {'Rebooted': 1}
    return [len(bench.pass_on(bench.board.scan(CELLS, **flags))) for _ in range(5)]


def test_board_that_says_that_it_restarted_is_back_with_its_second_scan():
    bench = Bench().warm()
    assert restarted(bench) == [0, 1, 1, 1, 1]
    assert bench.statistics.lost == 0
    assert bench.statistics.unconfirmed == 1
    # That word counts once: who goes on saying it is not believed more.
    bench.board.counter += 5
    assert [len(bench.pass_on(bench.board.scan(CELLS, Rebooted=1))) for _ in range(4)] == [
        0, 0, 1, 1,
    ]  # fmt: skip


def test_board_that_restarted_is_back_within_half_a_second_though_a_scan_is_lost():
    bench = Bench().warm()
    before = bench.now
    bench.board.counter = 9
    bench.now += 0.1  # it was down
    for lost in (False, True, False, False):
        frames = bench.board.scan(CELLS, Rebooted=1)
        scans = bench.pass_on(frames[:-1] if lost else frames)
        if scans:
            break
    assert scans and bench.now - before < 0.45


def test_one_scan_that_says_restarted_is_not_enough():
    bench = Bench().warm()
    bench.board.counter = 9
    assert bench.pass_on(bench.board.scan(CELLS, Rebooted=1)) == []
    assert [len(bench.step()) for _ in range(3)] == [0, 1, 1], 'the second does not say so'


def test_restarted_clone_beside_a_board_takes_no_place_in_its_scans():
    bench = Bench().warm()
    clone = Board(bench.module, serial=bench.board.serial, counter=bench.board.counter + 7)
    for _ in range(10):
        bench.now += 0.05
        assert bench.feed(clone.scan([1.0] * 7, Rebooted=1)) == []
        bench.now += 0.05
        (scan,) = bench.feed(bench.board.scan(CELLS))
        np.testing.assert_allclose(scan.voltages, CELLS, atol=1e-6)
    assert bench.statistics.unconfirmed >= 10


def test_other_board_that_says_restarted_is_no_more_trusted_for_it():
    bench = Bench().warm()
    bench.board = Board(bench.module, serial=0x9999, counter=9)
    said = [len(bench.pass_on(bench.board.scan(CELLS, Rebooted=1))) for _ in range(10)]
    bench = Bench().warm()
    bench.board = Board(bench.module, serial=0x9999, counter=9)
    silent = [len(bench.pass_on(bench.board.scan(CELLS))) for _ in range(10)]
    assert said == silent


def test_board_back_after_silence_is_used_at_once_and_its_gap_shows():
    bench = Bench().warm()
    bench.now += 3.0
    bench.board.counter = 9
    (scan,) = bench.step()
    assert scan.sequence == 2 + 31
    assert scan.status & STATUS_SCANS_LOST
    assert bench.statistics.lost == 0


@pytest.mark.parametrize('ahead', [0, 1, 5])
def test_two_boards_on_one_address_are_not_published(ahead):
    bench = Bench().warm()
    other = Board(bench.module, serial=0x9999, counter=bench.board.counter + ahead)
    published = []
    for _ in range(20):
        bench.now += 0.05
        published += bench.feed(other.scan([1.0] * 7))
        bench.now += 0.05
        published += bench.feed(bench.board.scan(CELLS))
    assert all(scan.serial == 0x1234 for scan in published)
    assert len(published) <= 2
    assert bench.assembler.serials.contested(bench.now) == (0x1234, 0x9999)
    # The intruder leaves: after a while the first is used again.
    assert len([scan for _ in range(20) for scan in bench.step()]) >= 8
    assert bench.assembler.serials.contested(bench.now) == ()


def test_board_may_be_replaced():
    bench = Bench().warm()
    other = Board(bench.module, serial=0x9999)
    bench.now += 10.0
    found = [scan for _ in range(4) for scan in bench.step(board=other)]
    assert {scan.serial for scan in found} == {0x9999}
    assert len(found) >= 2


def test_board_that_is_not_what_the_pack_file_says_is_not_used():
    bench = Bench().warm()
    for i in range(3):
        bench.now += 1.0
        bench.feed([bench.board.identity(i, CellCount=6)])
    assert 'has 6 cells' in bench.assembler.mismatch
    assert bench.step() == bench.step() == []
    for i in range(3, 6):
        bench.now += 1.0
        bench.feed([bench.board.identity(i)])
    assert bench.assembler.mismatch == ''
    assert len(bench.step()) == 1


def test_value_in_a_place_without_a_cell_is_refused():
    bench = Bench().warm()
    wide = Board(make_module(cells=8), counter=bench.board.counter)
    assert bench.step(board=wide, voltages=[*CELLS, 3.0]) == []
    assert bench.statistics.implausible == 1


def test_unknown_version_of_the_protocol_is_refused():
    bench = Bench().warm()
    bench.now += 0.1
    assert bench.feed(bench.board.scan(CELLS, ProtocolVersion=2)) == []
    assert bench.statistics.implausible == 1
