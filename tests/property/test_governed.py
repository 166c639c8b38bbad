"""Random graphs with random policies against a model: who is attempted how often, in which order, with what outcome."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import dask
import pytest
from dask._task_spec import Task, TaskRef
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from gates import WAIT
from hypothesis import given
from hypothesis import strategies as st

import dask_ferris
from dask_ferris import UpstreamFailedError

# Shrinking takes hypothesis up to five minutes, and is no deadlock.
pytestmark = pytest.mark.timeout(10 * WAIT, method="thread")

CAPACITY = 2


class Boom(Exception):
    """What tasks raise."""


@dataclass(frozen=True)
class Job:
    """One task: what it needs, how often it fails, and its policy."""

    needs: frozenset[int]
    n_failures: int
    retries: int
    priority: int
    gpu: int

    def annotations(self) -> dict[str, Any]:
        """Return what its layer asks for."""
        resources = {"gpu": self.gpu} if self.gpu else {}
        return {"priority": self.priority, "retries": self.retries, "resources": resources}


@st.composite
def job_lists(draw: st.DrawFn) -> list[Job]:
    """Draw tasks that need earlier ones only."""
    jobs = []
    for i in range(draw(st.integers(1, 12))):
        needs = draw(st.frozensets(st.integers(0, i - 1), max_size=3)) if i else frozenset()
        small = st.integers(0, 2)
        jobs.append(Job(needs, draw(small), draw(small), draw(st.integers(-1, 2)), draw(st.integers(0, CAPACITY))))
    return jobs


@dataclass
class Log:
    """What tasks do when they are called."""

    jobs: list[Job]
    starts: list[int] = field(default_factory=list)
    in_use: int = 0
    most_in_use: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, i: int, *_: object) -> int:
        """Be the task i."""
        with self.lock:
            self.starts.append(i)
            n_calls = self.starts.count(i)
            self.in_use += self.jobs[i].gpu
            self.most_in_use = max(self.most_in_use, self.in_use)
        with self.lock:
            self.in_use -= self.jobs[i].gpu
        if n_calls <= self.jobs[i].n_failures:
            raise Boom(i)
        return i

    def graph(self) -> HighLevelGraph:
        """Return the graph, each task a layer with annotations of its own."""
        layers = {}
        for i, job in enumerate(self.jobs):
            task = Task(f"job-{i}", self.call, i, *(TaskRef(f"job-{need}") for need in sorted(job.needs)))
            layers[f"job-{i}"] = MaterializedLayer({task.key: task}, annotations=job.annotations())
        return HighLevelGraph(
            layers, {f"job-{i}": {f"job-{need}" for need in job.needs} for i, job in enumerate(self.jobs)}
        )


def model(jobs: list[Job]) -> list[tuple[int, type]]:
    """Return for each task how often it is attempted, and the type of its value."""
    outcomes: list[tuple[int, type]] = []
    for job in jobs:
        if any(outcomes[need][1] is not int for need in job.needs):
            outcomes.append((0, UpstreamFailedError))
        elif job.n_failures > job.retries:
            outcomes.append((job.retries + 1, Boom))
        else:
            outcomes.append((job.n_failures + 1, int))
    return outcomes


def run(log: Log, num_workers: int, **options: Any) -> Any:
    """Run all tasks."""
    keys = [f"job-{i}" for i in range(len(log.jobs))]
    with dask.config.set({"ferris.resources": {"gpu": CAPACITY}}):
        return dask_ferris.get(log.graph(), keys, num_workers=num_workers, **options)


@given(jobs=job_lists(), num_workers=st.integers(1, 4))
def test_attempts_and_outcomes(jobs: list[Job], num_workers: int) -> None:
    """As the model says, with never more of a resource than there is."""
    log = Log(jobs)
    reports: list[Any] = []
    values = run(log, num_workers, on_error="continue", report=reports.append)
    expected = model(jobs)

    assert expected == [(log.starts.count(i), type(value)) for i, value in enumerate(values)]
    assert log.most_in_use <= CAPACITY
    repeated = {f"job-{i}": n for i, (n, _) in enumerate(expected) if n > 1}
    assert repeated == reports[0].attempts
    assert {f"job-{i}" for i, (_, kind) in enumerate(expected) if kind is Boom} == set(reports[0].failed)
    upstream = {f"job-{i}" for i, (_, kind) in enumerate(expected) if kind is UpstreamFailedError}
    assert upstream == set(reports[0].upstream_failed)


@given(jobs=job_lists())
def test_one_worker_takes_the_highest_that_is_ready(jobs: list[Job]) -> None:
    """At each start nothing of a higher priority waits; a task that is to be attempted again is ready at once."""
    log = Log(jobs)
    run(log, 1, on_error="continue")
    left = {i: n for i, (n, _) in enumerate(model(jobs)) if n}
    for i in log.starts:
        ready = [j for j in left if not jobs[j].needs & left.keys()]
        assert i in ready
        assert jobs[i].priority == max(jobs[j].priority for j in ready)
        left[i] -= 1
        if not left[i]:
            del left[i]
    assert not left


@given(jobs=job_lists(), num_workers=st.integers(1, 4))
def test_the_first_error_is_raised(jobs: list[Job], num_workers: int) -> None:
    """Unless the run goes on; then the values are those of any scheduler."""
    log = Log(jobs)
    kinds = [kind for _, kind in model(jobs)]
    if Boom in kinds:
        with pytest.raises(Boom) as caught:
            run(log, num_workers)
        assert kinds[caught.value.args[0]] is Boom
    else:
        assert tuple(range(len(jobs))) == run(log, num_workers)
