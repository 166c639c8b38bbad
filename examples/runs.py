"""Runs that go on by themselves: progress, results as they come, several graphs at once, limits of memory.

Run it with `python examples/runs.py`. It needs NumPy: `pip install "dask-ferris[array]"`.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np

from dask_ferris import Executor, Progress, as_completed, start

if TYPE_CHECKING:
    from dask_ferris import RunReport

BLOCK = 125_000
"""Numbers in a block, which is 1 MB then."""


class Gate:
    """A call that waits until it is let through."""

    def __init__(self) -> None:
        """Be closed, with nobody inside."""
        self._inside = threading.Event()
        self._opened = threading.Event()

    def __call__(self) -> str:
        """Wait, and return a word."""
        self._inside.set()
        self._opened.wait()
        return "slow"

    def wait_for_somebody(self) -> None:
        """Wait until the call has begun."""
        self._inside.wait()

    def open(self) -> None:
        """Let it through."""
        self._opened.set()


def square(number: int) -> int:
    """Return the square of a number."""
    return number * number


def squares(n: int) -> list[Any]:
    """Return the squares of the first numbers, not computed yet."""
    return [dask.delayed(square)(number) for number in range(n)]


def start_and_wait() -> str:
    """Start a run, do something else, and ask for the result."""
    run = start(dask.delayed(sum)(squares(10)))
    done_meanwhile = "something else is done here"
    (total,) = run.result()
    return f"{done_meanwhile}, then the sum is {total}"


def follow() -> Progress:
    """Look at a run while one of two tasks is done, and the other one waits."""
    gate = Gate()
    run = start(squares(1), dask.delayed(gate)(), num_workers=2)
    gate.wait_for_somebody()
    while (progress := run.progress()).n_done == 0:
        time.sleep(0.001)
    gate.open()
    run.result()
    return progress


def cancel() -> str:
    """End a run; the task that runs goes on to its end, and nobody asks for what it returns."""
    gate = Gate()
    run = start(dask.delayed(gate)())
    gate.wait_for_somebody()
    is_cancelled = run.cancel()
    gate.open()
    try:
        run.result()
    except CancelledError as error:
        return f"{is_cancelled}, {error}"
    return "it ended"


def take_as_they_come() -> list[str]:
    """Take the quick result first, though it is the second that was asked for."""
    gate = Gate()
    values = []
    for _place, value in as_completed(dask.delayed(gate)(), dask.delayed(str)("quick"), num_workers=2):
        values.append(value)
        gate.open()
    return values


def add_up_one_by_one() -> float:
    """Add up blocks as they come: each is dropped when the next one is taken."""
    blocks = da.ones((1000, 1000), chunks=(100, 1000)).to_delayed().ravel()
    return sum(float(block.sum()) for _place, block in as_completed(*blocks))


def stop_early() -> int:
    """Leave when there is a value that will do: the rest of the run is cancelled."""
    limit = 40
    with as_completed({"of six": (square, 6), "of seven": (square, 7)}, ["of six", "of seven"]) as completed:
        return next(value for _key, value in completed if value > limit)


def take_turns() -> list[str]:
    """Let a small run and a big one share an executor: the small one does not wait for the other's end."""
    gate, order = Gate(), list[str]()
    note = dask.delayed(order.append)
    with Executor(1) as shared:
        shared.submit(gate)
        gate.wait_for_somebody()
        start(*[note(f"big {number}") for number in range(3)], pool=shared)
        start(note("small"), pool=shared)
        gate.open()
    return order


def load(number: int) -> np.ndarray:
    """Return a block."""
    return np.full(BLOCK, float(number))


def mean_of_blocks(memory_limit: str) -> tuple[float, RunReport]:
    """Average blocks of which few need to live at a time, and return what the run tells."""
    reports: list[RunReport] = []
    means = [dask.delayed(np.mean)(dask.delayed(load)(number)) for number in range(20)]
    average = dask.delayed(np.mean)(means)
    result = average.compute(scheduler="ferris", num_workers=4, memory_limit=memory_limit, report=reports.append)
    return float(result), reports[0]


def sum_of_all_at_once(memory_limit: str) -> tuple[float, RunReport | None]:
    """Add up blocks that are needed all at once, and return what the run tells, which is there once it is over."""

    def add_up(*blocks: np.ndarray) -> float:
        return float(sum(block[0] for block in blocks))

    total = dask.delayed(add_up)(*[dask.delayed(load)(number) for number in range(8)])
    run = start(total, memory_limit=memory_limit)
    (result,) = run.result()
    return result, run.report


def megabytes(report: RunReport | None) -> str:
    """Return the most memory that values of a run took; only one with a limit measures it."""
    if report is None or report.peak_memory is None:
        return "nobody knows how much"
    return f"{report.peak_memory / 1e6:.0f} MB"


def main() -> None:
    """Print what came out."""
    print(f"start:        {start_and_wait()}")
    progress = follow()
    print(f"progress:     {progress.n_done} of {progress.n_tasks} tasks done, {progress.n_running} running")
    print(f"cancel:       {cancel()}")
    print(f"as completed: {', '.join(take_as_they_come())}")
    print(f"one by one:   {add_up_one_by_one():.0f} is the sum of all blocks")
    print(f"stop early:   {stop_early()} is a square beyond 40")
    print(f"executor:     {', '.join(take_turns())}")
    _mean, unlimited = mean_of_blocks("1 TB")
    print(f"peak:         at most {megabytes(unlimited)} at a time, of 20 MB in all")
    mean, _report = mean_of_blocks("2 MB")
    print(f"limit:        the mean is {mean}, as without")
    total, report = sum_of_all_at_once("2 MB")
    print(f"too small:    the sum is {total:.0f}, with {megabytes(report)}")


if __name__ == "__main__":
    main()
