# SPDX-License-Identifier: Apache-2.0
"""Every scenario with a fault expects something that would not be without it.

Its pack is played without the fault, without ROS and protection; what protection would do to a
pack that leaves its limits by itself counts as seen. `./dbms scenario --control` proves the same
on the real graph.
"""

import numpy as np
import pytest

from dbms_bringup.scenario_actions import LaterLoad
from dbms_bringup.verdicts import Judge, View
from dbms_pack import Level, paths
from dbms_sim.feeds import ModelFeed
from dbms_sim.link import Contacts
from dbms_sim.loads import make_load
from dbms_sim.scenario import load_scenario
from dbms_sim.scenario_words import LIMIT_FAULTS

STEPS = 600
# What protection decides: worth nothing where the pack leaves its limits without a fault too.
DECIDED = (
    'contactors', 'state', 'string_state', 'reason', 'answer', 'charge_limit',
    'discharge_limit', 'current', 'link_voltage',
)  # fmt: skip


class Healthy:
    """A pack under the load of a scenario, with nothing broken in it."""

    def __init__(self, scenario):
        pack = scenario.pack
        self.scenario, self.pack, self.outside = scenario, pack, False
        self.feed = ModelFeed(
            pack, make_load(scenario.load, pack), scenario.initial_soc, scenario.seed
        )
        self.feed.plant.ambient = scenario.ambient
        self.feed.plant.temperature = np.full(pack.cells, scenario.temperature)
        self.view = View(pack)
        self.closed = {string.name: scenario.connected for string in pack.strings}

    def run(self):
        """Return the verdicts on what a pack without the faults does."""
        scenario = self.scenario
        judge = Judge(scenario.expectations, self.view)
        actions = [one for one in scenario.actions if one.kind not in ('inject', 'clear')]
        step = scenario.duration / STEPS
        self.look()
        for index in range(STEPS + 2):
            now = index * step
            judge.look(now)
            while actions and actions[0].at <= now:
                self.act(actions.pop(0))
            main = np.array(list(self.closed.values()))
            still = np.zeros(self.pack.cells, dtype=int)
            self.feed.advance(step, 1.0, Contacts(main, np.zeros_like(main)), still)
            self.look()
        assert judge.done
        return judge.verdicts

    def act(self, action):
        if action.kind == 'load':
            self.feed.set_load(LaterLoad(make_load(action.name, self.pack), self.feed.position))
            return
        self.view.answer = 'accepted'
        for name in [action.name] if action.name else self.closed:
            if action.kind != 'reset':
                self.closed[name] = action.kind == 'connect'

    def look(self):
        view, feed, pack = self.view, self.feed, self.pack
        view.voltages = view.measured = feed.voltages.copy()
        view.temperatures = feed.plant.temperature.copy()
        view.currents = feed.currents.copy()
        view.soc = view.soc_estimate = float(feed.plant.soc.mean())
        view.link_voltage = feed.link_voltage
        view.connected = dict(self.closed)
        on = sum(self.closed.values())
        view.state = 'CONNECTED' if on else 'STANDBY'
        states = {True: 'CONNECTED', False: 'OPEN'}
        view.strings = {name: (states[closed], '') for name, closed in self.closed.items()}
        limits = pack.limits
        view.limits = (
            on * limits.overcurrent_charge[Level.MOL].at,
            on * limits.overcurrent_discharge[Level.MOL].at,
        )
        for string, current, voltage in zip(
            pack.strings, feed.currents, feed.string_voltages, strict=True
        ):
            view.insulation[string.name] = 16e6
            view.measured_currents[string.name] = float(current)
            view.string_voltages[string.name] = float(voltage)
        view.scan_rates = {module.name: 1.0 / module.period for module in pack.modules}
        self.outside |= self.leaves_limits()

    def leaves_limits(self):
        limits, view = self.pack.limits, self.view
        charging = bool((view.currents > 0.5).any())
        hot = limits.overtemperature_charge if charging else limits.overtemperature_discharge
        cold = limits.undertemperature_charge if charging else limits.undertemperature_discharge
        return bool(
            view.voltages.max() > limits.cell_overvoltage[Level.MOL].at
            or view.voltages.min() < limits.cell_undervoltage[Level.MOL].at
            or view.temperatures.max() > hot[Level.MOL].at
            or view.temperatures.min() < cold[Level.MOL].at
            or view.currents.max() > limits.overcurrent_charge[Level.MOL].at
            or view.currents.min() < -limits.overcurrent_discharge[Level.MOL].at
        )


def unseen(scenario):
    """Return whether all that a scenario expects comes true without its faults."""
    healthy = Healthy(scenario)
    failed = [verdict for verdict in healthy.run() if not verdict.passed]
    if healthy.outside:
        decided = {one.line for one in scenario.expectations if decided_by_limits(one.condition)}
        failed = [verdict for verdict in failed if verdict.line not in decided]
    return not failed


def decided_by_limits(condition):
    if condition.kind == 'fault':
        return condition.name in (*LIMIT_FAULTS, 'any')
    return condition.kind in DECIDED


def with_faults():
    scenarios = map(load_scenario, paths.names('scenarios'))
    return [one for one in scenarios if one.has_faults]


@pytest.mark.parametrize('scenario', with_faults(), ids=lambda scenario: scenario.name)
def test_a_fault_that_is_left_out_is_missed(scenario):
    assert not unseen(scenario)


def test_a_scenario_that_does_not_look_at_its_fault_is_found(tmp_path):
    file = tmp_path / 'blind.yaml'
    file.write_text(
        'purpose: It does not look\npack: robot_13s\nload: constant:-20\nduration: 5\n'
        'timeline:\n  - {at: 1, inject: busbar_loose}\n'
        'always:\n  - cell_voltage: {above: 3, below: 4.2}\n  - no_fault: any\n'
        '  - contactors: connected\n'
    )
    assert unseen(load_scenario(file))
