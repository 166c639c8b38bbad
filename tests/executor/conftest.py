"""The pools under test, and the gates that keep their workers where a test wants them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from gates import WAIT

import dask_ferris

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MakePool = Any  # a callable that takes what the class of the pool takes


@pytest.fixture(params=["ThreadPoolExecutor", "Executor"])
def pool_class(request: pytest.FixtureRequest) -> Any:
    """Return the standard pool, then ours."""
    return ThreadPoolExecutor if request.param == "ThreadPoolExecutor" else dask_ferris.Executor


@pytest.fixture
def make_pool(pool_class: Any) -> Iterator[MakePool]:
    """Return a function that makes pools, which are shut down at the end of the test."""
    pools = []

    def make(*args: Any, **kwargs: Any) -> Any:
        pool = pool_class(*args, **kwargs)
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def pool(make_pool: MakePool) -> Any:
    """Return a pool of two workers."""
    return make_pool(2)


class Gate:
    """Keeps the tasks that come in until it is opened."""

    def __init__(self) -> None:
        """Start closed."""
        self._came_in = threading.Semaphore(0)
        self._opened = threading.Event()

    def enter(self, value: object = None) -> object:
        """Be a task: come in, wait until the gate is opened, and return `value`.

        Raises:
            TimeoutError: The gate stayed closed for `2 * WAIT` seconds.
        """
        self._came_in.release()
        # Longer than anybody waits outside: a gate that gave up first would end the deadlock that a test is to find.
        if not self._opened.wait(2 * WAIT):
            message = f"the gate was not opened within {2 * WAIT:.0f} s"
            raise TimeoutError(message)
        return value

    def wait_until_inside(self, n_tasks: int = 1) -> None:
        """Wait until so many more tasks have come in.

        Raises:
            TimeoutError: They did not within `WAIT` seconds.
        """
        for _ in range(n_tasks):
            if not self._came_in.acquire(timeout=WAIT):
                message = f"deadlock: a task did not start within {WAIT:.0f} s"
                raise TimeoutError(message)

    def hold(self, pool: Any, n_workers: int = 1) -> list[Any]:
        """Keep so many workers of the pool inside, and return the futures of their tasks."""
        futures = [pool.submit(self.enter) for _ in range(n_workers)]
        self.wait_until_inside(n_workers)
        return futures

    def open(self) -> None:
        """Let everybody out, and whoever comes later in and out."""
        self._opened.set()


@pytest.fixture
def elsewhere(make_pool: MakePool) -> Iterator[ThreadPoolExecutor]:
    """Return a standard pool for what a test does on other threads."""
    del make_pool  # needed only for the order in which the fixtures come to their end
    with ThreadPoolExecutor(10, thread_name_prefix="elsewhere") as threads:
        yield threads


@pytest.fixture
def make_gate(elsewhere: ThreadPoolExecutor) -> Iterator[Callable[[], Gate]]:
    """Return a function that makes gates; they open before anybody is waited for at the end of the test."""
    del elsewhere  # needed only for the order in which the fixtures come to their end
    gates = []

    def make() -> Gate:
        gates.append(Gate())
        return gates[-1]

    yield make
    for gate in gates:
        gate.open()


@pytest.fixture
def gate(make_gate: Callable[[], Gate]) -> Gate:
    """Return a closed gate."""
    return make_gate()
