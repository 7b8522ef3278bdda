# SPDX-License-Identifier: Apache-2.0
"""./dbms estimate: the recording as the node would have seen it, and what is wrong with a file."""

import csv
import itertools
import re
import subprocess
import sys

import numpy as np
import pytest
from estimation_rig import CELL, Truth, make_pack, pulses
from hypothesis import given, settings
from hypothesis import strategies as st

from dbms_estimation import estimate_cli
from dbms_estimation.offline import estimate, rising
from dbms_estimation.pack_estimator import PackEstimator
from dbms_estimation.records import Record, RecordError, read_record, write_columns

HEADER = 'time_s,current_A,voltage_V,temperature_degC'


def recording(soc: float = 0.8, rows: int = 900, load=pulses) -> tuple[Record, np.ndarray]:
    """Return a recording of a cell that follows the model, and its true SOC."""
    truth = Truth([soc])
    values = []
    for k in range(rows):
        if k:
            truth.step(1.0, load(float(k)))
        values.append((k, load(float(k)) if k else 0.0, truth.voltage[0], 25.0, truth.soc[0]))
    columns = np.array(values).T
    return Record(*columns[:4]), columns[4]


def write(path, record: Record) -> None:
    columns = (record.time, record.current, record.voltage, record.temperature)
    write_columns(path, dict(zip(HEADER.split(','), columns, strict=True)))


def rows_of(path) -> list[dict[str, str]]:
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def test_the_recording_is_estimated_as_the_node_would():
    record, _ = recording()
    result = estimate(record, CELL)
    live = PackEstimator(make_pack(cells=1, temperatures=1, current_period=1.0))
    for k, time in enumerate(record.time):
        live.add_current(0, time, record.current[k])
        live.add_scan(0, time, time, [record.voltage[k]], [25.0])
        live.tick()
        assert result.soc[k] == pytest.approx(live.filter.soc[0], abs=1e-4)
        assert result.soc_std[k] == pytest.approx(live.filter.sigma[0], rel=1e-2)


@pytest.mark.parametrize('wrong', [-0.3, 0.0, 0.2])
def test_a_said_soc_is_only_a_beginning(wrong):
    record, truth = recording(0.6, 1500)
    result = estimate(record, CELL, 0.6 + wrong)
    assert result.soc[0] == pytest.approx(0.6 + wrong)
    error = np.abs(result.soc - truth)
    assert error[600:].max() < 0.015
    assert (error[600:] < 3 * result.soc_std[600:]).all()


def test_the_offset_of_the_current_is_found():
    record, _ = recording(0.95, 7200)
    shifted = Record(record.time, record.current + 0.03, record.voltage, record.temperature)
    found = estimate(shifted, CELL).current_bias[-1] - estimate(record, CELL).current_bias[-1]
    assert 0.006 < found < 0.04


def test_a_logger_that_leaves_out_what_does_not_change_loses_nothing():
    record, truth = recording(0.8, 7200, lambda t: -1.0 if t > 300 else 0.0)
    keep = (record.time <= 600) | (record.time % 900 == 0)
    thin = Record(*(column[keep] for column in vars(record).values()))
    error = np.abs(estimate(thin, CELL).soc - truth[keep])
    assert error.max() < 0.01


def test_rows_whose_time_does_not_rise_are_not_used():
    record, _ = recording(rows=50)
    order = [*range(30), 10, 29, *range(30, 50)]
    mixed = Record(*(column[order] for column in vars(record).values()))
    plain, result = estimate(record, CELL), estimate(mixed, CELL)
    assert result.refused == {'rows whose time does not rise': 2}
    assert np.array_equal(np.delete(result.soc, [30, 31]), plain.soc)


def test_one_stamp_far_ahead_costs_that_row_alone():
    record, _ = recording(rows=60)
    time = record.time.copy()
    time[20] = 1e9
    plain = estimate(record, CELL)
    result = estimate(Record(time, record.current, record.voltage, record.temperature), CELL)
    assert result.refused == {'rows whose time does not rise': 1}
    assert abs(result.soc[-1] - plain.soc[-1]) < 1e-3


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 12), max_size=12))
def test_the_most_rows_that_rise_are_used(times):
    used = rising(np.array(times, dtype=float))
    kept = [t for t, use in zip(times, used, strict=True) if use]
    assert all(a < b for a, b in itertools.pairwise(kept))
    longest = [0] * 14  # of the chains that end below each time
    for t in times:
        longest[t + 1 :] = [max(n, longest[t] + 1) for n in longest[t + 1 :]]
    assert len(kept) == longest[13]


