# SPDX-License-Identifier: Apache-2.0
"""Self-test, late cycles, an event log that keeps nothing: what the guard says of itself."""

import os
import pty
import time
import tty

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from node_rig import World
from protection_rig import Rig, make_pack
from test_protection_node import world_of  # noqa: F401

from dbms_node import qos
from dbms_protection.measurements import Contact
from dbms_protection.supervision import (
    CYCLE_LATE,
    PATIENCE,
    Check,
    CycleWatch,
    Outcome,
    SelfTest,
    log_check,
    summary,
    tell,
)

LOG = Check('event log', Outcome.PASSED, 'fine')


def seen_of(rig, seconds=PATIENCE + 1.0):
    test = SelfTest('complete', LOG)
    test.begin(rig.now)
    news = test.update(rig.guard, rig.now)
    rig.run(seconds)
    return test, [check.line for check in news + test.update(rig.guard, rig.now)]


def test_a_pack_that_can_be_opened_passes_and_each_check_is_told_once():
    rig = Rig(make_pack(strings=2))
    rig.guard.activate(rig.now)
    test, lines = seen_of(rig)
    assert test.outcome is Outcome.PASSED and summary(list(test.checks.values())) == 'passed'
    assert len(lines) == 4
    assert 'string b: all read open, and the driver answers' in lines[-1]
    assert test.update(rig.guard, rig.now) == []


def _welded(rig):
    rig.units[0].stuck[2] = Contact.CLOSED


def _faulty(rig):
    rig.units[0].stuck[0] = Contact.FAULT


def _dumb(rig):
    rig.dumb.add(0)


def _driverless(rig):
    rig.answer = False


@pytest.mark.parametrize(
    'break_it, said',
    [
        (_welded, 'plus read closed, but should be open; look for a weld'),
        (_faulty, 'faulty feedback; look at the auxiliary contacts'),
        (_dumb, 'no feedback; look for the contactor unit'),
        (_driverless, 'driver has not answered an opening; start the driver that offers'),
    ],
)
def test_a_pack_that_cannot_be_opened_fails_with_the_remedy(break_it, said):
    rig = Rig()
    break_it(rig)
    rig.guard.activate(rig.now)
    test, lines = seen_of(rig, 1.0)
    assert test.outcome is Outcome.WAITING, 'who begins to speak has his time'
    assert not any('contactors' in line for line in lines)
    rig.run(PATIENCE)
    [failed] = test.update(rig.guard, rig.now)
    assert failed.outcome is Outcome.FAILED and said in failed.line
    assert said in summary(list(test.checks.values()))


def test_a_unit_that_comes_late_passes_late():
    rig = Rig()
    rig.dumb.add(0)
    rig.guard.activate(rig.now)
    test, _ = seen_of(rig)
    assert test.outcome is Outcome.FAILED
    rig.dumb.clear()
    rig.run(0.1)
    assert [check.outcome for check in test.update(rig.guard, rig.now)] == [Outcome.PASSED]


def test_closed_contactors_of_another_guard_are_no_failure():
    rig = Rig()
    _welded(rig)
    rig.guard.activate(rig.now)
    test = SelfTest('complete', LOG)
    rig.run(PATIENCE + 1.0)
    assert test.update(rig.guard, rig.now, commands=False) == [*test.checks.values()]
    assert list(test.checks) == ['limits', 'event log']


def test_an_event_log_is_judged():
    assert log_check('', '', False).outcome is Outcome.PASSED
    assert log_check('x', '', True).line == 'self-test, event log: x can be written'
    assert 'set event_file to another place' in log_check('x', 'x: disk is full', True).line


def test_late_cycles_are_counted_and_told_for_a_while():
    watch = CycleWatch(0.02, 0.125)
    now = 0.0
    for gap in (0.0, 0.02, 0.03, 0.041, 0.126):
        now += gap
        watch.begin(now)
    assert (watch.cycles, watch.overruns) == (5, 2)
    assert watch.worst == pytest.approx(0.126)
    assert 'after 126 ms instead of 20 ms' in watch.trouble(now + 9.0)
    assert watch.trouble(now + 11.0) == ''
    watch.pause()
    watch.begin(now + 100.0)
    assert watch.overruns == 2


def test_a_warning_of_the_pack_opens_nothing_and_ends():
    rig = Rig().activate()
    rig.connect()
    tell(rig.guard, CYCLE_LATE, 'late')
    tell(rig.guard, CYCLE_LATE, 'later')
    [fault] = rig.guard.book.listing()
    assert fault.text == 'CYCLE_LATE MOL at the pack: later'
    rig.run(0.5)
    assert rig.guard.strings[0].state.name == 'CONNECTED'
    tell(rig.guard, CYCLE_LATE, '')
    assert not rig.guard.book.listing()


