"""Random graphs under random limits of memory: the values are Dask's, and each is handed over once."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from dask._task_spec import Task, TaskRef
from dask.local import get_sync
from dask.sizeof import sizeof
from gates import WAIT
from hypothesis import given
from hypothesis import strategies as st
from plans import Plan, plans
from random_graphs import Boom, Recorder, build, canonical

import dask_ferris
from dask_ferris import Executor, UpstreamFailedError

# Shrinking takes hypothesis up to five minutes, and is no deadlock.
pytestmark = pytest.mark.timeout(10 * WAIT, method="thread")

WORKERS = st.integers(1, 4)
LIMITS = st.one_of(st.sampled_from([0, 1, 10**9, "1 kB"]), st.integers(0, 3000))


@given(plan=plans(failures=False), num_workers=WORKERS, limit=LIMITS)
def test_values_are_dasks(plan: Plan, num_workers: int, limit: Any) -> None:
    """Whatever the limit holds back."""
    expected = get_sync(build(plan, Recorder()), plan.keys())
    words = {"num_workers": num_workers, "memory_limit": limit}
    assert canonical(expected) == canonical(dask_ferris.get(build(plan, Recorder()), plan.keys(), **words))
    assert canonical(expected) == canonical(
        dask_ferris.start(build(plan, Recorder()), plan.keys(), **words).result(WAIT)
    )


@given(plan=plans(failures=False), num_workers=WORKERS, limit=st.none() | LIMITS)
def test_each_key_is_handed_over_once(plan: Plan, num_workers: int, limit: Any) -> None:
    """With the value that Dask gives."""
    keys = list(dict.fromkeys(plan.nodes[i].key for i in plan.asked))
    expected = dict(zip(keys, get_sync(build(plan, Recorder()), keys), strict=True))
    pairs = list(
        dask_ferris.as_completed(build(plan, Recorder()), plan.keys(), num_workers=num_workers, memory_limit=limit)
    )
    assert Counter(keys) == Counter(key for key, _ in pairs)
    assert {key: canonical(value) for key, value in expected.items()} == {k: canonical(v) for k, v in pairs}


@given(plan=plans(failures=True), num_workers=WORKERS, limit=st.none() | LIMITS)
def test_what_is_handed_over_before_an_error_is_right(plan: Plan, num_workers: int, limit: Any) -> None:
    """Each key at most once; and the error is one of a task's own."""
    pairs = []
    try:
        for pair in dask_ferris.as_completed(
            build(plan, Recorder(plan.failing)), plan.keys(), num_workers=num_workers, memory_limit=limit
        ):
            pairs.append(pair)  # noqa: PERF402  what came before an error counts
    except Boom as error:
        assert error.args[0] in plan.failing  # noqa: PT017  it may end without one
    values = dict(pairs)
    assert len(values) == len(pairs)
    keys = list(values)
    expected = get_sync(build(plan, Recorder()), keys) if keys else ()
    assert canonical(list(expected)) == canonical([values[key] for key in keys])


# ---- A limit, against a model


@dataclass(frozen=True)
class Job:
    """One task: what it needs, how large its value is, how often it fails, and its priority."""

    needs: frozenset[int]
    size: int
    n_failures: int
    priority: int


@st.composite
def job_lists(draw: st.DrawFn) -> list[Job]:
    """Draw tasks that need earlier ones only; about half of them are roots."""
    jobs: list[Job] = []
    for i in range(draw(st.integers(1, 14))):
        is_root = not i or draw(st.booleans())
        needs = frozenset() if is_root else draw(st.frozensets(st.integers(0, i - 1), min_size=1, max_size=3))
        jobs.append(Job(needs, draw(st.integers(0, 5)), draw(st.integers(0, 3)), draw(st.integers(-1, 1))))
    return jobs


class Value:
    """A value that says how large it is."""

    def __init__(self, i: int, size: int) -> None:
        """Be the value of the task i."""
        self.i, self.size = i, size


@sizeof.register(Value)
def _size(value: Value) -> int:
    return value.size


class Model:
    """The tasks, and what is alive when each begins, by the account of a single worker."""

    def __init__(self, jobs: list[Job], limit: int) -> None:
        """Have begun nothing."""
        self.jobs, self.limit, self.lock = jobs, limit, threading.Lock()
        self.starts: list[int] = []
        self.ended: set[int] = set()

    def call(self, i: int, *inputs: Value) -> Value:
        """Be the task i."""
        assert sorted(self.jobs[i].needs) == [value.i for value in inputs]
        with self.lock:
            self.starts.append(i)
            n_calls = self.starts.count(i)
        if n_calls <= self.jobs[i].n_failures:
            raise Boom(i)
        return Value(i, self.jobs[i].size)

    def graph(self) -> dict[Any, Any]:
        """Return the graph."""
        return {
            i: Task(i, self.call, i, *(TaskRef(need) for need in sorted(job.needs))) for i, job in enumerate(self.jobs)
        }

    def has_room(self, before: int) -> bool:
        """Return whether the values that live when so many tasks have begun are within the limit.

        All of these have ended. A value is asked for, and lives to the end of the run, when nobody needs it.
        """
        done = set(self.starts[:before])
        consumers = {i: [j for j, job in enumerate(self.jobs) if i in job.needs] for i in done}
        live = [i for i in done if not consumers[i] or set(consumers[i]) - done]
        return sum(self.jobs[i].size for i in live) <= self.limit

    def ready(self, before: int) -> set[int]:
        """Return what may begin when so many tasks have begun and ended."""
        done = set(self.starts[:before])
        return {i for i, job in enumerate(self.jobs) if i not in done and not job.needs - done}


@given(jobs=job_lists(), limit=st.integers(0, 20))
def test_one_worker_takes_a_root_only_when_there_is_room_or_nothing_else(jobs: list[Job], limit: int) -> None:
    """At each start of a root the values that live are within the limit, or no other task is ready."""
    model = Model([Job(job.needs, job.size, 0, 0) for job in jobs], limit)
    keys = [i for i in range(len(jobs)) if not any(i in job.needs for job in jobs)]
    dask_ferris.get(model.graph(), keys, num_workers=1, memory_limit=limit)
    assert sorted(model.starts) == list(range(len(jobs)))
    for place, i in enumerate(model.starts):
        if not jobs[i].needs and not model.has_room(place):
            assert all(not jobs[other].needs for other in model.ready(place))


@given(jobs=job_lists(), limit=st.integers(0, 20), num_workers=WORKERS, retries=st.integers(0, 3))
def test_every_run_ends(jobs: list[Job], limit: int, num_workers: int, retries: int) -> None:
    """With attempts, levels and failures, on an executor of its own; each task as often as it asks for."""
    model = Model(jobs, limit)
    with Executor(num_workers) as executor:
        pairs = dict(
            dask_ferris.as_completed(
                model.graph(),
                list(range(len(jobs))),
                pool=executor,
                memory_limit=limit,
                retries=retries,
                on_error="continue",
            )
        )
    kinds: list[type] = []
    for job in jobs:
        if any(kinds[need] is not Value for need in job.needs):
            kinds.append(UpstreamFailedError)
        else:
            kinds.append(Boom if job.n_failures > retries else Value)
    assert kinds == [type(pairs[i]) for i in range(len(jobs))]
    expected = {
        i: min(job.n_failures, retries) + 1 for i, job in enumerate(jobs) if kinds[i] is not UpstreamFailedError
    }
    assert expected == Counter(model.starts)
