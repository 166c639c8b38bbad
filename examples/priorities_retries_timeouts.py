"""Priorities, retries and timeouts: what an executor does with calls that matter, fail or take too long.

Run it with `python examples/priorities_retries_timeouts.py`.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from dask_ferris import Executor, PolicyError, Retry, TaskPriority, TaskTimeoutError


class Flaky:
    """A call that fails so many times, and works from then on."""

    def __init__(self, n_failures: int) -> None:
        """Take the number of failures."""
        self._n_left = n_failures

    def __call__(self) -> str:
        """Answer, or raise."""
        if self._n_left > 0:
            self._n_left -= 1
            message = "no answer"
            raise ConnectionError(message)
        return "an answer"


def order_of_start() -> list[str]:
    """Submit calls of several levels while the only worker is held; note the order in which they start."""
    opened, inside = threading.Event(), threading.Event()
    started: list[str] = []

    def hold() -> None:
        inside.set()
        opened.wait()

    with Executor(1) as executor:
        executor.submit(hold)
        inside.wait()
        executor.submit(started.append, "normal")
        executor.submit(started.append, "low", priority=TaskPriority.LOW)
        executor.submit(started.append, "urgent", priority=TaskPriority.URGENT)
        executor.with_options(priority=1.5).submit(started.append, "above normal")
        opened.set()
    return started


def repeat(executor: Executor) -> None:
    """Repeat what fails: with success, in vain, and not at all."""
    retrying = executor.with_options(retries=Retry(attempts=3, on=OSError, not_on=FileNotFoundError, backoff=0.01))

    future = retrying.submit(Flaky(2))
    print(f"retries:    {future.result()} in attempt {future.attempts}")

    try:
        retrying.with_options(name="download").submit(Flaky(9)).result()
    except ConnectionError as error:
        print(f"            {error!r}: {error.__notes__[0]}")

    missing = retrying.submit(Path("no/such/file").read_text)
    print(f"            {type(missing.exception()).__name__} after {missing.attempts} attempt")


def spin() -> None:
    """Never end by itself."""
    while True:
        time.sleep(0.001)


def limit(executor: Executor) -> None:
    """Limit the time of a call; its thread is soon there for others."""
    try:
        executor.with_options(timeout=0.05, retries=1).submit(spin).result()
    except TaskTimeoutError as error:
        print(f"timeout:    {error}")


def most_at_once(executor: Executor) -> int:
    """Let calls share a resource of which there is one, and return how many used it at once."""
    n_users, most, lock = 0, 0, threading.Lock()

    def use() -> None:
        nonlocal n_users, most
        with lock:
            n_users += 1
            most = max(most, n_users)
        time.sleep(0.001)
        with lock:
            n_users -= 1

    executor.with_options(resources={"gpu": 1}).submit_batch([use] * 10)
    return most


def main() -> None:
    """Print what came out."""
    print(f"priorities: {', '.join(order_of_start())}")
    with Executor(4, resources={"gpu": 1}) as executor:
        repeat(executor)
        limit(executor)
        print(f"resources:  at most {most_at_once(executor)} call used the GPU at once")
        try:
            executor.with_options(resources={"gpu": 2})
        except PolicyError as error:
            print(f"            {error}")


if __name__ == "__main__":
    main()
