"""The types that users' checkers see: checked by mypy and pyright in `make lint`, never run.

A line that must be refused carries an ignore; both checkers say so when one is no longer needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

import dask_ferris
from dask_ferris.exceptions import FerrisWarning

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from dask.typing import SchedulerGetCallable


def get_is_a_scheduler_of_dask() -> SchedulerGetCallable:
    """Dask's protocol for schedulers accepts `get`."""
    return dask_ferris.get


def get_returns_whatever_the_tasks_return() -> None:
    """Values of tasks have no type that a checker could know."""
    assert_type(dask_ferris.get({"a": 1}, "a"), Any)
    assert_type(dask_ferris.get({"a": 1, ("b", 0): 2}, ["a", [("b", 0)]], num_workers=2), Any)
    dask_ferris.get({"a": 1})  # type: ignore[call-arg]


def statistics_are_numbers() -> None:
    """Each figure is an int, and the snapshot is frozen."""
    snapshot = dask_ferris.statistics()
    assert_type(snapshot, dask_ferris.Statistics)
    assert_type(snapshot.n_workers, int)
    assert_type(snapshot.n_runs, int)
    assert_type(snapshot.n_tasks, int)
    assert_type(snapshot.n_steals, int)
    snapshot.n_runs = 0  # type: ignore[misc]
    dask_ferris.statistics(1)  # type: ignore[call-arg]


def exceptions_are_those_of_the_standard_library(
    graph: dask_ferris.MissingDependencyError,
    cycle: dask_ferris.CycleError,
    key: dask_ferris.MissingKeyError,
    policy: dask_ferris.PolicyError,
    internal: dask_ferris.InternalError,
) -> tuple[ValueError, RuntimeError, KeyError, ValueError, dask_ferris.FerrisError]:
    """Each is what handlers that know nothing of this package catch."""
    assert_type(dask_ferris.FerrisWarning, type[FerrisWarning])
    return graph, cycle, key, policy, internal


def graph_errors_are_ours(error: dask_ferris.GraphError) -> dask_ferris.FerrisError:
    """One handler catches all that this package raises itself."""
    return error


def executors_are_typed_as_the_standard_pool(executor: dask_ferris.Executor) -> ThreadPoolExecutor:
    """A future knows the type of its result, also through a view and with a priority."""
    assert_type(executor.submit(len, "abc"), dask_ferris.Future[int])
    careful = executor.with_options(priority=2, retries=dask_ferris.Retry(3, on=OSError), timeout=1.5, name="len")
    assert_type(careful, dask_ferris.Executor)
    assert_type(careful.submit(len, "abc", priority=dask_ferris.TaskPriority.HIGH).result(), int)
    assert_type(list(executor.map(len, ["a", "b"], chunksize=2)), list[int])
    assert_type(executor.submit_computation("sum", [1, 2]), float)
    assert_type(executor.computation_future("sum", [1, 2]), dask_ferris.Future[float])
    assert_type(executor.get_stats().completed_tasks, int)
    assert_type(dask_ferris.recommended_workers("mixed"), int)
    executor.with_options(retrys=1)  # type: ignore[call-arg]
    dask_ferris.Executor(n_workers=1)  # type: ignore[call-arg]
    return executor


def version_is_a_string() -> None:
    """`__version__` is known to checkers although it is looked up on demand."""
    assert_type(dask_ferris.__version__, str)
