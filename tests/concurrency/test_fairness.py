"""Beside others: runs and other Python threads both get on."""

from __future__ import annotations

import itertools
import threading
from contextlib import contextmanager

import pytest
from dask._task_spec import Task, TaskRef
from gates import WAIT, join

import dask_ferris


@contextmanager
def beside(function):
    """Call the function over and over on another thread."""
    over = threading.Event()

    def work():
        while not over.is_set():
            function()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        join(thread)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_runs_end_beside_a_busy_thread(num_workers):
    """A thread that computes in Python all the time does not keep a run from its end."""
    graph = {i: Task(i, abs, -i) for i in range(300)}
    with beside(lambda: sum(range(1_000))):
        for _ in range(20):
            assert tuple(range(300)) == dask_ferris.get(graph, list(graph), num_workers=num_workers)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_others_get_their_turn_beside_tasks_written_in_c(num_workers):
    """Tasks that never run Python code do not keep other threads from running it until the run ends.

    The chain takes a hundred milliseconds and more, and a turn comes every five.
    """
    started, n_turns = threading.Event(), itertools.count()
    graph = {0: Task(0, started.set)} | {i: Task(i, id, TaskRef(i - 1)) for i in range(1, 1_000_000)}
    graph["end"] = Task("end", lambda _: next(n_turns), TaskRef(999_999))

    def take_a_turn():
        if started.wait(WAIT):
            next(n_turns)

    with beside(take_a_turn):
        assert dask_ferris.get(graph, "end", num_workers=num_workers) > 0


def test_others_get_their_turn_while_a_graph_is_compiled():
    """A large graph is read and ranked with pauses in which other threads run."""
    turns = []
    graph = {i: Task(i, id, TaskRef(i - 1)) if i else Task(0, int) for i in range(500_000)}
    with beside(lambda: turns.append(len(turns))):
        before = len(turns)
        dask_ferris._native.compile(graph, 499_999)
        assert len(turns) > before
