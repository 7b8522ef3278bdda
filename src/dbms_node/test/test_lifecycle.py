# SPDX-License-Identifier: Apache-2.0
"""Transitions that fail are seen and safe; timers and subscriptions work only while active."""

import time

import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.parameter import Parameter
from std_msgs.msg import Empty

from dbms_node import middleware, qos
from dbms_node.lifecycle import SafeLifecycleNode
from dbms_node.runtime import make_executor

STEPS = ('configured', 'activated', 'deactivated', 'released', 'make_safe')


class Probe(SafeLifecycleNode):
    """Writes down what is called, and fails where it is told to."""

    def __init__(self, **kwargs):
        self.log = []
        self.fails = set()
        self.ticks = self.heard = 0
        super().__init__('probe', **kwargs)

    def note(self, step):
        self.log.append(step)
        if step in self.fails:
            raise RuntimeError(f'{step} went wrong')

    def configured(self):
        self.managed_timer(0.01, self.tick)
        self.gated_subscription(Empty, 'ping', self.hear, qos.MEASUREMENT)
        self.note('configured')

    def activated(self):
        self.note('activated')

    def deactivated(self):
        self.note('deactivated')

    def released(self):
        self.note('released')

    def make_safe(self, reason):
        self.note('make_safe')

    def tick(self):
        self.ticks += 1

    def hear(self, message):
        self.heard += 1


class Bench:
    """An executor around a probe."""

    def __init__(self, **parameters):
        self.context = rclpy.Context()
        middleware.init(context=self.context)
        self.executor = make_executor(self.context)
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self.node = Probe(context=self.context, parameter_overrides=overrides)
        self.other = rclpy.create_node('other', context=self.context)
        self.publisher = self.other.create_publisher(Empty, 'ping', qos.MEASUREMENT)
        for node in (self.node, self.other):
            self.executor.add_node(node)

    def until(self, condition, what, timeout=15.0):
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f'waited in vain: {what}'
            self.executor.spin_once(timeout_sec=0.02)

    def change(self, transition):
        client = self.other.create_client(ChangeState, 'probe/change_state')
        self.until(client.service_is_ready, 'change_state')
        request = ChangeState.Request(transition=Transition(id=transition))
        future = client.call_async(request)
        self.until(future.done, 'answer')
        return future.result().success

    def close(self):
        for node in (self.node, self.other):
            node.destroy_node()
        self.executor.shutdown()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.close()


def go(node, *triggers):
    for trigger in triggers:
        getattr(node, f'trigger_{trigger}')()


def test_a_failed_configure_is_logged_safe_and_released(bench, capfd):
    bench.node.fails = {'configured'}
    go(bench.node, 'configure')
    assert bench.node.state_label == 'unconfigured'
    assert bench.node.log == ['configured', 'make_safe', 'released']
    error = capfd.readouterr().err
    assert 'configure failed' in error
    assert 'Traceback' in error
    assert bench.node._managed_entities == set()


def test_a_failed_activate_ends_unconfigured_and_silent(bench, capfd):
    bench.node.fails = {'activated'}
    go(bench.node, 'configure', 'activate')
    assert bench.node.state_label == 'unconfigured'
    assert 'activated went wrong' in capfd.readouterr().err
    assert {'make_safe', 'released'} <= set(bench.node.log)
    bench.node.fails = set()
    go(bench.node, 'configure', 'activate')
    assert bench.node.is_active


@pytest.mark.parametrize('step', ['deactivated', 'make_safe'])
def test_a_failed_deactivate_is_safe_and_can_be_started_again(bench, step):
    go(bench.node, 'configure', 'activate')
    bench.node.fails = {step}
    go(bench.node, 'deactivate')
    assert bench.node.state_label == 'unconfigured'
    assert 'released' in bench.node.log


def test_failing_safe_and_release_do_not_keep_each_other_from_running(bench, capfd):
    go(bench.node, 'configure', 'activate')
    bench.node.fails = {'make_safe', 'released'}
    bench.node.close()
    assert bench.node.log[-2:] == ['make_safe', 'released']
    error = capfd.readouterr().err
    assert 'make_safe went wrong' in error
    assert 'released went wrong' in error


def test_an_impossible_transition_is_refused_and_survived(bench):
    assert not bench.change(Transition.TRANSITION_ACTIVATE)
    assert bench.change(Transition.TRANSITION_CONFIGURE)
    assert not bench.change(99)
    assert bench.node.state_label == 'inactive'


def test_a_wrong_value_is_told_without_traceback(bench, capfd, monkeypatch):
    def refuse():
        raise ValueError('limits are missing')

    monkeypatch.setattr(bench.node, 'configured', refuse)
    go(bench.node, 'configure')
    error = capfd.readouterr().err
    assert 'configure failed: limits are missing' in error
    assert 'Traceback' not in error


def test_timers_and_subscriptions_work_only_while_active(bench):
    node = bench.node
    go(node, 'configure')
    bench.until(lambda: bench.publisher.get_subscription_count() == 1, 'discovery')
    bench.publisher.publish(Empty())
    seen = []
    bench.other.create_subscription(Empty, 'ping', seen.append, qos.MEASUREMENT)
    bench.until(lambda: bench.publisher.get_subscription_count() == 2, 'discovery')

    def ping():
        count = len(seen)
        bench.publisher.publish(Empty())
        bench.until(lambda: len(seen) > count, 'own ping')

    ping()
    assert (node.ticks, node.heard) == (0, 0)
    go(node, 'activate')
    ping()
    bench.until(lambda: node.ticks > 2 and node.heard > 0, 'work')
    go(node, 'deactivate')
    ticks, heard = node.ticks, node.heard
    ping()
    ping()
    assert (node.ticks, node.heard) == (ticks, heard)
    assert node.log[-2:] == ['make_safe', 'deactivated']


def test_cleanup_destroys_what_was_made(bench):
    node = bench.node
    before = (len(list(node.timers)), len(list(node.subscriptions)))
    for _ in range(3):
        go(node, 'configure', 'activate', 'deactivate', 'cleanup')
    assert (len(list(node.timers)), len(list(node.subscriptions))) == before


def test_close_is_safe_in_every_state(bench):
    bench.node.close()
    go(bench.node, 'configure', 'activate')
    bench.node.close()
    bench.node.close()
    go(bench.node, 'shutdown')
    bench.node.close()
    assert bench.node.state_label == 'finalized'


@pytest.mark.parametrize('fails', [set(), {'activated'}])
def test_autostart(fails):
    bench = Bench(autostart=True)
    try:
        bench.node.fails = fails
        bench.until(lambda: 'activated' in bench.node.log, 'autostart')
        assert bench.node.is_active == (not fails)
    finally:
        bench.close()
