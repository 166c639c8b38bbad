"""Runs whose tasks have policies: on an executor of their own, or on the user's."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask

from dask_ferris import _assign, _check, _graph, _native, _options
from dask_ferris._executor import Executor
from dask_ferris._report import RunReport, deliver
from dask_ferris._schedulers import AdaptiveScheduler
from dask_ferris._warn import warn
from dask_ferris.exceptions import PolicyError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from dask_ferris._assign import Assigned
    from dask_ferris._options import Options
    from dask_ferris._policy import Policy, Words
    from dask_ferris._report import Report

__all__ = ["Begun", "assign", "begin", "read", "run"]


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


def assign(dsk: object, options: Options) -> tuple[dict[Any, Any], Assigned]:
    """Return a graph as a dict, and the policies of its tasks; as `read`, of a run that is governed in any case."""
    if options.is_watched:
        msg = (
            "runs that go on by themselves have no cache, rerun_exceptions_locally and pool of others; "
            "one of them was given, or is set in Dask's config"
        )
        raise PolicyError(msg)
    graph, notes = _graph.read(dsk)
    return graph, _assign.assign(graph, notes, _words(options), _resources(options))


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
    begun = begin(graph, keys, assigned, _options.resolve({}) if options is None else options)
    begun.finish()
    return begun.handle.values()


def begin(
    graph: dict[Any, Any],
    keys: Any,
    assigned: Assigned,
    options: Options,
    *,
    hands_over: bool = False,
) -> Begun:
    """Begin a run of a graph for its keys.

    Args:
        graph: From keys to nodes, legacy tasks or data.
        keys: A key, or a list of keys, which may be nested.
        assigned: The policies of its tasks.
        options: How it is to be run.
        hands_over: Whether values of keys are taken one by one.

    Returns:
        The run, which whoever has begun it must `finish`.
    """
    executor = _executor_for(options, assigned)
    terms = Terms(
        policies=_words_for(executor, assigned),
        policy_of=assigned.keys,
        continues=options.continues,
        deadline=options.deadline,
        memory_limit=options.memory_limit,
        hands_over=hands_over,
        limits_blas=options.limit_blas,
        compare=_check.compare if options.check else None,
    )
    handle = _native.begin_run(executor, graph, keys, terms)
    return Begun(handle, executor, assigned, options.report, time.monotonic())


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
        memory_limit: Bytes that values may take before roots are held back, or None.
        hands_over: Values of keys are taken one by one.
        limits_blas: Hold BLAS and OpenMP back.
        compare: Called for each task with what it gave, when tasks are to be run both ways.
    """

    policies: list[Words]
    policy_of: dict[Any, int]
    continues: bool
    deadline: float | None
    memory_limit: int | None
    hands_over: bool
    limits_blas: bool
    compare: Callable[..., object] | None


@dataclass(slots=True)
class Begun:
    """A run that has begun.

    Attributes:
        handle: The native run.
        executor: On whose threads it is; held, as it may be the run's own.
        assigned: The policies of its tasks.
        report: Who gets the report, or None.
        since: When it began, by `time.monotonic`.
    """

    handle: _native.GovernedRun
    executor: Executor
    assigned: Assigned
    report: Report | None
    since: float
    _told: RunReport | None = None

    def finish(self) -> None:
        """Wait for the end, deliver the report, and raise what the run has failed with; to be called once."""
        try:
            self.handle.finish()
        except BaseException as failure:
            _give_back(self.executor)
            try:
                self._deliver()
            except Exception as error:  # noqa: BLE001  the failure is what matters
                failure.add_note(f"the report could not be delivered: {type(error).__name__}: {error}")
            raise
        _give_back(self.executor)
        self._deliver()

    def _deliver(self) -> None:
        if self.report is not None:
            deliver(self.report, self.tell())

    def tell(self) -> RunReport:
        """Return what became of the tasks of a run that is over."""
        if self._told is None:
            told, seconds = self.handle.told(), time.monotonic() - self.since
            words = self.assigned.honoured(told.pop("numbers"))
            merged = {key: tuple(map(dict, asked)) for key, asked in self.assigned.merged.items()}
            self._told = RunReport(seconds=seconds, honoured=words, merged=merged, **told)
        return self._told


def _executor_for(options: Options, assigned: Assigned) -> Executor:
    """Return the executor of a run: the user's, one that nobody uses now, or the one whose resources all runs share."""
    if isinstance(options.executor, Executor):
        return options.executor
    kind = (options.num_workers, repr(_options.executor_config()))  # the config by its fields
    if not any(policy.resources for policy in assigned.policies) or _native.is_at_work():
        # A run within a task that holds what its own tasks need, or all workers, would wait for ever.
        return _take_idle(kind) or _new_executor(kind)
    shared = _shared.get(kind)
    if shared is None or not shared.is_active():
        shared = _shared[kind] = _new_executor(kind)
    return shared


_Kind = tuple[int, str]
"""What executors of runs differ in: the number of workers, and the config."""

_shared: dict[_Kind, Executor] = {}
"""Executors of runs whose tasks need resources: what there is of them is for all of these together."""

_idle: dict[_Kind, list[Executor]] = {}
"""Executors that the next run may have. Under the GIL a list needs no lock, which a fork might find taken."""

_MOST_IDLE = 4
"""Of each kind; their threads go by themselves, all but one."""


def _take_idle(kind: _Kind) -> Executor | None:
    while idle := _idle.get(kind):
        with suppress(IndexError):  # another thread was faster
            executor = idle.pop()
            if executor.is_active():
                return executor
    return None


def _give_back(executor: Executor) -> None:
    """Keep the executor of a run that is over for the next one, unless it is the user's or still busy."""
    if not isinstance(executor, _RunExecutor) or executor in _shared.values():
        return
    active, queued, *_ = executor._count()  # noqa: SLF001
    idle = _idle.setdefault(executor.kind, [])
    if active + queued == 0 and executor.is_active() and len(idle) < _MOST_IDLE:
        idle.append(executor)


class _RunExecutor(Executor):
    """An executor that was made for runs."""

    kind: _Kind


def _new_executor(kind: _Kind) -> Executor:
    num_workers, _ = kind
    scheduler = AdaptiveScheduler(1, num_workers)
    executor = _RunExecutor(num_workers, thread_name_prefix="ferris-run", scheduler=scheduler)
    executor.kind = kind
    executor._disown()  # noqa: SLF001
    return executor
