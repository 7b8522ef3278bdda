# SPDX-License-Identifier: Apache-2.0
"""Telling others in a thread of its own."""

import threading

from dbms_node.outbox import CAPACITY, Outbox


def test_work_is_done_in_order_and_finished_at_the_end():
    done = []
    outbox = Outbox('test', done.append)
    for number in range(500):
        outbox.put(lambda number=number: done.append(number))
    outbox.close()
    assert done == list(range(500))


def test_work_that_fails_is_told_and_the_next_is_done():
    failures, done = [], []
    outbox = Outbox('test', failures.append)
    outbox.put(lambda: 1 / 0)
    outbox.put(lambda: done.append('next'))
    outbox.close()
    assert done == ['next']
    assert 'ZeroDivisionError' in failures[0]


def test_work_that_hangs_neither_blocks_nor_fills_the_memory():
    go, begun, done = threading.Event(), threading.Event(), []
    outbox = Outbox('test', done.append)

    def hang() -> None:
        begun.set()
        go.wait(10.0)

    outbox.put(hang)
    assert begun.wait(10.0)
    for number in range(CAPACITY + 7):
        outbox.put(lambda number=number: done.append(number))
    assert outbox.dropped == 7
    go.set()
    outbox.close()
    assert done == list(range(7, CAPACITY + 7))


def test_nothing_is_taken_after_the_end():
    done = []
    outbox = Outbox('test', done.append)
    outbox.close()
    outbox.put(lambda: done.append('late'))
    assert done == []
