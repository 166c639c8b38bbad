"""The executor: `concurrent.futures.ThreadPoolExecutor` with priorities, retries, timeouts and back-pressure."""

# ruff: noqa: SLF001  an executor, its views and their native base are one thing in several classes

from __future__ import annotations

import concurrent.futures
import itertools
import os
import threading
import time
import weakref
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import dask.system

from dask_ferris import _native, _timer
from dask_ferris._arguments import as_callable, as_choice, as_count, as_flag, as_limit, as_text
from dask_ferris._batch import as_call, attempt, outcomes_of
from dask_ferris._future import Future
from dask_ferris._memory import MemoryGate, process_memory
from dask_ferris._options import executor_config
from dask_ferris._persist import persist
from dask_ferris._policy import NOT_GIVEN, Policy, Words, as_amounts, as_two_floats, is_testing
from dask_ferris._pool import HOOKS_ARE_SET
from dask_ferris._results import Chunk, Results, collect, collect_ahead
from dask_ferris._schedulers import (
    AdaptiveScheduler,
    PriorityScheduler,
    RoundRobinScheduler,
    Scheduler,
    WorkStealingScheduler,
)
from dask_ferris._team import Team
from dask_ferris.exceptions import PolicyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["Executor", "ExecutorStatistics", "Finished"]

_T = TypeVar("_T")

_names = itertools.count()

