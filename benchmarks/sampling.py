"""What one sample is, and how much the rest of the machine disturbed it."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

Measure = Callable[[], float]
"""Makes one call and returns the seconds it took, or what else its workload measures."""

SAMPLE_SECONDS = 0.05
"""A sample is filled up to this length: five ticks of the kernel's CPU accounting, and short enough for all."""

MOST_SECONDS = 1.0
"""No further call is added to a sample after this time, what the calls need prepared included."""

QUIET_SHARE = 0.06
"""A sample is disturbed when other processes used more of the machine than this."""

CLOCK_TICK = 1 / os.sysconf("SC_CLK_TCK")
"""The kernel counts the machine's time in ticks: one for each CPU is rounding, not disturbance."""

QUIET_TRIES = 3
"""Samples taken in search of an undisturbed one; on a machine that is never quiet this bounds the time."""

REPEATABLE_SECONDS = 0.1
"""Longer samples are taken as they come: to repeat them costs more than it tells."""


@dataclass(frozen=True)
class Sample:
    """One measurement.

    Attributes:
        seconds: What one call took; where a workload measures no time, what it measures instead.
        calls: How many calls it is the mean of.
        disturbed: Whether other processes used much of the machine.
    """

    seconds: float
    calls: int
    disturbed: bool


def stopwatch(call: Callable[[], object]) -> Measure:
    """The measure of a call that needs nothing prepared. The clock itself, some 40 ns, is counted for everybody."""

    def measure() -> float:
        started = time.perf_counter()
        result = call()
        seconds = time.perf_counter() - started
        # The result is named so that it lives until the clock has been read.
        del result
        return seconds

    return measure


def take_sample(measure: Measure) -> Sample:
    """The first undisturbed sample of a few, or the last of them."""
    for _ in range(QUIET_TRIES):
        started = time.perf_counter()
        sample = _take_any_sample(measure)
        if not sample.disturbed or time.perf_counter() - started > REPEATABLE_SECONDS:
            break
    return sample


def peak_memory() -> int:
    """The most bytes this process has held in memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _take_any_sample(measure: Measure) -> Sample:
    started, machine, own = time.perf_counter(), _machine_seconds(), _own_seconds()
    seconds, calls = 0.0, 0
    # A call may need far more time to be prepared than it takes.
    while seconds < SAMPLE_SECONDS and time.perf_counter() - started < MOST_SECONDS:
        seconds += measure()
        calls += 1
    foreign = (_machine_seconds() - machine) - (_own_seconds() - own)
    cpus = os.cpu_count() or 1
    limit = cpus * (QUIET_SHARE * (time.perf_counter() - started) + CLOCK_TICK)
    return Sample(seconds / calls, calls, disturbed=foreign > limit)


def _machine_seconds() -> float:
    """CPU time that the whole machine has spent so far, stolen time included."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq + times.steal


def _own_seconds() -> float:
    """CPU time that this process and its finished children have spent so far."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)
