"""What an executor promises beyond the standard one: what it costs, how late it is, and the memory it takes."""

from __future__ import annotations

import concurrent.futures
import gc
import math
import multiprocessing
import random
import threading
import time
from contextlib import ExitStack
from functools import partial
from itertools import cycle, islice
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.adapters import load_executor
from benchmarks.company import busy_thread
from benchmarks.executor import collect, submitting
from benchmarks.graphs import no_op_0
from benchmarks.sampling import Measure, stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.executor import Executor, Futures

    Fill = Callable[[Executor, int, threading.Event], Futures]
    """Gives an executor so many tasks that cannot be run; the event may hold them up."""

PRIORITIES = (0, 1, 2, 3)

N_PAIRS = 100
"""Pairs of runs whose quotients' median is the cost of levels: with so many, two equal executors differ by 0.5 %."""

N_OF_PAIR = 5_000
"""Tasks of one run of a pair: short enough for its neighbour to meet the same machine."""

N_PROBES = 50
"""Latencies of which the 99th percentile is taken, the nearest rank: of so few it is the longest."""

LIMIT = 0.02
"""Seconds that a task may take; short, because nothing is measured meanwhile."""

N_BUSY = 2
"""Threads beside a timeout that compute in Python: at its turn each keeps the GIL for 5 ms."""

N_LOW = 100_000

NAP = 0.001
"""Seconds of a task of low priority."""

LONG_DELAY = 3600.0
"""Seconds until the second attempt: none comes while it is measured."""


# ---- Cost


def prepare_priorities(n: int, competitor: str) -> Measure:
    """The measure of submitting alone, to each of four priorities in turn."""
    executor = load_executor(competitor)
    views = [executor.with_options(priority=priority) for priority in PRIORITIES]
    return submitting(list(islice(cycle(views), n)))


def prepare_levels(competitor: str) -> Measure:
    """The measure of what it costs plain tasks that there was one with a priority: a share of their time.

    Both executors are in one process and take turns, as other processes differ by more than there is to see.
    """
    plain, levelled = load_executor(competitor), load_executor(competitor)
    levelled.with_options(priority=PRIORITIES[-1]).submit(no_op_0).result()
    measures = [stopwatch(partial(collect, executor, N_OF_PAIR)) for executor in (plain, levelled)]

    def measure() -> float:
        quotients = []
        for number in range(N_PAIRS):
            seconds = _in_turns(measures, backwards=bool(number % 2))
            quotients.append(seconds[1] / seconds[0])
        return median(quotients) - 1

    return measure


def _in_turns(measures: list[Measure], *, backwards: bool) -> list[float]:
    """What each measures, in their order, though the last may have been the first to do so."""
    if backwards:
        return [measure() for measure in measures[::-1]][::-1]
    return [measure() for measure in measures]


# ---- Latency


def prepare_timeout(n_busy: int, competitor: str) -> Measure:
    """The measure of how long after its time was up the future of a runaway task fails, beside busy threads."""
    executor = load_executor(competitor).with_options(timeout=LIMIT)

    def measure() -> float:
        with ExitStack() as stack:
            _lateness(executor)  # starts the threads of the executor: beside busy threads that takes some milliseconds
            for _ in range(n_busy):
                stack.enter_context(busy_thread())
            return _percentile_99(_lateness(executor) for _ in range(N_PROBES))

    return measure


def _lateness(executor: Executor) -> float:
    # Of a task whose time is up before its function begins, as can be beside busy threads, this is the start.
    begun = [time.perf_counter()]
    error = executor.submit(_run_away, begun).exception()
    seconds = time.perf_counter() - begun[-1] - LIMIT
    if not isinstance(error, TimeoutError):
        message = f"the task ended otherwise: {error!r}"
        raise TypeError(message)
    return seconds


def _run_away(begun: list[float]) -> None:
    begun.append(time.perf_counter())
    while True:
        pass


def prepare_urgent(competitor: str) -> Measure:
    """The measure of how long an urgent task waits among many of low priority; of `nap`, how long one of them takes."""
    kind, _, width = competitor.partition("-")
    name = f"executor-{width}"

    def measure() -> float:
        executor = load_executor(name)
        low, high = executor.with_options(priority=0), executor.with_options(priority=3)
        try:
            naps = [low.submit(_nap) for _ in range(N_LOW)]
            if kind == "nap":
                return median(future.result() for future in naps[:N_PROBES])
            return _percentile_99(_delay(high) for _ in range(N_PROBES))
        finally:
            executor.shutdown(cancel_futures=True)

    return measure


def _nap() -> float:
    started = time.perf_counter()
    time.sleep(NAP)
    return time.perf_counter() - started


def _delay(executor: Executor) -> float:
    """Seconds until a task begins, from a moment that has nothing to do with what the workers are doing."""
    time.sleep(random.uniform(0, 2 * NAP))  # noqa: S311 - no secret
    submitted = time.perf_counter()
    return executor.submit(time.perf_counter).result() - submitted


def _percentile_99(values: Iterable[float]) -> float:
    """The smallest value that 99 % of them do not exceed."""
    ordered = sorted(values)
    return ordered[math.ceil(0.99 * len(ordered)) - 1]


# ---- Memory


def prepare_pending(n: int, competitor: str) -> Measure:
    """The measure of the bytes by which a process grows with `n` tasks that wait behind others."""
    return partial(_in_fresh_process, _fill_with_waiting, n, competitor)


def prepare_waiting_retries(n: int, competitor: str) -> Measure:
    """The measure of the bytes by which a process grows with `n` more tasks that have failed and wait to be repeated.

    More than the first `n`: with those the allocator takes whole huge pages, which the others use up.
    """
    return partial(_in_fresh_process, _fill_with_retries, n, competitor)


def _fill_with_waiting(executor: Executor, n: int, gate: threading.Event) -> Futures:
    executor.submit(gate.wait)
    return [executor.submit(no_op_0) for _ in range(n)]


def _fill_with_retries(executor: Executor, n: int, _: threading.Event) -> Futures:
    from dask_ferris import Retry  # noqa: PLC0415 - imported only in the process that measures it

    view = executor.with_options(retries=Retry(attempts=2, backoff=LONG_DELAY, max_delay=LONG_DELAY))
    futures: Any = [view.submit(_fail) for _ in range(n)]
    while any(future.last_error is None for future in futures):
        time.sleep(0.01)
    return futures


def _fail() -> None:
    message = "not at the first attempt"
    raise ValueError(message)


def _in_fresh_process(fill: Fill, n: int, competitor: str) -> float:
    """What `_growth` returns in a process without memory that was used before and would be used again."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_growth, fill, n, competitor).result()


def _growth(fill: Fill, n: int, competitor: str) -> int:
    """The bytes by which the memory of this process grows until an executor is full.

    Not those of its peak, `ru_maxrss`: that of a process begins with the memory of the process that started it.
    """
    executor, gate = load_executor(competitor), threading.Event()
    first = fill(executor, n, gate) if fill is _fill_with_retries else []
    gc.collect()
    before = _memory()
    futures = fill(executor, n, gate)
    grown = _memory() - before
    executor.shutdown(wait=False, cancel_futures=True)
    gate.set()
    del first, futures
    return grown


def _memory() -> int:
    """The bytes of memory that this process has now."""
    return psutil.Process().memory_info().rss