def test_a_spike_of_the_current_is_refused_and_no_offset():
    record, truth = recording(0.6, 900)
    current = record.current.copy()
    current[100::100] = 1e6
    spiked = Record(record.time, current, record.voltage, record.temperature)
    result = estimate(spiked, CELL, 0.6)
    assert result.refused == {'currents beyond range': 8}
    assert np.abs(result.soc - truth).max() < 0.03


def test_a_said_soc_is_counted_from_before_the_first_voltage():
    record, truth = recording(0.6, 900)
    voltage = record.voltage.copy()
    voltage[:600] = np.nan
    late = Record(record.time, record.current, voltage, record.temperature)
    result = estimate(late, CELL, 0.6)
    assert np.abs(result.soc - truth)[:600].max() < 0.005
    assert np.isfinite(result.soc_std).all()


def test_values_that_no_cell_can_have_are_told(tmp_path, capsys):
    record, _ = recording(rows=30)
    wrong = Record(record.time, record.current, 1000 * record.voltage, record.temperature + 200)
    write(tmp_path / 'in.csv', wrong)
    words = [str(tmp_path / 'in.csv'), '--cell', 'lg_hg2', '-o', str(tmp_path / 'out.csv')]
    assert estimate_cli.main(words) == 1
    said = capsys.readouterr()
    assert '30 voltages that no cell can have' in said.err
    assert '30 temperatures that no cell can have' in said.err
    assert 'no SOC' in said.err and 'nan' not in said.out + said.err
    assert len(rows_of(tmp_path / 'out.csv')) == 30
    assert estimate_cli.main([*words, '--initial-soc', '0.5']) == 0


def test_the_input_is_not_written_over(tmp_path, capsys):
    path = tmp_path / 'in.csv'
    write(path, recording(rows=5)[0])
    before = path.read_bytes()
    assert estimate_cli.main([str(path), '--cell', 'lg_hg2', '-o', str(path)]) == 1
    assert 'is the input itself; name another file' in capsys.readouterr().err
    assert path.read_bytes() == before


def test_what_was_not_measured_makes_less_sure_and_never_nan():
    record, truth = recording(rows=1200)
    voltage, current = record.voltage.copy(), record.current.copy()
    voltage[300:600] = np.nan
    current[700:720] = np.nan
    nothing = np.full(1200, np.nan)
    result = estimate(Record(record.time, current, voltage, nothing), CELL)
    assert np.isfinite(result.soc).all() and np.isfinite(result.soc_std).all()
    assert result.soc_std[599] > result.soc_std[299]
    assert result.soc_std[719] > result.soc_std[699]
    assert (np.abs(result.soc - truth) < 3 * result.soc_std).all()


def test_the_command_writes_a_row_for_each_row(tmp_path, capsys):
    record, _ = recording(rows=60)
    write(tmp_path / 'in.csv', record)
    out = tmp_path / 'out.csv'
    words = [str(tmp_path / 'in.csv'), '--cell', 'lg_hg2', '--initial-soc', '0.7', '-o', str(out)]
    assert estimate_cli.main(words) == 0
    rows = rows_of(out)
    assert len(rows) == 60
    assert list(rows[0]) == ['time_s', 'soc', 'soc_std', 'current_bias_A', 'voltage_model_V']
    assert [float(row['time_s']) for row in rows] == record.time.tolist()
    assert float(rows[0]['soc']) == 0.7
    assert all(0 < float(row['soc_std']) < 0.3 for row in rows)
    assert '60 rows' in capsys.readouterr().out


def test_blank_temperatures_and_a_missing_temperature_column_are_the_same(tmp_path):
    text = 'time_s,current_A,voltage_V{}\n0,0,3.7{}\n1,-1,3.68{}\n2,-1,3.67{}\n'
    (tmp_path / 'blank.csv').write_text(text.format(',temperature_degC', *[','] * 3))
    (tmp_path / 'none.csv').write_text(text.format('', '', '', ''))
    blank, none = (estimate(read_record(tmp_path / f'{n}.csv'), CELL) for n in ('blank', 'none'))
    assert np.array_equal(blank.soc, none.soc)


@pytest.mark.parametrize(
    'separator, start', [(';', ''), ('\t', ''), (',', '\ufeff'), (';', '\ufeff')]
)
def test_other_separators_and_a_mark_of_order_are_read(tmp_path, separator, start):
    record, _ = recording(rows=20)
    write(tmp_path / 'plain.csv', record)
    text = (tmp_path / 'plain.csv').read_text()
    (tmp_path / 'other.csv').write_text(start + text.replace(',', separator), encoding='utf-8')
    plain, other = (read_record(tmp_path / f'{n}.csv') for n in ('plain', 'other'))
    assert np.array_equal(plain.voltage, other.voltage)


