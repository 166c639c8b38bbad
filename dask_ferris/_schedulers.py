"""How the workers of an executor share its tasks."""

from __future__ import annotations

from dataclasses import dataclass

import dask.system

from dask_ferris._arguments import as_choice, as_count

__all__ = [
    "AdaptiveScheduler",
    "PriorityScheduler",
    "RoundRobinScheduler",
    "Scheduler",
    "WorkStealingScheduler",
    "recommended_workers",
]


@dataclass(frozen=True)
class WorkStealingScheduler:
    """Each worker has a queue of its own, and takes from others' when its own is empty.

    Tasks from outside are dealt to the workers in turn; those that a task submits go to its own worker, which takes the
    newest of them first. Priorities hold over all queues. For tasks that submit many others.
    """


@dataclass(frozen=True)
class RoundRobinScheduler:
    """All workers take from one queue, in the order in which tasks were submitted: there are no priorities."""


@dataclass(frozen=True)
class PriorityScheduler:
    """Priorities are strict: however long a task waits, those of a higher level go first."""


@dataclass(frozen=True)
class AdaptiveScheduler:
    """The number of threads follows the work: more come while tasks wait, and they go when there are none.

    Attributes:
        min_workers: Threads that stay once they were needed, at least 1.
        max_workers: Tasks that may run at once, at least as many; the executor's ``max_workers`` may not be below it.

    Raises:
        TypeError: A number is not an int.
        ValueError: A number is below 1, or the minimum above the maximum.
    """

    min_workers: int
    max_workers: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        if as_count("max_workers", self.max_workers) < as_count("min_workers", self.min_workers):
            msg = f"max_workers must be at least min_workers, {self.min_workers}, not {self.max_workers!r}"
            raise ValueError(msg)


Scheduler = WorkStealingScheduler | RoundRobinScheduler | PriorityScheduler | AdaptiveScheduler

_FACTORS = {"cpu_bound": 1.0, "cpu": 1.0, "io_bound": 2.0, "io": 2.0, "mixed": 1.5}


def recommended_workers(kind: str) -> int:
    """Return a number of workers that suits a kind of task on this machine.

    Args:
        kind: "cpu_bound" (or "cpu"): one for each usable core. "io_bound" (or "io"): two. "mixed": one and a half.

    Raises:
        TypeError: ``kind`` is not a str.
        ValueError: It is none of these.
    """
    factor = _FACTORS[as_choice("kind", kind, list(_FACTORS))]
    return max(1, int(int(dask.system.CPU_COUNT) * factor))