_executors: weakref.WeakSet[Executor] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class ExecutorStatistics:
    """What an executor has done and is doing; the numbers are of one moment.

    Attributes:
        active_threads: Tasks that run.
        queued_tasks: Tasks that wait: for a thread, for a resource, for a future or for another attempt.
        completed_tasks: Tasks that have a result.
        failed_tasks: Tasks that have raised.
        cancelled_tasks: Tasks that were cancelled before they began.
        total_execution_time: Seconds that tasks have run, over all threads.
        n_steals: Tasks that a worker has taken from another's queue, with `WorkStealingScheduler`.
        n_spare: Threads beyond the number of workers, which stand in for workers that wait.
        n_abandoned: Threads in a task whose time was up and that does not end.
    """

    active_threads: int
    queued_tasks: int
    completed_tasks: int
    failed_tasks: int
    cancelled_tasks: int
    total_execution_time: float
    n_steals: int
    n_spare: int
    n_abandoned: int

    def _asdict(self) -> dict[str, float]:
        """Return the numbers by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Terms:
    """What the native half has to know of an executor; described there."""

    n_workers: int
    n_kept: int
    most_spare: int
    most_queued: int | None
    aging: float
    steals: bool
    capacity: list[float]
    future_type: type[Future[Any]]
    starter: Callable[[Any], object]
    gate: MemoryGate | None
    blocks: bool
    helps_outside: bool
    resolves: bool
    has_levels: bool
    most_abandoned: int


class Finished(list[Any]):
    """What `dask_ferris.Executor.wait` returns: the futures that have ended, in the order in which they were given.

    Attributes:
        done: The same futures, as a set.
        not_done: Those that have not ended.
    """

    def __init__(self, futures: Iterable[Any], not_done: set[Any]) -> None:
        """Take the futures that have ended, and those that have not."""
        super().__init__(futures)
        self.done = set(self)
        self.not_done = not_done


class Executor(_native.Executor, concurrent.futures.ThreadPoolExecutor):
    """Threads that make calls, in the way of `concurrent.futures.ThreadPoolExecutor`, whose place it can take.

    Args:
        max_workers: Calls that may run at once, at least 1; None for the number of usable CPUs.
        thread_name_prefix: What the names of the threads begin with.
        initializer: Called by each thread when it starts.
        initargs: The arguments of ``initializer``.
        scheduler: How the workers share the tasks; None for one queue with priorities.
        resources: How much there is of each resource that tasks may ask for by `with_options`; None for those of the
            config key ``ferris.resources``.
        max_queued: Tasks that may wait for a thread; None for any number.
        on_full: What `submit` does when as many wait: "block" until there is room, or "raise" `QueueFullError`.
        memory_limit: Bytes, or a text like "4 GB": while the process has more resident memory, `submit` does as when
            the queue is full, unless no task waits or runs. None for no limit.
        help_waiting: Whether a thread outside may run a task itself when it waits for its result.
        resolve_futures: Whether futures among the arguments of a call are waited for and replaced by their results.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of range.
    """

    _policy: Policy
    _chunk_size: int
    _team: Team
    _cpu_seen: tuple[float, float]

    def __init__(  # noqa: PLR0913  four of them are the standard library's
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        scheduler: Scheduler | None = None,
        resources: Mapping[str, float] | None = None,
        max_queued: int | None = None,
        on_full: str = "block",
        memory_limit: float | str | None = None,
        help_waiting: bool = False,
        resolve_futures: bool = True,
    ) -> None:
        # The initialiser of the base would make a queue and threads of its own.
        config = executor_config()
        self._max_workers = _width(max_workers, scheduler)
        self._capacity = as_amounts(resources) if resources is not None else config.resources
        self._policy, self._chunk_size = Policy(), 1
        self._thread_name_prefix = thread_name_prefix or f"ThreadPoolExecutor-{next(_names)}"
        self._team = Team(self._thread_name_prefix, initializer and as_callable("initializer", initializer), initargs)
        self._cpu_seen = (time.monotonic(), time.process_time())
        is_strict = isinstance(scheduler, PriorityScheduler | RoundRobinScheduler)
        self._open(
            Terms(
                n_workers=self._max_workers,
                n_kept=scheduler.min_workers if isinstance(scheduler, AdaptiveScheduler) else self._max_workers,
                most_spare=config.max_spare_threads,
                most_queued=None if max_queued is None else as_count("max_queued", max_queued),
                aging=0.0 if is_strict else config.priority_aging,
                steals=isinstance(scheduler, WorkStealingScheduler),
                capacity=list(self._capacity.values()),
                future_type=Future,
                starter=self._team.start,
                gate=_gate(self, memory_limit, on_full),
                blocks=as_choice("on_full", on_full, ("block", "raise")) == "block",
                helps_outside=as_flag("help_waiting", help_waiting) and initializer is None,
                resolves=as_flag("resolve_futures", resolve_futures),
                most_abandoned=config.max_abandoned_threads,
                has_levels=not isinstance(scheduler, RoundRobinScheduler),
            )
        )
        _executors.add(self)

    @property
    def _base(self) -> Executor:
        """The executor that has the threads."""
        return self

    # ---- Calls

    if TYPE_CHECKING:  # it is the native base's

        def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]: ...

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Results[_T]:
        """Call a function with each of the items, several at once, and return the results in the order of the items.

        Args:
            fn: The function; it takes as many arguments as there are iterables.
            *iterables: The items. They are read now; with ``buffersize``, as results are taken.
            timeout: Seconds from now in which a result must be there when it is asked for.
            chunksize: Items of one task; None for what `set_chunk_size` has set.
            buffersize: The largest number of items that are read and whose results were not taken; None for any.

        Returns:
            An iterator, which also has the length, the items and the text of a list.

        Raises:
            TimeoutError: From the iterator: a result was not there in time.
            TypeError: An argument is of the wrong type.
            ValueError: ``chunksize`` or ``buffersize`` is below 1.
        """
        limit = as_limit("timeout", timeout)
        end = None if limit is None else time.monotonic() + limit
        size = self._base._chunk_size if chunksize is None else as_count("chunksize", chunksize)
        if buffersize is not None:
            return self._map_ahead(fn, zip(*iterables, strict=False), size, as_count("buffersize", buffersize), end)
        submit = self.submit
        if size > 1:
            parts = list(_parts(zip(*iterables, strict=False), size))
            chunks = [Chunk(fn, len(part)) for part in parts]
            return collect(list(map(submit, chunks, parts)), chunks=chunks, end=end)
        if len(iterables) == 1:
            futures = [submit(fn, item) for item in iterables[0]]
        else:
            futures = [submit(fn, *args) for args in zip(*iterables, strict=False)]
        return collect(futures, chunks=None, end=end)

    def _map_ahead(
        self, fn: Callable[..., _T], items: Iterator[tuple[Any, ...]], size: int, n_ahead: int, end: float | None
    ) -> Results[_T]:
        if size == 1:
            plain = ((None, self.submit(fn, *args)) for args in items)
            return collect_ahead(plain, n_ahead, end=end)
        size = min(size, n_ahead)
        chunks = ((chunk := Chunk(fn, len(part)), self.submit(chunk, part)) for part in _parts(items, size))
        return collect_ahead(chunks, n_ahead // size, end=end)

    def submit_batch(self, tasks: Iterable[Any], *, return_exceptions: bool = False) -> list[Any]:
        """Make several calls at once, wait for all of them and return their results in order.

        Args:
            tasks: Pairs of a function and its arguments, or triples with keyword arguments as well, or functions.
            return_exceptions: Whether what a call raises takes the place of its result.

        Returns:
            The results.

        Raises:
            BaseException: What the first of the calls that failed has raised, when all have ended.
            TypeError: A task is none of these.
        """
        calls = [as_call(task) for task in tasks]
        if self.get_chunk_size() > 1:
            outcomes = list(self.map(attempt, calls))
        else:
            outcomes = outcomes_of([self.submit(fn, *args, **kwargs) for fn, args, kwargs in calls])
        if return_exceptions:
            return [value if error is None else error for value, error in outcomes]
        for _, error in outcomes:
            if error is not None:
                raise error
        return [value for value, _ in outcomes]

    def wait(self, futures: Iterable[Any], timeout: float | None = None) -> Finished:
        """Wait for futures, at most ``timeout`` seconds, and return those that have ended, in order."""
        given = _as_futures(futures)
        done, not_done = concurrent.futures.wait(given, as_limit("timeout", timeout))
        return Finished((future for future in given if future in done), set(not_done))

    def as_completed(self, futures: Iterable[Any], timeout: float | None = None) -> Iterator[Any]:
        """Yield futures as they end, each once; as `concurrent.futures.as_completed`."""
        return concurrent.futures.as_completed(_as_futures(futures), as_limit("timeout", timeout))

    def with_options(
        self,
        *,
        priority: float | None = NOT_GIVEN,
        retries: Any = NOT_GIVEN,
        timeout: float | None = NOT_GIVEN,
        resources: Mapping[str, float] | None = NOT_GIVEN,
        name: str | None = NOT_GIVEN,
    ) -> Executor:
        """Return a view of this executor whose calls carry a policy.

        The view is an executor with the same threads and the same queue; shutting it down shuts down this one. A view
        of a view keeps the words that are not given again. A word that is None is as if it had never been given.

        Args:
            priority: Any finite number; higher goes first. `TaskPriority.NORMAL`, 1, by default.
            retries: How often a call that fails is repeated, or a `Retry`.
            timeout: Seconds that one attempt may take, greater than 0; then its future fails with `TaskTimeoutError`.
            resources: How much of each resource a call needs while it runs.
            name: What the calls are called in errors.

        Returns:
            The view.

        Raises:
            PolicyError: The executor does not have a resource, or never as much of it, or has no priorities.
            TypeError: A word is of the wrong type.
            ValueError: A word is out of range.
        """
        words = {"priority": priority, "retries": retries, "timeout": timeout, "resources": resources, "name": name}
        return _View(self._base, self._policy.updated(**words))

    def submit_computation(self, kind: str, data: Iterable[Any]) -> float:
        """Reduce numbers to one, in native code and without the GIL, on as many threads as the executor has workers.

        The threads are not the executor's: nothing in Python runs on them, and the queue is not waited for. The result
        is the same on any number of threads, to the last bit.

        Args:
            kind: "sum" and "square_sum" (rounded once, as by `math.fsum`), "product", or "heavy_computation", which
                does a million additions for each number.
            data: An iterable of real numbers or a buffer of one dimension, such as an array of NumPy.

        Returns:
            The result; 0.0, or 1.0 for "product", when there are no numbers.

        Raises:
            ValueError: There is no such kind.
            TypeError: ``kind`` is not a str, ``data`` is text or bytes, or an element is not a real number.
            OverflowError: An int is too large for a float.
            PoolClosedError: The executor was shut down.
            PolicyError: This is a view with retries, a timeout or resources.
        """
        self._check_open()
        if self._policy.retry or self._policy.timeout or self._policy.resources:
            msg = "a computation is not a task: retries, timeout and resources of a view can not be honoured"
            raise PolicyError(msg)
        return _native.compute(as_text("kind", kind), data, self._max_workers)

    def computation_future(self, kind: str, data: Iterable[Any]) -> Future[float]:
        """Return the future of a computation, which takes the place of one call; see `submit_computation`."""
        _native.compute(as_text("kind", kind), (), 1)  # a kind that there is not is an error here
        return self.submit(partial(_native.compute, kind, data, self._max_workers))

    def __call__(self, dsk: object, keys: Any, **options: Any) -> Any:
        """Run a graph on the threads of this executor: what ``dask.compute(..., scheduler=executor)`` calls.

        Args:
            dsk: The graph.
            keys: What is wanted of it.
            **options: As for `dask_ferris.get`.

        Returns:
            The values, in the shape of the keys.
        """
        if options.get("pool", self) not in (None, self):
            msg = f"a run on an executor has its threads; pool={options['pool']!r} can not be honoured"
            raise PolicyError(msg)
        return _native.get(dsk, keys, **{**options, "pool": self})

    def persist(self, collections: Sequence[Any], **kwargs: Any) -> list[Any]:
        """Persist collections on the threads of this executor: what ``dask.persist(..., scheduler=executor)`` calls.

        Args:
            collections: Collections of Dask.
            **kwargs: What was given to `dask.persist`.

        Returns:
            The collections, backed by values, which are never taken for tasks.
        """
        return persist(self, collections, **kwargs)

    def _words(self, policy: Policy) -> Words:
        """Return a policy as the native half knows it."""
        return Words(
            priority=as_two_floats(policy.priority),
            timeout=policy.timeout,
            retry=policy.retry,
            request=self._request(policy.resources),
            name=policy.name,
        )

    def _request(self, amounts: Mapping[str, float]) -> list[tuple[int, float]]:
        """Return amounts by the index of the resource."""
        names = list(self._capacity)
        for name, amount in amounts.items():
            if name not in self._capacity:
                known = ", ".join(map(repr, names)) or "none"
                msg = f"there is no resource {name!r}; there is {known}"
                raise PolicyError(msg)
            if amount > self._capacity[name]:
                msg = f"there is {self._capacity[name]!r} of the resource {name!r}, never {amount!r}"
                raise PolicyError(msg)
        return sorted((names.index(name), amount) for name, amount in amounts.items() if amount > 0)

    # ---- The end

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  as the base has it
        """Accept no more calls.

        Args:
            wait: Whether to return only when all calls have ended, those that wait for another attempt included.
            cancel_futures: Whether to cancel the calls that have not begun.
        """
        self._base._close(cancels=cancel_futures)
        if wait:
            self._base._wait_until_gone()
            self._base._team.join()

    def _begin_anew(self) -> None:
        """Have threads of its own in the child of a fork."""
        self._team.forget()
        self._renew()

    # ---- What it is and what it does

    def set_chunk_size(self, chunk_size: int) -> None:
        """Set how many items `map` puts into one task, at least 1."""
        self._base._chunk_size = as_count("chunk_size", chunk_size)

    def get_chunk_size(self) -> int:
        """Return how many items `map` puts into one task; 1 unless set."""
        return self._base._chunk_size

    def get_worker_count(self) -> int:
        """Return how many calls may run at once."""
        return self._max_workers

    def get_stats(self) -> ExecutorStatistics:
        """Return what the executor has done and is doing."""
        return ExecutorStatistics(*self._count())

    def get_cpu_usage(self) -> float:
        """Return the processor time of this process since the last call, or the start, in percent of a core."""
        wall, cpu = self._base._cpu_seen
        now = self._base._cpu_seen = (time.monotonic(), time.process_time())
        elapsed = now[0] - wall
        return max(0.0, 100 * (now[1] - cpu) / elapsed) if elapsed > 0 else 0.0

    def get_memory_usage(self) -> int:
        """Return the resident memory of this process, in bytes."""
        return process_memory()

    @property
    def _threads(self) -> set[threading.Thread]:  # type: ignore[override]  # of another class, and never set
        return self._base._team.threads

    @property
    def _work_queue(self) -> _Waiting:  # type: ignore[override]  # of another class, and never set
        return _Waiting(self)


class _Waiting:
    """The tasks that wait, in as far as monitors look at the queue of the standard pool."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def qsize(self) -> int:
        """Return how many there are."""
        return self._executor.get_stats().queued_tasks

    def empty(self) -> bool:
        """Return whether there are none."""
        return self.qsize() == 0


