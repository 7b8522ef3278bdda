# SPDX-License-Identifier: Apache-2.0
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sim_rig import Controller, decoded

from dbms_sim import wire
from dbms_sim.boards import CellOffset
from dbms_sim.feeds import ModelFeed
from dbms_sim.loads import make_load
from dbms_sim.schedule import Schedule
from dbms_sim.wire import Frame
from dbms_sim.world import World


def make_world(pack, load='rest', **options):
    return World(pack, ModelFeed(pack, make_load(load, pack), seed=1), **options)


def feedback(frames):
    return [
        (values['Minus'], values['Precharge'], values['Plus'])
        for _, values in decoded(frames, wire.CONTACTOR_FEEDBACK)
    ]


def test_every_unit_speaks_at_its_period(robot):
    controller = Controller(make_world(robot))
    frames = controller.run(10.0)
    assert len(decoded(frames, 0x400, 1)) == pytest.approx(100, abs=1)
    assert len(decoded(frames, 0x40C, 2)) == pytest.approx(100, abs=1)
    assert len(decoded(frames, 0x40D, 2)) == pytest.approx(10, abs=1)
    assert len(decoded(frames, wire.CURRENT)) == pytest.approx(500, abs=5)
    assert len(decoded(frames, wire.VOLTAGES)) == pytest.approx(100, abs=1)
    assert len(decoded(frames, wire.INSULATION)) == pytest.approx(10, abs=1)
    assert len(decoded(frames, wire.CONTACTOR_FEEDBACK)) == pytest.approx(200, abs=2)


