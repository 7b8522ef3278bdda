# SPDX-License-Identifier: Apache-2.0
"""The picture: it fits, it shows the worst, it never shows the old as new."""

import pytest
from rich.console import Console
from status_samples import (
    cells,
    fault,
    faults,
    limits,
    measurement,
    report,
    snapshot,
    state,
    string,
    tell,
)

from dbms_monitor.document import document
from dbms_monitor.snapshot import Snapshot
from dbms_monitor.view import lines, render


def picture(known, now=100.0, width=100, height=40, page=0, **console):
    console = Console(width=width, height=height, **(console or {'color_system': None}))
    with console.capture() as capture:
        console.print(render(document(known, now), width, height, page))
    return [line.rstrip() for line in capture.get().splitlines()]


def styles(known, word, now=100.0):
    """Return the styles of `word` wherever it is shown."""
    found = []
    for line in lines(document(known, now), 100, 40):
        at = line.plain.find(word)
        if at >= 0:
            found += [str(span.style) for span in line.spans if span.start <= at < span.end]
    return found


def test_a_healthy_pack_at_a_glance():
    assert picture(snapshot()) == [
        ' robot  CONNECTED   SOC      80.0%        48.00 V  -5.0 A  -240 W  25.0 °C',
        ' /battery',
        '',
        ' no faults',
        '',
        ' string     state            −  p  +     voltage      link   current',
        ' a          CONNECTED        ■  □  ■     48.00 V   47.90 V    -5.0 A',
        ' may charge         20.0 A       up to 53.0 V',
        ' may discharge      70.0 A       down to 40.0 V',
        '',
        ' cells   median 3.715 V   ▲ highest   ▼ lowest   spread 30 mV',
        ' m1             3.700▼  3.710   3.720   3.730▲',
        ' 25..26 °C       80.0%   80.0%   80.0%   80.0%',
        ' m2             3.700▼  3.710   3.720   3.730▲',
        ' 25..26 °C       80.0%   80.0%   80.0%   80.0%',
        '',
        ' OK    bus main: up, 1,200 frames',
        ' heard protection 0.0, limits 0.0, cells 0.0, strings 0.0, estimation 0.0,'
        ' battery 0.0 s ago',
    ]


def test_the_late_is_dim_and_said_to_be_silent():
    assert 'bright_black' not in styles(snapshot(), '3.700▼')
    assert 'bright_black' in styles(snapshot(), '3.700▼', now=101.5)
    assert 'bright_black' in styles(snapshot(), '48.00 V', now=101.5)
    text = '\n'.join(picture(snapshot(), now=101.5))
    assert 'string a silent 2 s' in text
    assert ' silent 2 s  ' in text  # of the module


def test_the_old_is_shown_as_unknown():
    text = '\n'.join(picture(snapshot(now=100.0), now=109.0))
    assert '3.7' not in text
    assert '48.0' not in text
    assert 'nothing heard for 9 s: has the graph ended?' in text
    assert 'faults are not known' in text
    assert 'UNKNOWN' in text


def test_a_part_that_is_silent_is_named_while_the_others_are_shown():
    known = snapshot(now=100.0)
    known.put('estimate', known.estimate.message, 90.0)
    text = '\n'.join(picture(known))
    assert 'estimation silent 10 s' in text
    assert '3.710' in text and ' -- ' in text


def test_two_strings_of_sixteen_cells_fit_with_all_there_is():
    known = snapshot(modules=8, size=4)
    known.put('state', state(strings=[string('a'), string('b')]), 100.0)
    known.put_string('b', measurement(), 100.0)
    shown = picture(known)
    assert len(shown) <= 40
    assert sum('3.730▲' in line for line in shown) == sum('80.0%   80.0%' in x for x in shown) == 8
    low = picture(known, height=28)
    assert len(low) <= 28
    assert sum('3.730▲' in line for line in low) == 8
    assert not any('80.0%   80.0%' in line for line in low)  # no room for it


def test_the_rows_of_a_large_module_are_of_one_length():
    shown = picture(snapshot(modules=1, size=16), width=100)
    first, second = (line for line in shown if line.count('3.') == 8)
    assert first.split()[1:] == ['3.700▼', *(f'3.{710 + 10 * n}' for n in range(7))]
    assert second.split()[-1] == '3.850▲'


def test_a_large_pack_is_a_line_per_module_with_the_worst_first():
    known = snapshot(modules=256, size=16)
    known.put_module('m200', cells([3.7] * 15 + [3.1]), 100.0)
    known.put_module('m77', cells([3.7] * 16), 50.0)
    known.put_module('m78', cells([3.7] * 15 + [float('nan')]), 100.0)
    shown = picture(known, height=30)
    assert len(shown) <= 30
    assert any('farthest off  m200:16 3.100' in line for line in shown)
    first = next(i for i, line in enumerate(shown) if 'min V' in line) + 1
    assert 'm77' in shown[first] and 'silent 50 s' in shown[first]
    assert 'm78' in shown[first + 1] and '1 not measured' in shown[first + 1]
    assert 'm200' in shown[first + 2] and '3.100   16' in shown[first + 2]