# -- the node -------------------------------------------------------------------------------------


def told_by(world):
    heard = {}

    def hear(message):
        heard.update({one.name.rpartition(': ')[2]: one for one in message.status})

    world.listener.create_subscription(DiagnosticArray, '/diagnostics', hear, qos.DIAGNOSTICS)
    return heard


def test_the_node_tells_its_self_test_in_log_and_diagnostics(world_of, tmp_path, capfd):  # noqa: F811
    world = world_of(event_file=str(tmp_path / 'events.sqlite'))
    heard = told_by(world)
    world.until(lambda: 'self-test' in heard, 'a word although it is not configured')
    assert heard['self-test'].level == b'\1'
    world.activate()
    world.until(lambda: heard['self-test'].message == 'passed', 'passed')
    assert heard['self-test'].level == heard['event log'].level == b'\0'
    values = {value.key: value.value for value in heard['cycle'].values}
    assert values['period'] == '0.02 s' and int(values['cycles']) > 0
    assert heard['contactors'].message == 'not worn'
    lives = {value.key: value.value for value in heard['contactors'].values}
    assert lives['a plus'].startswith('0 of inf closings') and len(lives) == 3
    world.node.close()
    assert 'string a: all read open, and the driver answers' in capfd.readouterr().err


def test_a_disk_that_fails_is_a_warning_and_guarding_goes_on(world_of, tmp_path):  # noqa: F811
    (tmp_path / 'file').write_text('')
    world = world_of(event_file=str(tmp_path / 'file' / 'events.sqlite'))
    heard = told_by(world)
    world.activate()
    world.connect()
    world.until(lambda: ('EVENT_LOG_LOST', 1, '') in world.listener.names(), 'the warning')
    world.until(lambda: 'event log' in heard, 'diagnostics')
    assert heard['event log'].level == heard['self-test'].level == b'\2'


def test_a_log_that_is_required_and_cannot_be_written_stops_the_start(  # noqa: F811
    world_of,  # noqa: F811
    tmp_path,
    capfd,
):
    (tmp_path / 'file').write_text('')
    file = str(tmp_path / 'file' / 'events.sqlite')
    world = world_of(event_file=file, event_log_required=True)
    world.node.trigger_configure()
    assert world.node.state_label == 'unconfigured'
    said = capfd.readouterr().err
    assert 'event_log_required is set' in said and 'set event_file to another place' in said


def hold_up(world):
    """Hold the executor up, not for as long as the lease."""
    end = time.monotonic() + 0.6 * world.pack.strings[0].contactors.lease
    while time.monotonic() < end:
        pass


def test_a_cycle_that_comes_late_is_told(world_of):  # noqa: F811
    world = world_of().activate()
    hold_up(world)
    world.until(lambda: ('CYCLE_LATE', 1, '') in world.listener.names(), 'the warning')


def test_late_cycles_of_a_simulation_are_reported_and_no_fault_of_the_pack(world_of):  # noqa: F811
    world = world_of(simulation=True)
    heard = told_by(world)
    world.activate()
    hold_up(world)
    world.until(lambda: 'cycle' in heard and heard['cycle'].level == b'\1', 'the report')
    told = world.listener.faults.sequence
    world.until(lambda: world.listener.faults.sequence > told, 'the faults of later')
    assert world.listener.names() == set()


@pytest.fixture
def dog():
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    yield master, os.ttyname(slave)
    for end in (master, slave):
        os.close(end)


def petted(master):
    try:
        return os.read(master, 1000)
    except BlockingIOError:
        return b''


def test_a_hardware_watchdog_is_petted_by_cycles_that_go_well(world_of, dog, monkeypatch):  # noqa: F811
    master, path = dog
    world: World = world_of(watchdog_device=path, watchdog_timeout=1).activate()
    got = bytearray()
    world.until(lambda: got.extend(petted(master)) or len(got) >= 3, 'it is petted')
    begun, cycles = time.monotonic(), []

    def broken(now):
        cycles.append(now)
        raise KeyError('broken')

    monkeypatch.setattr(world.node.guard, 'tick', broken)
    world.until(lambda: cycles, 'a cycle that fails')
    petted(master)
    world.until(lambda: time.monotonic() > begun + 1.0, 'three more were due')
    assert len(cycles) > 1 and petted(master) == b''
    world.node.close()
    assert petted(master) == b'V'


def test_a_hardware_watchdog_that_is_not_there_stops_the_start(world_of, tmp_path, capfd):  # noqa: F811
    world = world_of(watchdog_device=str(tmp_path / 'nothing'))
    world.node.trigger_configure()
    assert world.node.state_label == 'unconfigured'
    assert 'hardware watchdog' in capfd.readouterr().err
