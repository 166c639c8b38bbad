"""The calls of an executor: what each costs with no-op tasks, the same loop for every competitor."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.adapters import load_executor
from benchmarks.graphs import no_op_0, no_op_1
from benchmarks.sampling import Measure, stopwatch

if TYPE_CHECKING:
    from collections.abc import Sequence

Executor = Any
"""A `concurrent.futures.Executor`; PyFerris's and joblib's offer less than one."""

Futures = list[concurrent.futures.Future[Any]]

Loop = Callable[[Executor, int], object]
"""Makes a number of calls on an executor. What it returns is dropped after the clock has been read."""

N_SUBMITTERS = 8

N_SLEEPS = 400

SLEEP = 0.001
"""Seconds that each of them takes."""

N_NUMBERS = 1_000_000

N_HEAVY = 200
"""Numbers of a heavy computation, which makes a million additions of each."""


# ---- Loops


def collect(executor: Executor, n: int) -> Futures:
    """Submit all, then take the results in order."""
    futures = [executor.submit(no_op_0) for _ in range(n)]
    for future in futures:
        future.result()
    return futures


def ping_pong(executor: Executor, n: int) -> None:
    """Submit one and take its result before the next."""
    for _ in range(n):
        executor.submit(no_op_0).result()


def map_one_by_one(executor: Executor, n: int) -> None:
    """Map over numbers, each of them a task, and take the results."""
    for _ in executor.map(no_op_1, range(n)):
        pass


def wait(executor: Executor, n: int) -> Futures:
    """Submit all and wait for all by the standard library's function."""
    futures = [executor.submit(no_op_0) for _ in range(n)]
    concurrent.futures.wait(futures)
    return futures


def as_completed(executor: Executor, n: int) -> Futures:
    """Submit all and take them as they end by the standard library's function."""
    futures = [executor.submit(no_op_0) for _ in range(n)]
    for _ in concurrent.futures.as_completed(futures):
        pass
    return futures


def collect_in_threads(executor: Executor, n: int) -> None:
    """Several threads at once submit a share each and take its results."""
    threads = [threading.Thread(target=collect, args=(executor, n // N_SUBMITTERS)) for _ in range(N_SUBMITTERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def sleep(executor: Executor, n: int) -> None:
    """Map `time.sleep`, which lets go of the GIL."""
    for _ in executor.map(time.sleep, [SLEEP] * n):
        pass


# ---- Measures


def prepare_loop(loop: Loop, n: int, competitor: str) -> Measure:
    """The measure of a loop of `n` calls, on an executor whose threads the first sample starts."""
    return stopwatch(partial(loop, load_executor(competitor), n))


def prepare_sleep(competitor: str) -> Measure:
    """The measure of so many sleeps on eight workers; what one takes for its share, one after the other, is ideal."""
    if competitor == "ideal":
        return stopwatch(_sleep_in_a_row)
    return prepare_loop(sleep, N_SLEEPS, competitor)


def _sleep_in_a_row() -> None:
    for _ in range(N_SLEEPS // 8):
        time.sleep(SLEEP)


def prepare_submit(n: int, competitor: str) -> Measure:
    """The measure of submitting alone; workers take the tasks meanwhile, but nobody asks for results."""
    return submitting([load_executor(competitor)] * n)


def submitting(executors: Sequence[Executor]) -> Measure:
    """The measure of one `submit` to each of the executors, which may be one and the same."""

    def measure() -> float:
        started = time.perf_counter()
        futures = [executor.submit(no_op_0) for executor in executors]
        seconds = time.perf_counter() - started
        # The next call begins with an empty queue.
        concurrent.futures.wait(futures)
        return seconds

    return measure


def prepare_gather(n: int, competitor: str) -> Measure:
    """The measure of gathering `n` calls of asyncio's `run_in_executor`, in an event loop that is there already."""
    executor = load_executor(competitor)
    runner = asyncio.Runner()

    async def gather() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*[loop.run_in_executor(executor, no_op_0) for _ in range(n)])

    return stopwatch(lambda: runner.run(gather()))


# ---- Computations


def floats() -> list[float]:
    """A list of floats."""
    return [float(number) for number in range(N_NUMBERS)]


def ints() -> list[int]:
    """A list of ints."""
    return list(range(N_NUMBERS))


def array() -> Any:
    """An array of float64."""
    import numpy as np  # noqa: PLC0415 - only the process that measures it needs it

    return np.arange(N_NUMBERS, dtype=np.float64)


def few() -> list[int]:
    """The numbers of a heavy computation."""
    return list(range(N_HEAVY))


def prepare_computation(kind: str, make: Callable[[], Any], competitor: str) -> Measure:
    """The measure of reducing what `make` returns: by an executor, or by what Python or NumPy has for sums."""
    data = make()
    if competitor == "builtin":
        return stopwatch(lambda: sum(data))
    if competitor == "np.sum":
        return stopwatch(data.sum)
    executor = load_executor(competitor)
    return stopwatch(lambda: executor.submit_computation(kind, data))
