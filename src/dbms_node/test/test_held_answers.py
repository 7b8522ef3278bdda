# SPDX-License-Identifier: Apache-2.0
"""Answers that are held leave once: when released, or overdue, from whichever thread."""

import threading
import time

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from std_srvs.srv import Trigger

from dbms_node import held_answers, middleware
from dbms_node.held_answers import HeldAnswers
from dbms_node.runtime import make_executor


class Desk:
    """A node with a service that holds its answers, and a client of it."""

    def __init__(self, make):
        self.context = rclpy.Context()
        middleware.init(context=self.context)
        self.executor = make(context=self.context)
        self.node = rclpy.create_node('desk', context=self.context)
        self.executor.add_node(self.node)
        self.failures = []
        self.answers = HeldAnswers(self.node, self.failures.append)
        self.held, self.now = [], 0.0
        self.service = self.answers.create_service(Trigger, 'ask', self.on_ask)
        self.client = self.node.create_client(Trigger, 'ask')
        self.during = lambda held: None

    def on_ask(self, request, response):
        response.message = 'done'
        held = self.answers.hold(
            response, self.now + 1.0, lambda: setattr(response, 'message', 'overdue')
        )
        self.held.append(held)
        self.during(held)
        return response

    def spin(self, condition):
        end = time.monotonic() + 15.0
        while not condition():
            assert time.monotonic() < end, 'waited in vain'
            self.executor.spin_once(timeout_sec=0.02)

    def ask(self):
        self.spin(self.client.service_is_ready)
        count, future = len(self.held), self.client.call_async(Trigger.Request())
        self.spin(lambda: len(self.held) > count)
        return future

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture(params=[make_executor, SingleThreadedExecutor], ids=['events', 'single'])
def desk(request):
    made = Desk(request.param)
    yield made
    made.close()


def test_an_answer_waits_for_its_release_by_another_thread(desk):
    future = desk.ask()
    other = desk.node.create_client(Trigger, 'ask')
    desk.during = lambda held: held.release()
    desk.spin(other.service_is_ready)
    second = other.call_async(Trigger.Request())
    desk.spin(second.done)  # later asked, answered at once
    assert not future.done()
    thread = threading.Thread(target=desk.held[0].release)
    thread.start()
    desk.spin(future.done)
    thread.join()
    assert future.result().message == second.result().message == 'done'


def test_an_overdue_answer_says_so_and_leaves_once(desk):
    future = desk.ask()
    desk.answers.tick(0.99)
    assert desk.answers.waiting
    desk.answers.tick(1.0)
    desk.answers.tick(1.0)
    assert not desk.answers.waiting
    desk.spin(future.done)
    assert future.result().message == 'overdue'
    assert not desk.held[0].release()
    assert desk.failures == []


def test_no_more_than_so_many_are_held(desk, monkeypatch):
    monkeypatch.setattr(held_answers, 'HELD', 1)
    first, second = desk.ask(), desk.ask()
    desk.spin(second.done)
    assert desk.held[1] is None and not first.done()


def test_what_has_left_takes_no_place(desk, monkeypatch):
    monkeypatch.setattr(held_answers, 'HELD', 1)
    desk.during = lambda held: held.release()
    for _ in range(3):
        future = desk.ask()
        desk.spin(future.done)
    assert None not in desk.held


def test_a_service_that_is_gone_is_no_failure_of_who_releases(desk):
    desk.ask()
    desk.node.destroy_service(desk.service)
    assert desk.held[0].release()
    assert len(desk.failures) == 1
