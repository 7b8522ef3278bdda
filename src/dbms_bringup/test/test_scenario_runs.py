# SPDX-License-Identifier: Apache-2.0
"""What makes scenario runs independent of the machine they run on."""

import socket

import pytest

from dbms_bringup import scenarios
from dbms_bringup.ports import domain_is_free
from dbms_bringup.scenario_run import Starvation
from dbms_bringup.scenarios import FIRST_DOMAIN, LAST_DOMAIN, Domains, Result
from dbms_sim.scenario import load_scenario


def test_time_that_was_neither_slept_nor_used_was_not_given():
    found = Starvation()
    found.look(10.0, 1.0, 0.02)
    assert found.most == 0.0
    found.look(10.03, 1.008, 0.02)
    assert found.most == pytest.approx(0.002)
    found.look(10.33, 1.30, 0.0)  # held up by a thread of its own
    assert found.most == pytest.approx(0.010)
    found.look(10.65, 1.31, 0.02)
    assert found.most == pytest.approx(0.298)
    found.look(10.68, 1.33, 0.02)
    assert found.most == pytest.approx(0.298)


def test_a_little_again_and_again_is_as_much():
    found = Starvation()
    for tick in range(100):
        found.look(10.0 + 0.05 * tick, 1.0 + 0.02 * tick, 0.02)
    assert found.most == pytest.approx(10 * 0.01, abs=0.011)


def test_a_domain_with_somebody_in_it_is_left_out():
    domains = Domains(FIRST_DOMAIN + 5)
    with domains.one() as empty:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        participant.bind(('127.0.0.1', 7400 + 250 * empty + 12))  # the second of that domain
        assert not domain_is_free(empty)
        with Domains(empty).one() as other:
            assert other != empty and FIRST_DOMAIN <= other < LAST_DOMAIN


def test_two_runs_at_a_time_have_two_domains_and_the_last_is_followed_by_the_first():
    domains = Domains(LAST_DOMAIN - 1)
    with domains.one() as one, domains.one() as other:
        assert one != other
        assert FIRST_DOMAIN <= other < LAST_DOMAIN


@pytest.mark.parametrize(
    ('outcomes', 'runs', 'passed', 'note'),
    [
        ([(True, 0.9)], 1, True, ''),
        ([(False, 0.0)], 1, False, ''),
        ([(False, 0.3), (True, 0.0)], 2, True, 'no time for 0.3'),
        ([(False, 0.3), (False, 0.0)], 2, False, 'run again'),
        ([(False, 0.3)] * 3, 3, False, 'run again'),
    ],
)  # fmt: skip
def test_what_failed_for_want_of_the_machine_is_run_again_and_that_is_said(
    monkeypatch, tmp_path, outcomes, runs, passed, note
):
    scenario = load_scenario('robot_drive')
    made = []

    def run_one(*arguments):
        made.append(arguments)
        ended, starved = outcomes[len(made) - 1]
        return Result(scenario, ended, 1.0, (), starved=starved)

    monkeypatch.setattr(scenarios, 'run_one', run_one)
    result = scenarios._judged(scenario, tmp_path, Domains(FIRST_DOMAIN), False)
    assert (len(made), result.passed) == (runs, passed)
    assert note in result.note and bool(note) == bool(result.note)
    assert any(note in line for line in scenarios.lines(result))