def test_scans_carry_what_the_cells_are_at(robot):
    world = make_world(robot)
    frames = Controller(world).run(1.0)
    volts = []
    for module in robot.modules:
        for k in range(-(-module.cells // 3)):
            _, last = decoded(frames, 0x400 + k, module.address)[-1]
            volts += [last[name] for name in sorted(last) if name.startswith('Cell')]
    fitted = [v for v in volts if v < 6.5533]
    assert fitted == pytest.approx(world.feed.voltages, abs=0.6e-4)


def test_counters_advance_by_one_and_are_equal_within_a_scan(robot):
    frames = Controller(make_world(robot)).run(3.0)
    ids = {frame.can_id for _, frame in frames}
    for can_id in ids:
        counters = [frame.data[1] & 0xF for _, frame in frames if frame.can_id == can_id]
        assert all((b - a) & 0xF == 1 for a, b in zip(counters, counters[1:], strict=False))
    scans = [f.can_id for _, f in frames if f.can_id in (0x410, 0x411, 0x412, 0x418, 0x41C)]
    assert scans[:10] == [0x410, 0x411, 0x412, 0x418, 0x41C] * 2


def test_contactors_follow_with_feedback_after_their_delay(robot):
    controller = Controller(make_world(robot))
    controller.run(0.1)
    controller.command('Minus', sequence=7)
    first = controller.run(0.01)
    assert feedback(first) == [(1, 1, 1)]  # at once: accepted, not yet moved
    _, values = decoded(first, wire.CONTACTOR_FEEDBACK)[0]
    assert (values['Sequence'], values['LeaseExpired']) == (7, 0)
    assert 200 < values['LeaseRemaining'] <= 250
    later = controller.run(0.03)
    assert (2, 1, 1) in feedback(later)


def test_silence_opens_within_the_lease(robot):
    controller = Controller(make_world(robot, 'constant:-20'))
    controller.connect()
    assert controller.world.units['a'].main_closed
    assert controller.world.feed.currents[0] == pytest.approx(-20.0)
    controller.hold()
    frames = controller.run(0.3)
    assert feedback(frames)[-1] == (1, 1, 1)
    _, values = decoded(frames, wire.CONTACTOR_FEEDBACK)[-1]
    assert values['LeaseExpired'] == 1
    assert decoded(frames, wire.CURRENT)[-1][1]['Current'] == 0.0
    assert controller.world.events[-1].text == 'string a: contactors open, lease ran out'


def test_a_late_command_does_not_close_again_what_the_lease_has_opened(robot):
    controller = Controller(make_world(robot))
    controller.connect()
    late = controller.frame('Minus', 'Plus')
    controller.hold()
    controller.run(0.3)
    controller.world.receive(late, controller.now)
    assert feedback(controller.run(0.1))[-1] == (1, 1, 1)
    controller.command()  # the controller has noticed: everything open
    controller.run(0.1)
    controller.connect()
    assert controller.world.units['a'].main_closed


def test_no_command_holds_longer_than_the_lease_of_the_pack(robot):
    controller = Controller(make_world(robot))
    controller.command('Minus', lease=65535)
    controller.run(0.1)
    assert controller.world.contactors() == {'a': 'minus'}
    controller.run(0.3)
    assert controller.world.contactors() == {'a': 'open'}


def test_a_wrong_command_closes_nothing(robot):
    controller = Controller(make_world(robot))
    good = controller.frame('Minus', 'Plus')
    for bit in range(64):
        data = (int.from_bytes(good.data, 'little') ^ 1 << bit).to_bytes(8, 'little')
        controller.world.receive(Frame(good.bus, good.can_id, data), controller.now)
    controller.world.receive(Frame(good.bus, good.can_id, good.data[:7]), controller.now)
    controller.world.receive(Frame(good.bus, good.can_id + 1, good.data), controller.now)
    assert set(feedback(controller.run(0.3))) == {(1, 1, 1)}
    assert controller.world.refused == 65
    controller.world.receive(good, controller.now)
    assert (2, 1, 2) in feedback(controller.run(0.1))


@given(st.integers(0, 0x7FF), st.binary(max_size=8))
def test_no_frame_is_an_exception(robot, can_id, data):
    world = make_world(robot)
    world.receive(Frame('main', can_id, data), 0.0)
    world.receive(Frame('elsewhere', can_id, data), 0.0)
    world.step(0.0)


def test_precharge_before_plus_brings_the_link_up_without_inrush(robot):
    controller = Controller(make_world(robot, 'constant:-20'))
    controller.connect()
    _, voltages = decoded(controller.frames, wire.VOLTAGES)[-1]
    assert voltages['LinkVoltage'] == pytest.approx(voltages['StringVoltage'], abs=0.2)
    assert not any('INRUSH' in event.text for event in controller.world.events)
    careless = Controller(make_world(robot))
    careless.hold('Minus', 'Plus')
    careless.run(0.1)
    assert any('INRUSH' in event.text for event in careless.world.events)


def test_strings_of_a_pack_share_the_load(marine):
    world = make_world(marine, 'constant:-50')
    both = [Controller(world, 0), Controller(world, 1)]
    for one in both:
        one.hold('Minus', 'Precharge', 'Plus')
    now = 0.0
    for _ in range(50):
        for one in both:
            one.now = now
            one.command('Minus', 'Plus')
        now += 0.01
        world.step(now)
    assert world.feed.currents.sum() == pytest.approx(-50.0)
    assert (world.feed.currents < 0).all()


def bleed(address, cells, lease, counter):
    message = wire.database().get_message_by_frame_id(0x40E)
    can_id = wire.module_id(address, wire.BLEED)
    values = {'Cells': cells, 'Lease': lease}
    return Frame('main', can_id, wire.encode(message, can_id, counter, values))


def test_bleeding_discharges_those_cells_until_its_lease_ends(robot):
    world = make_world(robot)
    controller = Controller(world)
    controller.run(0.1)
    before = world.feed.plant.soc.copy()
    world.receive(bleed(1, 0b101, 1.0, 1), controller.now)
    frames = controller.run(0.9)
    assert decoded(frames, 0x40C, 1)[-1][1]['Bleeding'] == 0b101
    assert decoded(frames, 0x40C, 2)[-1][1]['Bleeding'] == 0
    frames = controller.run(0.3)
    assert decoded(frames, 0x40C, 1)[-1][1]['Bleeding'] == 0
    lost = before - world.feed.plant.soc  # all cells lose a little by themselves
    assert (lost > 1e-6).nonzero()[0].tolist() == [0, 2]


def test_a_silent_board_says_nothing_and_the_others_go_on(robot):
    world = make_world(robot)
    controller = Controller(world)
    controller.run(0.2)
    world.silence(['m2'])
    frames = controller.run(1.0)
    assert not [f for _, f in frames if f.can_id & 0x7F0 == 0x420]
    assert len(decoded(frames, 0x41C - 0x10, 1)) >= 9
    world.silence([])
    back = decoded(controller.run(2.0), 0x40C, 2)
    assert [values['Rebooted'] for _, values in back[:11]] == [1] * 10 + [0]
    assert back[0][1]['Counter'] == 0
    with pytest.raises(KeyError):
        world.silence(['m3'])


def test_a_cell_can_be_measured_wrongly_or_not_at_all(robot):
    world = make_world(robot)
    world.offset_cells([CellOffset.parse('m1:3:+0.5'), CellOffset.parse('m1:4:nan')])
    frames = Controller(world).run(0.3)
    _, first = decoded(frames, 0x400, 1)[-1]
    assert first['Cell3'] == pytest.approx(world.feed.voltages[2] + 0.5, abs=1e-4)
    _, second = decoded(frames, 0x401, 1)[-1]
    assert second['Cell4'] == pytest.approx(6.5535)
    with pytest.raises(KeyError):
        world.offset_cells([CellOffset('m2', 7, 0.1)])


@pytest.mark.parametrize('text', ['', 'm1', 'm1:0:1', 'm1:x:1', 'm1:1:inf', 'm1:1:1:1'])
def test_malformed_offset_is_refused(text):
    with pytest.raises(ValueError, match='cell offset'):
        CellOffset.parse(text)


def test_a_board_alone_follows_the_current_it_hears(robot):
    whole = make_world(robot, 'constant:-30')
    alone = make_world(robot, modules=['m2'], units=False)
    controller = Controller(whole)
    controller.connect()
    alone.step(controller.now)
    for _ in range(300):
        for now, frame in controller.run(0.01):
            alone.receive(frame, now)
        mine = alone.step(controller.now)
        assert all(0x420 <= frame.can_id <= 0x42F for frame in mine)
    assert alone.feed.currents == pytest.approx([-30.0])
    assert alone.feed.plant.soc == pytest.approx(whole.feed.plant.soc, abs=2e-4)  # of 1.4e-3
    for _ in range(50):  # the sensor falls silent
        controller.now += 0.01
        alone.step(controller.now)
    assert alone.feed.currents == pytest.approx([0.0])


def test_a_stall_is_told_and_brings_no_burst(robot):
    world = make_world(robot)
    controller = Controller(world)
    controller.run(1.0)
    position = world.feed.position
    controller.now += 30.0
    frames = controller.run(0.01)
    assert len(decoded(frames, 0x40C, 1)) == 1
    assert len(decoded(frames, wire.CURRENT)) == 1
    assert world.feed.position - position <= 1.01
    assert 'stood still for 30.0 s' in world.events[-1].text


def test_time_that_goes_backwards_changes_nothing(robot):
    world = make_world(robot)
    Controller(world).run(1.0)
    position = world.feed.position
    world.step(0.5)
    assert world.feed.position == position
    assert math.isfinite(world.feed.voltages.sum())


@given(st.lists(st.floats(0.001, 0.5), min_size=1, max_size=100))
def test_a_schedule_keeps_its_grid_and_never_bursts(gaps):
    schedule = Schedule(0.1)
    now, count = 0.0, 0
    assert schedule.due(now)
    for gap in gaps:
        now += gap
        count += schedule.due(now)
        assert not schedule.due(now)
    assert count <= now / 0.1 + 1e-6
