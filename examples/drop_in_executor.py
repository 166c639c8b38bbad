"""As a drop-in executor: the programs that one writes with ThreadPoolExecutor, and some that one does not.

Run it with `python examples/drop_in_executor.py`.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import as_completed
from typing import TYPE_CHECKING

import dask

from dask_ferris import Executor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Executor as AnyExecutor


def square(number: int) -> int:
    """Return the square of a number: the work of this program."""
    return number * number


def replace_the_standard_pool() -> tuple[list[int], list[int]]:
    """Submit and map, as with any executor of `concurrent.futures`."""
    with Executor(4) as executor:
        futures = [executor.submit(square, number) for number in range(5)]
        return sorted(future.result() for future in as_completed(futures)), list(executor.map(square, range(5)))


async def serve() -> list[int]:
    """Keep the event loop free while threads work."""
    loop = asyncio.get_running_loop()
    with Executor(4) as executor:
        return await asyncio.gather(*(loop.run_in_executor(executor, square, number) for number in range(5)))


def count_words(texts: Iterable[str], executor: AnyExecutor) -> int:
    """Do what libraries do: use the executor that one is given."""
    return sum(executor.map(lambda text: len(text.split()), texts))


def pass_futures_on() -> int:
    """Let each stage take the futures of the one before: nothing waits on a thread."""
    with Executor(2) as executor:
        squares = [executor.submit(square, number) for number in range(4)]
        return executor.submit(square, executor.submit(sum, squares)).result()


def fibonacci(n: int, executor: Executor) -> int:
    """Submit within a task and wait, on a single thread."""
    if n < 2:  # noqa: PLR2004  the first two numbers are given
        return n
    one, other = (executor.submit(fibonacci, n - k, executor) for k in (1, 2))
    return one.result() + other.result()


def hold_back() -> tuple[int, int]:
    """Add up many results, with never more than a few tasks and items in memory."""
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(1, 1_001):
            read.append(number)
            yield number

    with Executor(2, max_queued=8) as executor:
        results = executor.map(square, numbers(), buffersize=16)
        n_ahead = len(read)
        return n_ahead, sum(results)


def names_of_threads() -> set[str]:
    """Let Dask compute on the threads of an executor."""
    with Executor(1, thread_name_prefix="ours") as executor:
        names = [dask.delayed(lambda: threading.current_thread().name)() for _ in range(3)]
        return set(dask.compute(*names, scheduler=executor))


def watch() -> dict[str, float]:
    """Look at what an executor has done."""
    with Executor(2) as executor:
        executor.submit_batch([(square, (3,)), (divmod, (1, 0)), (square, (4,))], return_exceptions=True)
        return executor.get_stats()._asdict()


def main() -> None:
    """Print what came out."""
    submitted, mapped = replace_the_standard_pool()
    print(f"submit:       {submitted}")
    print(f"map:          {mapped}")
    print(f"asyncio:      {asyncio.run(serve())}")
    with Executor(2) as executor:
        print(f"library:      {count_words(['to be or not to be', 'that is the question'], executor)} words")
        print(f"computation:  {executor.submit_computation('sum', [0.1] * 10)}")
    print(f"stages:       {pass_futures_on()}")
    with Executor(1) as executor:
        print(f"nested:       {executor.submit(fibonacci, 12, executor).result()}")
    n_ahead, total = hold_back()
    print(f"held back:    {n_ahead} of 1000 read at the start, the sum is {total}")
    print(f"Dask:         ran on {names_of_threads()}")
    stats = watch()
    print(f"statistics:   {stats['completed_tasks']} completed, {stats['failed_tasks']} failed")


if __name__ == "__main__":
    main()
