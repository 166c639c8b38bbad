"""The executor and what belongs to it."""

from __future__ import annotations

from dask_ferris._executor import Executor, ExecutorStatistics, Finished
from dask_ferris._future import Future
from dask_ferris._policy import Retry, TaskPriority
from dask_ferris._results import Results
from dask_ferris._schedulers import (
    AdaptiveScheduler,
    PriorityScheduler,
    RoundRobinScheduler,
    WorkStealingScheduler,
    recommended_workers,
)

__all__ = [
    "AdaptiveScheduler",
    "Executor",
    "ExecutorStatistics",
    "Finished",
    "Future",
    "PriorityScheduler",
    "Results",
    "Retry",
    "RoundRobinScheduler",
    "TaskPriority",
    "WorkStealingScheduler",
    "recommended_workers",
]
