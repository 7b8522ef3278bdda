# SPDX-License-Identifier: Apache-2.0
"""The picture: it fits, it shows the worst, it never shows the old as new."""

from types import SimpleNamespace

import pytest
from rich.console import Console
from status_samples import cells, fault, limits, snapshot

from dbms_monitor.document import document
from dbms_monitor.snapshot import Snapshot
from dbms_monitor.view import render


def lines(known, now=100.0, width=100, height=40):
    console = Console(width=width, height=height, color_system=None)
    with console.capture() as capture:
        console.print(render(document(known, now), width, height))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_healthy_pack_at_a_glance():
    assert lines(snapshot()) == [
        ' robot  CONNECTED    SOC 80.0 % ████████░░  48.00 V  -5.0 A  -240 W  25.0 °C   /battery',
        '',
        ' a            CONNECTED        −■ p□ +■    48.00 V  link   47.90 V     -5.0 A',
        ' may charge 20.0 A to 53.0 V, discharge 70.0 A to 40.0 V',
        '',
        ' m1              3.700   3.710   3.720   3.730',
        '   25..26 °C    ▇ 80.0  ▇ 80.0  ▇ 80.0  ▇ 80.0',
        ' m2              3.700   3.710   3.720   3.730',
        '   25..26 °C    ▇ 80.0  ▇ 80.0  ▇ 80.0  ▇ 80.0',
        '',
        ' no faults',
        '',
        ' OK    bus main: up, 1,200 frames',
    ]


def test_the_old_is_shown_as_unknown():
    text = '\n'.join(lines(snapshot(now=100.0), now=109.0))
    assert '3.7' not in text
    assert '48.0' not in text
    assert 'silent 9 s' in text
    assert 'faults are not known' in text
    assert 'UNKNOWN' in text


def test_two_strings_of_sixteen_cells_fit_a_small_terminal():
    picture = lines(snapshot(modules=4, size=8), height=24)
    assert len(picture) <= 24
    assert sum('3.770' in line for line in picture) == 4


def test_a_large_pack_is_a_line_per_module_with_the_worst_first():
    known = snapshot(modules=256, size=16)
    known.put_module('m200', cells([3.7] * 15 + [3.1]), 100.0)
    known.put_module('m77', cells([3.7] * 16), 50.0)
    picture = lines(known, height=30)
    assert len(picture) <= 30
    first = next(i for i, line in enumerate(picture) if 'min V' in line) + 1
    assert 'm77' in picture[first] and 'silent 50 s' in picture[first]
    assert 'm200' in picture[first + 1] and '3.100    16' in picture[first + 1]
    assert any('more modules' in line for line in picture)


def test_faults_and_reasons_are_told():
    known = snapshot()
    known.put('faults', SimpleNamespace(faults=[fault(cell=n) for n in range(1, 60)]), 100.0)
    known.put('limits', limits(charge=0.0, why='CELL_OVERVOLTAGE RSL m1 cell 4'), 100.0)
    picture = lines(known, height=30)
    assert len(picture) <= 30
    assert ' MSL active   CELL_OVERVOLTAGE cell 1' in picture
    assert any('CELL_OVERVOLTAGE RSL m1 cell 4' in line for line in picture)
    assert any(line.startswith('  and ') and line.endswith(' more') for line in picture)


@pytest.mark.parametrize(('width', 'height'), [(20, 5), (40, 10), (300, 100)])
def test_any_terminal_gets_a_picture(width, height):
    known = snapshot(modules=8, size=24)
    assert all(len(line) <= width for line in lines(known, width=width, height=height))


def test_nothing_known_is_a_picture_too():
    assert lines(Snapshot('battery'))[0].startswith(' (protection is silent)  UNKNOWN')