def test_progress_is_told_to_the_end():
    told: list[int] = []
    estimate(recording(rows=1100)[0], CELL, progress=told.append)
    assert told == [0, 500, 1000]


@pytest.mark.parametrize(
    'text, says',
    [
        ('', r'in\.csv:1: time_s: no such column among nothing; the header must be time_s,cur'),
        ('time_s,current_A\n0,1\n', r':1: voltage_V: no such column among time_s, current_A;'),
        (f'{HEADER}\n', 'holds no row below its header; give at least one row'),
        (f'{HEADER}\n0,0,3.7,25\n1,zero,3.7,25\n', r":3: current_A: 'zero'; a number in A"),
        (f'{HEADER}\n0,0,3.7,25\n1,"0,5",3.7,25\n', r":3: current_A: '0,5'; a number in A with"),
        (f'{HEADER}\n,0,3.7,25\n', r":2: time_s: ''; a number in s"),
        (f'{HEADER}\n0,inf,3.7,25\n', r":2: current_A: 'inf'; a number"),
        (f'{HEADER}\n0,0,3.7\n', r':2: 3 fields; 4, one per column'),
        (f'{HEADER},time_s\n0,0,3.7,25,0\n', r':1: time_s: is there 2 times; keep one'),
        (f'{HEADER}\n0,0,3.7,\0\n', r'in\.csv: holds a null byte'),
    ],
)
def test_a_malformed_file_is_refused_with_its_place(tmp_path, capsys, text, says):
    path, out = tmp_path / 'in.csv', tmp_path / 'out.csv'
    path.write_text(text)
    assert estimate_cli.main([str(path), '--cell', 'lg_hg2', '-o', str(out)]) == 1
    assert re.search(says, capsys.readouterr().err)
    assert not out.exists()


def test_files_that_cannot_be_read_or_written_are_named(tmp_path, capsys):
    path = tmp_path / 'in.csv'
    base = ['--cell', 'lg_hg2', '-o', str(tmp_path / 'no' / 'out.csv')]
    assert estimate_cli.main([str(path), *base]) == 1
    assert 'in.csv: No such file' in capsys.readouterr().err
    path.write_bytes(b'\xff\xfe\x00t')
    assert estimate_cli.main([str(path), *base]) == 1
    assert 'byte 0xff is no UTF-8' in capsys.readouterr().err
    path.write_text(f'{HEADER}\n0,0,3.7,25\n')
    assert estimate_cli.main([str(path), *base]) == 1
    assert 'out.csv' in capsys.readouterr().err
    assert estimate_cli.main([str(path), '--cell', 'no_such', *base[2:]]) == 1
    assert 'no_such' in capsys.readouterr().err


@pytest.mark.parametrize('share', ['1.1', '-0.1', 'nan', 'half'])
def test_an_soc_that_is_none_is_refused(share, capsys):
    with pytest.raises(SystemExit) as ended:
        estimate_cli.main(['in.csv', '--cell', 'x', '-o', 'out.csv', f'--initial-soc={share}'])
    assert ended.value.code == 2
    assert 'is no number from 0 to 1' in capsys.readouterr().err
    with pytest.raises(ValueError, match='from 0 to 1'):
        estimate(recording(rows=2)[0], CELL, 1.5)


def test_a_plot_is_drawn(tmp_path):
    pytest.importorskip('matplotlib')
    write(tmp_path / 'in.csv', recording(rows=60)[0])
    image = tmp_path / 'out.png'
    words = [str(tmp_path / 'in.csv'), '--cell', 'lg_hg2', '-o', str(tmp_path / 'out.csv')]
    assert estimate_cli.main([*words, '--plot', str(image)]) == 0
    assert image.read_bytes().startswith(b'\x89PNG')


def test_without_matplotlib_the_plot_is_refused_before_the_work(tmp_path):
    write(tmp_path / 'in.csv', recording(rows=5)[0])
    code = (
        'import sys; sys.modules["matplotlib"] = None\n'
        'from dbms_estimation.estimate_cli import main\n'
        f'sys.exit(main(["{tmp_path}/in.csv", "--cell", "lg_hg2", "-o", "{tmp_path}/out.csv",'
        f' "--plot", "{tmp_path}/out.png"]))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 1
    assert '--plot needs matplotlib' in done.stderr
    assert not (tmp_path / 'out.csv').exists()


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200))
def test_garbage_is_refused_or_read_and_nothing_else(garbage):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'in.csv'
        path.write_bytes(HEADER.encode() + b'\n' + garbage)
        try:
            record = read_record(path)
        except RecordError as error:
            assert 'in.csv' in str(error)
        else:
            assert np.isfinite(record.time).all()
