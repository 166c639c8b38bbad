"""Runs whose tasks have policies: on an executor of their own, or on the user's."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask

from dask_ferris import _assign, _check, _graph, _native, _options
from dask_ferris._executor import Executor
from dask_ferris._report import RunReport, deliver
from dask_ferris._schedulers import WorkStealingScheduler
from dask_ferris._warn import warn
from dask_ferris.exceptions import PolicyError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator

    from dask_ferris._assign import Assigned
    from dask_ferris._options import Options
    from dask_ferris._policy import Policy, Words
    from dask_ferris._report import Report

__all__ = ["read", "run"]


def read(dsk: object, options: Options | None) -> tuple[dict[Any, Any], Assigned | None]:
    """Return a graph as a dict, and the policies of its tasks, or None when no task asks for anything.

    Args:
        dsk: Whatever Dask hands over.
        options: How it is to be run; None for the defaults.
    """
    graph, notes = _graph.read(dsk)
    is_asked = options is not None and bool(options.executor is not None or options.governing)
    if not (notes or is_asked or dask.get_annotations()):
        return graph, None  # as of nearly all runs: there is nothing to look up
    assigned = _assign.assign(graph, notes, _words(options), _resources(options))
    if options is not None and options.is_watched:
        _refuse_or_warn(options, assigned)
        return graph, None
    return graph, assigned if is_asked or not assigned.is_plain else None


def _resources(options: Options | None) -> Collection[str]:
    """Return the names of the resources that there are."""
    if options is not None and isinstance(options.executor, Executor):
        return options.executor._capacity.keys()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return _options.executor_config().resources.keys()


def _words(options: Options | None) -> dict[str, Any]:
    """Return what a call asks for, in its keywords or by its executor."""
    if options is None:
        return {}
    return {**_assign.words_of(_policy_of(options)), **options.words}


def _policy_of(options: Options) -> Policy:
    """Return what the executor of a call asks for, if it has one."""
    return options.executor._policy if isinstance(options.executor, Executor) else _assign.DEFAULT  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _refuse_or_warn(options: Options, assigned: Assigned) -> None:
    """Say that a run which is accounted for step by step has no policies."""
    words = options.governing or _assign.words_of(_policy_of(options), but="priority")
    what = "callbacks, cache, raise_exception, rerun_exceptions_locally and pools of others"
    if words:
        msg = f"{', '.join(words)} can not be honoured together with {what} in this version of dask_ferris"
        raise PolicyError(msg)
    if assigned.is_annotated and _assign.is_strict():
        msg = f"annotations can not be honoured together with {what} in this version of dask_ferris"
        raise PolicyError(msg)
    if assigned.is_annotated:
        warn(f"annotations have no effect together with {what} in this version of dask_ferris")


def run(graph: dict[Any, Any], keys: Any, assigned: Assigned, options: Options | None) -> Any:
    """Run a graph for its keys.

    Args:
        graph: From keys to nodes, legacy tasks or data.
        keys: A key, or a list of keys, which may be nested.
        assigned: The policies of its tasks.
        options: How it is to be run; None for the defaults.

    Returns:
        The values, in the shape of the keys.
    """
    chosen = _options.resolve({}) if options is None else options
    with _executor_for(chosen) as executor:
        terms = Terms(
            policies=_words_for(executor, assigned),
            policy_of=assigned.keys,
            continues=chosen.continues,
            deadline=chosen.deadline,
            limits_blas=chosen.limit_blas,
            compare=_check.compare if chosen.check else None,
            tell=None if chosen.report is None else _teller(chosen.report, assigned),
        )
        return _native.govern(executor, graph, keys, terms)


def _words_for(executor: Executor, assigned: Assigned) -> list[Words]:
    """Return the policies as the native half knows them; an error names a key whose task it is about."""
    words: list[Words] = []
    for position, policy in enumerate(assigned.policies):
        try:
            words.append(executor._words(policy))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        except PolicyError as error:
            keys = (key for key, other in assigned.keys.items() if other == position)
            where = f"the annotation of key {next(keys)!r} can not be honoured: " if position else ""
            msg = f"{where}{error}"
            raise PolicyError(msg) from None
    return words


@dataclass(frozen=True, slots=True)
class Terms:
    """How a run is to be done, as the native half knows it.

    Attributes:
        policies: Those that occur; the first is that of tasks that are not in `policy_of`.
        policy_of: From keys to positions of policies.
        continues: Go on after a task that failed.
        deadline: Seconds that the run may take, or None.
        limits_blas: Hold BLAS and OpenMP back.
        compare: Called for each task with what it gave, when tasks are to be run both ways.
        tell: Called at the end with what there is to tell of the tasks.
    """

    policies: list[Words]
    policy_of: dict[Any, int]
    continues: bool
    deadline: float | None
    limits_blas: bool
    compare: Callable[..., object] | None
    tell: Callable[[dict[str, Any]], None] | None


def _teller(report: Report, assigned: Assigned) -> Callable[[dict[str, Any]], None]:
    """Return what makes a report of what the native half tells, and hands it over."""
    began = time.monotonic()

    def tell(told: dict[str, Any]) -> None:
        seconds, words = time.monotonic() - began, assigned.honoured(told.pop("numbers"))
        merged = {key: tuple(map(dict, asked)) for key, asked in assigned.merged.items()}
        deliver(report, RunReport(seconds=seconds, honoured=words, merged=merged, **told))

    return tell


@contextmanager
def _executor_for(options: Options) -> Generator[Executor]:
    if isinstance(options.executor, Executor):
        yield options.executor
        return
    own = Executor(options.num_workers, thread_name_prefix="ferris-run", scheduler=WorkStealingScheduler())
    try:
        yield own
    finally:
        own._abandon()  # noqa: SLF001
