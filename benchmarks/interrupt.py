"""Ctrl-C in the middle of a run: how long until the program has control again."""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.adapters import load_get
from benchmarks.graphs import repeated

if TYPE_CHECKING:
    from benchmarks.sampling import Measure

UNTIL_SIGNAL = 0.1
"""Seconds from the start of a run to the signal: by then all workers are asleep in their tasks."""

N_TASKS = 8

NAP = 0.4
"""Seconds that a task sleeps."""


def prepare_interrupt(competitor: str) -> Measure:
    """The measure of the time from SIGINT to the end of `get`, while every worker is in a task that sleeps."""
    run = partial(load_get(competitor), *repeated(N_TASKS, time.sleep, NAP))

    def measure() -> float:
        sent: list[float] = []

        def send() -> None:
            time.sleep(UNTIL_SIGNAL)
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            run()
            message = "the run was over before the signal came"
            raise RuntimeError(message)
        except KeyboardInterrupt:
            seconds = time.perf_counter() - sent[0]
        sender.join()
        time.sleep(NAP)  # the tasks that were under way end, so that the next run begins like this one
        return seconds

    return measure
