"""Graphs under limits: of memory, and of time for tasks that do not end."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from dask._task_spec import Task

from benchmarks.adapters import load_get
from benchmarks.programs import optimised
from benchmarks.sampling import Measure, stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.graphs import Graph

N_TASKS = 10_000
N_STUCK = 100
"""Of them, those whose time is up."""

NAP = 0.001
"""Seconds of a task that ends in time."""

LIMIT = 0.02
"""Seconds that a task may take."""

STUCK = 0.1
"""Seconds of a task that does not end in time; its thread is left to itself for the rest."""

NO_LIMIT = 1 << 60
"""Bytes that no graph takes: with it a run tells how many it did take."""


# ---- Memory: patterns that are known to take much of it


def sum_of_rows() -> Any:
    """The sum of many rows, not fused (dask issues 7583 and 8040)."""
    import dask.array as da  # noqa: PLC0415 - only the process that measures it needs it

    return da.random.random((4_000, 50_000), chunks=(1, -1)).sum()


def rechunk_and_reduce() -> Any:
    """Blocks are made faster than they are reduced along other axes (dask issue 4610)."""
    import dask.array as da  # noqa: PLC0415 - only the process that measures it needs it

    blocks = da.random.random((20_000, 20, 200), chunks=(100, 20, 200)).rechunk((1_000, 1, 200))
    return blocks.map_blocks(_mean, chunks=(1, 1, 1)).sum()


def _mean(block: Any) -> Any:
    return block.mean(axis=(0, 2), keepdims=True)


def sum_of_columns() -> Any:
    """The sum along the first axis of blocks that are wide (dask issue 9083)."""
    import dask.array as da  # noqa: PLC0415 - only the process that measures it needs it

    return da.ones((100, 4_000_000), chunks=(10, 400_000)).sum(axis=0)


def anomaly_mean() -> Any:
    """The mean square of what differs from a mean over all: each block is needed twice."""
    import dask.array as da  # noqa: PLC0415 - only the process that measures it needs it

    blocks = da.random.random((400, 100_000), chunks=(10, 10_000))
    return ((blocks - blocks.mean(axis=0)) ** 2).mean()


PATTERNS: dict[str, Callable[[], Any]] = {
    "sum-of-rows": sum_of_rows,
    "rechunk-and-reduce": rechunk_and_reduce,
    "sum-of-columns": sum_of_columns,
    "anomaly-mean": anomaly_mean,
}


def prepare_memory(name: str, competitor: str) -> Measure:
    """The measure of a run; of `quarter` with a fourth of the memory that its values take at most without a limit."""
    graph, keys = optimised(PATTERNS[name](), optimize_graph=name != "sum-of-rows")
    kind, _, width = competitor.partition("-")
    get = load_get(f"ferris-{width}" if kind == "quarter" else competitor)
    if kind == "quarter":
        get = partial(get, memory_limit=_peak(get, graph, keys) // 4)
    return stopwatch(partial(get, graph, keys))


def _peak(get: Callable[..., Any], graph: Graph, keys: Any) -> int:
    """The bytes that the values of a run take at most."""
    reports: list[Any] = []
    get(graph, keys, memory_limit=NO_LIMIT, report=reports.append)
    return int(reports[0].peak_memory)


# ---- Time


def prepare_stuck(competitor: str) -> Measure:
    """The measure of tasks that sleep; of `stuck`, with others among them whose time is up."""
    kind, _, width = competitor.partition("-")
    get = partial(load_get(f"ferris-{width}"), timeout=LIMIT, on_error="continue")
    n_stuck = N_STUCK if kind == "stuck" else 0
    every = N_TASKS // N_STUCK
    graph: dict[Any, Any] = {i: Task(i, time.sleep, NAP) for i in range(N_TASKS) if i % every}
    for i in range(n_stuck):
        graph[i * every] = Task(i * every, time.sleep, STUCK)
    keys = sorted(graph)
    return stopwatch(partial(get, graph, keys))


def share_of_rest(n_workers: int, with_stuck: float, without: float) -> float:
    """How fast the tasks that end in time go beside the others, as a share of how fast they go alone.

    Args:
        n_workers: How many tasks run at once.
        with_stuck: Seconds that all take.
        without: Seconds that those take that end in time.
    """
    return without / (with_stuck - N_STUCK * LIMIT / n_workers)
