# SPDX-License-Identifier: Apache-2.0
"""CSV of GVRET and SavvyCAN is a CAN log as the others are."""

from collections import Counter

import numpy as np
import pytest

from dbms_pack import load_pack
from dbms_replay.bags import Bag
from dbms_replay.convert import play
from dbms_replay.convert_cli import main
from dbms_replay.gvret import is_gvret, read_gvret

HEADER = 'Time Stamp,ID,Extended,Dir,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8'


def row(message):
    data = ','.join(f'{byte:02X}' for byte in message.data)
    time = round(message.timestamp * 1e6)
    return f'{time},{message.arbitration_id:08X},false,Rx,0,{len(message.data)},{data}'


@pytest.fixture(scope='module')
def frames(tmp_path_factory):
    cells = tmp_path_factory.mktemp('cells') / 'cells.csv'
    names = ','.join(f'Cell {n}(V)' for n in range(1, 7))
    rows = [f'{t:.1f},-20,{",".join(["3.7"] * 6)}' for t in np.arange(0.0, 3.0, 0.5)]
    cells.write_text('\n'.join([f'Time(s),Current(A),{names}', *rows]))
    assert not is_gvret(cells)
    return [message for _, message in play(load_pack('leaf_module'), cells, 1.0)]


def test_its_frames_are_those_that_were_logged(tmp_path, frames):
    path = tmp_path / 'log.csv'
    path.write_text('\n'.join([HEADER, *map(row, frames), '']))
    read = list(read_gvret(path, Counter()))
    assert [(one.arbitration_id, bytes(one.data)) for one in read] == [
        (one.arbitration_id, bytes(one.data)) for one in frames
    ]
    assert read[-1].timestamp == pytest.approx(frames[-1].timestamp, abs=1e-6)
    target = tmp_path / 'log.mcap'
    assert main([str(path), '--pack', 'leaf_module', '-o', str(target)]) == 0
    assert len(list(Bag(target).messages())) > 50


def test_logs_without_a_direction_are_read_too(tmp_path, frames):
    path = tmp_path / 'log.csv'
    older = [row(one).replace(',Rx', '') for one in frames[:5]]
    path.write_text('\n'.join([HEADER.replace(',Dir', ''), *older]))
    read = list(read_gvret(path, Counter()))
    assert [bytes(one.data) for one in read] == [bytes(one.data) for one in frames[:5]]


@pytest.mark.parametrize(
    'bad', ['x,400,false,Rx,0,1,00', '1,GGG,false,Rx,0,1,00', '1,400,false,Rx,0,8,00,100', '1,400']
)
def test_a_row_that_is_wrong_is_left_out_and_counted(tmp_path, frames, bad):
    path = tmp_path / 'log.csv'
    path.write_text('\n'.join([HEADER, row(frames[0]), bad, row(frames[1])]))
    problems = Counter()
    assert len(list(read_gvret(path, problems))) == 2
    assert problems == {'lines malformed': 1}