def test_the_pages_of_a_large_pack_show_every_module_once():
    known = snapshot(modules=256, size=16)
    head = next(line for line in picture(known, height=30) if '256 modules' in line)
    pages = int(head.split()[-1])
    named = []
    for page in range(pages):
        shown = picture(known, height=30, page=page)
        assert any(f'page {page + 1} of {pages}' in line for line in shown)
        named += [line.split()[0] for line in shown if '┿' in line]
    assert sorted(named) == sorted(f'm{n + 1}' for n in range(256))
    assert picture(known, height=30, page=pages) == picture(known, height=30)
    assert any(f'page {pages} of' in line for line in picture(known, height=30, page=-1))


def test_faults_and_reasons_are_told():
    known = snapshot()
    known.put('faults', faults(*(fault(cell=n) for n in range(1, 60))), 100.0)
    known.put('limits', limits(charge=0.0, why='CELL_OVERVOLTAGE RSL m2 cell 4'), 100.0)
    shown = picture(known, height=30)
    assert len(shown) <= 30
    assert '  MSL  active    1:00  CELL_OVERVOLTAGE cell 1' in shown
    assert any('limited by CELL_OVERVOLTAGE RSL m2 cell 4' in line for line in shown)
    assert sum('CELL_OVERVOLTAGE cell' in line for line in shown) > 2
    assert any(line.startswith(' and ') and line.endswith(' more') for line in shown)


def test_what_is_wrong_with_buses_and_strings_is_told():
    known = snapshot()
    tell(
        known,
        report('/battery/driver: bus main', level=b'\1', frames='1200', crc='7', lost='3'),
        report('/battery/driver: string a', level=b'\2'),
        report('/battery/driver: module m1', level=b'\0'),
        report('/battery/driver: bus odd', frames='many', crc='\x1b[2J'),
    )
    shown = picture(known)
    assert ' WARN  bus main: up, 1,200 frames, 7 refused, 3 lost' in shown
    assert ' ERROR driver, string a: up' in shown
    assert ' OK    bus odd: up' in shown
    assert not any('module m1' in line for line in shown)


def test_bleeding_and_flags_are_shown():
    known = snapshot()
    known.put_module('m1', cells([3.7] * 4, bleeding=0b0010, status=1), 100.0)
    sensor = measurement()
    sensor.interlock, sensor.status = 2, 2
    known.put_string('a', sensor, 100.0)
    text = '\n'.join(picture(known))
    assert '3.700▼* ' in text and '* bleeding' in text
    assert ' open wire ' in text
    assert 'interlock open  coil fault' in text


def test_a_simulation_is_said_to_be_one():
    known = snapshot()
    tell(
        known,
        report('/battery/sim: simulation', feed='cell model', position='75', time_scale='60',
               faults='open_wire m1:3'),
    )  # fmt: skip
    (line,) = [line for line in picture(known) if 'simulated' in line]
    assert 'simulated: cell model, 60 times faster, at 1:15, broken: open_wire m1:3' in line


@pytest.mark.parametrize('bad', ['\x1b[2J', '\n\n\n', '\r', '\x07', '[red]x[/red]', '\u202e'])
def test_text_of_others_is_shown_and_not_obeyed(bad):
    known = snapshot()
    broken = state(name=f'{bad}OK', strings=[string(f's{bad}', f'{bad}', f'r{bad}')])
    broken.pack = f'pack{bad}'
    known.put('state', broken, 100.0)
    known.put_module(f'm{bad}', cells([3.7]), 100.0)
    odd = fault()
    odd.text = f'text{bad}'
    known.put('faults', faults(odd), 100.0)
    known.put('limits', limits(why=f'why{bad}'), 100.0)
    tell(known, report(f'/battery/dri{bad}ver: bus x{bad}', level=b'\2'))
    shown = picture(known)
    assert len(shown) == len(lines(document(known, 100.0), 100, 40))
    if not bad.startswith('['):
        assert not set(bad) & set('\x1b\r\x07\u202e') & set(''.join(shown))
    else:
        assert any('text[red]x[/red]' in line for line in shown)


@pytest.mark.parametrize(('width', 'height'), [(20, 5), (40, 10), (300, 100), (1, 1)])
def test_any_terminal_gets_a_picture(width, height):
    known = snapshot(modules=8, size=24)
    shown = picture(known, width=width, height=height)
    assert all(len(line) <= width for line in shown)
    assert len(shown) <= height


def test_without_colour_nothing_is_lost():
    text = picture(snapshot(), force_terminal=True, no_color=True)
    assert not any(f'\x1b[{number}' in line for line in text for number in (31, 32, 38, 41, 48))


def test_two_protections_are_told():
    known = snapshot()
    for number in (5, 1, 6, 2, 7, 3):
        known.put('state', state(sequence=number), 100.0)
    assert any('more than one protection speaks here' in line for line in picture(known))


def test_a_cell_far_off_does_not_colour_the_others():
    known = snapshot(modules=1, size=1)
    known.put_module('m1', cells([3.300, 3.301, 3.302, 3.9]), 100.0)
    assert 'default' in styles(known, '3.301')
    assert 'bold dark_orange' in styles(known, '3.900')


def test_nothing_known_is_a_picture_too():
    shown = picture(Snapshot('battery'))
    assert shown[0].startswith(' (protection not heard)  UNKNOWN')
    assert any('protection not heard   estimation not heard' in line for line in shown)
