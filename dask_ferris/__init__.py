"""The local engine for Dask: a native scheduler for task graphs.

Importing this package makes the scheduler known to Dask by the name ``"ferris"`` and does nothing else:

    >>> import dask, dask_ferris
    >>> dask.delayed(sum)([1, 2]).compute(scheduler="ferris")
    3
"""

from __future__ import annotations

import dask.base

from dask_ferris import _options as _options  # registers the defaults of the config section ``ferris``
from dask_ferris._completed import Completed, as_completed
from dask_ferris._executor import Executor, ExecutorStatistics
from dask_ferris._future import Future
from dask_ferris._native import get
from dask_ferris._policy import Retry, TaskPriority
from dask_ferris._pool import Statistics, statistics
from dask_ferris._report import RunReport
from dask_ferris._run import Progress, Run, start
from dask_ferris._schedulers import (
    AdaptiveScheduler,
    PriorityScheduler,
    RoundRobinScheduler,
    WorkStealingScheduler,
    recommended_workers,
)
from dask_ferris.exceptions import (
    BrokenPoolError,
    CycleError,
    FerrisError,
    FerrisWarning,
    GraphError,
    InternalError,
    MissingDependencyError,
    MissingKeyError,
    PolicyError,
    PoolClosedError,
    QueueFullError,
    TaskTimeoutError,
    UpstreamFailedError,
)

__all__ = [
    "AdaptiveScheduler",
    "BrokenPoolError",
    "Completed",
    "CycleError",
    "Executor",
    "ExecutorStatistics",
    "FerrisError",
    "FerrisWarning",
    "Future",
    "GraphError",
    "InternalError",
    "MissingDependencyError",
    "MissingKeyError",
    "PolicyError",
    "PoolClosedError",
    "PriorityScheduler",
    "Progress",
    "QueueFullError",
    "Retry",
    "RoundRobinScheduler",
    "Run",
    "RunReport",
    "Statistics",
    "TaskPriority",
    "TaskTimeoutError",
    "UpstreamFailedError",
    "WorkStealingScheduler",
    "as_completed",
    "get",
    "recommended_workers",
    "start",
    "statistics",
]

dask.base.named_schedulers["ferris"] = get


def __getattr__(name: str) -> str:
    if name == "__version__":
        # Looked up on demand: importlib.metadata takes longer to import than the rest of this package.
        from importlib.metadata import version  # noqa: PLC0415

        return version("dask-ferris")
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
