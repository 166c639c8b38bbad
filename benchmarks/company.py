"""Runs in company: of a progress bar, and of a thread that is busy in Python."""

from __future__ import annotations

import io
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from dask.diagnostics import ProgressBar

from benchmarks.adapters import load_get
from benchmarks.graphs import independent
from benchmarks.sampling import Measure, stopwatch

if TYPE_CHECKING:
    from collections.abc import Generator

BAR_SECONDS = 0.005
"""Between two looks of the bar. At its end a bar waits for its next look: 0.1 s by default, which would be all there
is to see."""

N_BESIDE = 300
"""Tasks of a run beside a busy thread."""

N_RUNS = 20
"""Runs of which the longest counts."""

PAUSE = 0.01
"""Seconds between two runs, in which the other thread goes on."""


def prepare_progress_bar(n: int, competitor: str) -> Measure:
    """The measure of `n` no-op tasks under Dask's progress bar, which writes to nowhere."""
    get = load_get(competitor)
    graph, keys = independent(n)

    def run() -> None:
        with ProgressBar(out=io.StringIO(), dt=BAR_SECONDS):
            get(graph, keys)

    return stopwatch(run)


def prepare_beside_busy_thread(competitor: str) -> Measure:
    """The measure of the longest of some short runs, while another thread computes in Python.

    One run before starts the threads of whoever is measured: beside a busy thread each takes some milliseconds.
    """
    run = stopwatch(partial(load_get(competitor), *independent(N_BESIDE)))

    def longest() -> float:
        with busy_thread():
            run()
            return max(_after_a_pause(run) for _ in range(N_RUNS))

    return longest


def _after_a_pause(run: Measure) -> float:
    time.sleep(PAUSE)
    return run()


@contextmanager
def busy_thread() -> Generator[None]:
    """Another thread computes in Python meanwhile."""
    over = threading.Event()
    thread = threading.Thread(target=_compute_until, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _compute_until(over: threading.Event) -> None:
    while not over.is_set():
        sum(range(1_000))
