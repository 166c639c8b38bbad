"""BLAS beside several workers: it gets the cores divided by the workers, and its own number back."""

from __future__ import annotations

import time

import dask
import dask.system
import numpy as np
import pytest
from dask._task_spec import Task
from gates import barrier
from threadpoolctl import ThreadpoolController

import dask_ferris
from dask_ferris import _blas

assert np.__version__  # its BLAS is the library that is looked at


def n_threads():
    """Return what BLAS may use now."""
    return ThreadpoolController().select(user_api="blas").lib_controllers[0].num_threads


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    """Pretend that there are eight cores, and that BLAS uses all of them."""
    monkeypatch.setattr(dask.system, "CPU_COUNT", 8)
    with ThreadpoolController().limit(limits=8, user_api="blas"):
        yield


def seen_by(n_workers, **options):
    """Return what BLAS may use in the late tasks of a run by several workers, all of which are at work."""
    meeting = barrier(n_workers)

    def task():
        meeting.wait()
        time.sleep(0.01)
        return n_threads()

    n_rounds = 4
    graph = {i: Task(i, task) for i in range(n_rounds * n_workers)}
    return list(dask_ferris.get(graph, list(graph), num_workers=n_workers, **options)[-n_workers:])


@pytest.mark.parametrize("options", [{}, {"callbacks": []}, {"retries": 1}], ids=repr)
@pytest.mark.parametrize("n_workers", [2, 4])
def test_workers_share_the_cores(n_workers, options):
    """Eight cores by the number of workers, and eight again afterwards."""
    assert [8 // n_workers] * n_workers == seen_by(n_workers, **options)
    assert 8 == n_threads()


def test_workers_of_an_executor_share_the_cores():
    """As many as it has."""
    with dask_ferris.Executor(4) as executor:
        assert [2] * 4 == seen_by(4, pool=executor)
    assert 8 == n_threads()


def test_it_can_be_switched_off():
    """`ferris.limit-blas` leaves BLAS alone."""
    with dask.config.set({"ferris.limit-blas": False}):
        assert [8, 8] == seen_by(2)


def test_one_worker_has_all():
    """Alone, a worker need not share."""
    assert [8] == seen_by(1)


def test_a_number_of_the_users_is_never_raised():
    """What was less before stays."""
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        assert [1, 1] == seen_by(2)
        assert 1 == n_threads()


def test_a_failure_gives_it_back():
    """A run that fails is over, too."""
    meeting = barrier(2)

    def task():
        meeting.wait()
        time.sleep(0.02)

    graph = {i: Task(i, task) for i in range(4)} | {"fail": Task("fail", divmod, 1, 0)}
    with pytest.raises(ZeroDivisionError):
        dask_ferris.get(graph, list(graph), num_workers=2)
    dask_ferris.get({i: Task(i, time.sleep, 0.05) for i in range(4)}, list(range(4)), num_workers=4)
    assert 8 == n_threads()


def test_runs_that_overlap_are_counted():
    """However they end, the last one restores."""
    seen = []
    for change in (1, 1, 1, 1, -2, 1, -3):
        if change > 0:
            _blas.enter()
        else:
            _blas.leave(-change)
        seen.append(n_threads())

    assert [8, 4, 2, 2, 4, 2, 8] == seen


def test_a_fork_counts_the_workers_out():
    """In the child there are none: its BLAS has all cores again, and one that had them is not touched."""
    _blas.enter()
    _blas.enter()
    assert 4 == n_threads()
    _blas.forget_workers()
    assert 8 == n_threads()
    with ThreadpoolController().limit(limits=3, user_api="blas"):
        _blas.forget_workers()
        assert 3 == n_threads()