class _View(Executor):
    """An executor as seen through a policy."""

    def __init__(self, base: Executor, policy: Policy) -> None:
        self._viewed, self._policy = base, policy
        self._max_workers, self._capacity = base._max_workers, base._capacity
        self._thread_name_prefix = base._thread_name_prefix
        self._look_at(base, base._words(policy))

    @property
    def _base(self) -> Executor:
        return self._viewed


def _width(max_workers: object, scheduler: object) -> int:
    """Return the number of workers of an executor."""
    if scheduler is not None and not isinstance(scheduler, Scheduler):
        msg = f"scheduler must be one of the schedulers of dask_ferris, or None, not {scheduler!r}"
        raise TypeError(msg)
    own = scheduler.max_workers if isinstance(scheduler, AdaptiveScheduler) else None
    if is_testing():
        return 1
    if max_workers is None:
        return own or int(dask.system.CPU_COUNT)
    given = as_count("max_workers", max_workers)
    if own is not None and own > given:
        msg = f"max_workers={max_workers!r} is below that of the scheduler, {own}"
        raise ValueError(msg)
    return own or given


def _gate(executor: Executor, memory_limit: object, on_full: str) -> MemoryGate | None:
    if memory_limit is None:
        return None
    return MemoryGate(weakref.ref(executor), memory_limit, raises=on_full == "raise")


def _as_futures(futures: Iterable[Any]) -> list[concurrent.futures.Future[Any]]:
    """Return futures, each once."""
    given = list(dict.fromkeys(futures))
    for future in given:
        if not isinstance(future, concurrent.futures.Future):
            msg = f"a future is wanted, not {future!r} of type {type(future).__name__}"
            raise TypeError(msg)
    return given


def _parts(items: Iterator[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    while part := list(itertools.islice(items, size)):
        yield part


def _finish_at_exit() -> None:
    """Let every executor finish what it was given, before the interpreter joins its threads."""
    _native.finish_executors()
    _timer.close()


def _renew_after_fork() -> None:
    """Let executors have threads of their own in the child of a fork."""
    for executor in list(_executors):
        executor._begin_anew()  # pyright: ignore[reportPrivateUsage]  # a part of it
    _timer.forget()


# After those of the pool: at the exit the last that was registered runs first, and tasks may use the pool; in a fork
# the first does, and executors look at what the pool has noted.
assert HOOKS_ARE_SET  # noqa: S101  an import for its effect
threading._register_atexit(_finish_at_exit)  # type: ignore[attr-defined]
os.register_at_fork(after_in_child=_renew_after_fork)
