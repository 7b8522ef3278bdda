# SPDX-License-Identifier: Apache-2.0
"""The demo in one process, over the real wire protocol: what topics say, what the wire says."""

import dataclasses

import numpy as np
import pytest
from dbms_msgs.msg import Faults, ModuleCells
from sensor_msgs.msg import BatteryState
from system_rig import MEASUREMENT, STATE, Ears, closing, running, spy_on

from dbms_bringup.plan import make_plan
from dbms_sim.playback import read_recording

RESOLUTION = 1e-4  # V, of a cell voltage on the wire


def test_the_demo_connects_estimates_and_opens_at_its_end(tmp_path):
    plan = make_plan(['--initial-soc', '0.6', '--load', 'constant:-20'], terminal=False)
    with closing(spy_on(plan.pack, plan)) as spy:
        with running(plan, tmp_path) as run:
            with closing(
                Ears('battery', soc=(BatteryState, 'battery_state', MEASUREMENT))
            ) as ears:
                run.wait_connected()
                spy.commanded('main_closed')
                spy.reported('main_closed')
                _, state = ears.logs['soc'].wait(
                    lambda message: message.current < -19.0, 'the load in battery_state'
                )
                # The story counts between two messages: it has nothing to tell after the first.
                ears.logs['soc'].wait(
                    lambda message: run.rig.story.discharged > 0.0, 'charge in the story'
                )
            mark = spy.log.mark
        spy.commanded('all_open', mark)
        _, feedback = spy.reported('all_open')
    assert state.percentage == pytest.approx(0.6, abs=0.05)
    assert len(state.cell_voltage) == plan.pack.cells
    assert run.rig.story.discharged > 0.0
    assert not run.failed.since(0)
    assert not feedback.lease_expired  # opened because told to, not because nobody held it


def test_a_measured_discharge_ends_with_the_weakest_cell_named(discharge, tmp_path):
    """Real data: six cells at 1C, 51 minutes; the first cell is the weakest."""
    plan = make_plan(['--play', str(discharge), '--speed', '300'], terminal=False)
    assert plan.pack.name == 'leaf_module'
    recorded = read_recording(discharge, plan.pack).voltages
    topics = {
        'cells': (ModuleCells, 'modules/m1/cells', MEASUREMENT),
        'faults': (Faults, 'faults', STATE),
    }
    with closing(spy_on(plan.pack, plan)) as spy, running(plan, tmp_path) as run:
        with closing(Ears('battery', **topics)) as ears:
            run.wait_connected()
            mark = spy.log.mark
            _, told = ears.logs['faults'].wait(
                lambda message: any(one.level == 3 for one in message.faults), 'an MSL fault'
            )
            spy.commanded('all_open', mark)
            spy.reported('all_open', mark)
            run.finished.wait(lambda why: True, 'the end of the run')
            cells = ears.logs['cells'].since(0)
    worst = told.faults[0]
    assert (worst.name, worst.module, worst.cell) == ('CELL_UNDERVOLTAGE', 'm1', 1)
    story = run.rig.story
    assert story.soc_first > 0.9
    assert story.soc_last < 0.15
    assert story.discharged == pytest.approx(55.0, abs=3.0)  # Ah: 65 A for 51 minutes
    assert story.connections[0].opened is not None
    assert 'CELL_UNDERVOLTAGE' in story.connections[0].why
    _check_voltages(np.array([message.voltages for message in cells]), recorded)


def _check_voltages(published: np.ndarray, recorded: np.ndarray) -> None:
    """Every published scan is a row of the recording, and the rows come in their order."""
    assert len(published) > 20
    differences = np.abs(published[:, None, :] - recorded[None, :, :]).max(axis=2)
    assert differences.min(axis=1).max() <= RESOLUTION / 2 + 1e-6
    # Scans stand for rows from the first to the last: nothing is made up, nothing is left out.
    assert np.abs(published[0] - recorded[0]).max() <= RESOLUTION
    assert published[:, 0].min() < 3.1


def test_a_graph_that_cannot_start_leaves_nothing_behind(tmp_path):
    plan = make_plan([], terminal=False)
    wrong = dataclasses.replace(plan.options, load='no such profile')
    with pytest.raises(ValueError, match='no such profile'):
        with running(dataclasses.replace(plan, options=wrong), tmp_path):
            pass
    # The next one finds everything free.
    with running(plan, tmp_path) as run:
        run.wait_connected()
    assert not run.failed.since(0)
