# SPDX-License-Identifier: Apache-2.0
"""Which files a cell is identified from when cycles are held out."""

import shutil
from pathlib import Path

import pytest
from bench import soc, soc_held_out

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    '25degC/549_C20DisCh', '25degC/550_HPPC', '25degC/551_UDDS', '25degC/552_LA92',
    '25degC/553_Mixed1', '0degC/590_Mixed2', '0degC/589_Cap_1C',
)  # fmt: skip


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Return the words that the command identify got, with empty files of measurements."""
    for name in FILES:
        path = tmp_path / 'lg_hg2' / f'{name}_processed.csv.gz'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setenv('DBMS_DATA', str(tmp_path))
    words = []

    def identify(arguments) -> int:
        words.extend(arguments)
        made = Path(arguments[arguments.index('-o') + 1])
        shutil.copy(ROOT / 'config' / 'cells' / 'lg_hg2.yaml', made)
        return 0

    monkeypatch.setattr(soc_held_out.identify_cli, 'main', identify)
    return words


@pytest.mark.parametrize('held', [['Mixed'], ['UDDS', 'LA92'], ['Mixed', 'UDDS', 'LA92']])
def test_the_cell_is_made_of_all_files_but_those_held_out(given, held):
    cells = soc_held_out.cells_without(held)
    assert [*cells] == ['lg_hg2'] and cells['lg_hg2'].name == 'lg_hg2'
    used = {Path(word).name for word in given if word.endswith('.gz') and Path(word).exists()}
    expected = {Path(f'{name}_processed.csv.gz').name for name in FILES}
    assert used == {name for name in expected if not any(part in name for part in held)}
    shipped = ROOT / 'config' / 'cells' / 'lg_hg2.yaml'
    assert Path(given[given.index('-o') + 1]) != shipped and shipped.exists()


def test_what_cannot_be_held_out_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('DBMS_DATA', str(tmp_path))
    for name, said in (('WLTP', 'no such cycles'), ('Mixed', 'no data')):
        monkeypatch.setattr('sys.argv', ['bench soc', '--held-out', name])
        assert soc.main() == 1
        assert said in capsys.readouterr().err
