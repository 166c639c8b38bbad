"""The figures that must be reached, each computed from named workloads of one run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import limits
from benchmarks.gil import LOADS
from benchmarks.programs import PROGRAMS
from benchmarks.workloads import NO_OPS, UNITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.runner import Record

Results = dict[str, dict[str, "Record"]]
"""Workload name, then competitor, to its record."""


def median_seconds(results: Results, workload: str, competitor: str) -> float:
    """The median time of one call, or of what else the workload measures.

    Raises:
        KeyError: It was not measured in this run.
    """
    return median(sample.seconds for sample in results[workload][competitor].samples)


@dataclass(frozen=True)
class Figure:
    """One figure: its bound and how it is reached. A factor is written as x, a time in ms."""

    text: str
    relation: str
    bound: float
    unit: str
    reach: Callable[[Results], float]

    def required(self) -> str:
        """The bound as text."""
        return f"{self.relation} {self.bound:g} {self.unit}"

    def reached(self, results: Results) -> float | None:
        """The value in this run, or None when its workloads were not measured."""
        try:
            return self.reach(results)
        except KeyError:
            return None

    def is_met(self, value: float) -> bool:
        """Whether a value keeps the bound."""
        return value >= self.bound if self.relation == "≥" else value <= self.bound


def all_figures() -> list[Figure]:
    """Every figure, in the order of the report."""
    return [
        *_against_threads(),
        *_startup(),
        *_against_loop(),
        *(_growth(shape) for shape in NO_OPS),
        *_parallel(),
        *_gil(),
        *_company(),
        _governed(),
        *_limits(),
        _interrupt(),
        *_programs(),
        *_executor_calls(),
        *_executor_policies(),
        *_executor_latency(),
        *_executor_computation(),
        *_executor_memory(),
    ]


def _against_threads() -> list[Figure]:
    bounds = {"independent": 200, "chain": 150, "tree": 200}
    workloads = [(f"{shape}-{n}", bound) for shape, bound in bounds.items() for n in (10_000, 100_000)]
    return [
        _at_least(f"{name}: `get` against `dask.threaded.get`", bound, name, slow="threads-2", fast="ferris")
        for name, bound in [*workloads, ("random-10000", 200), ("independent-1", 50)]
    ]


def _startup() -> list[Figure]:
    return [
        _ms_more("startup: `import dask_ferris` over `import dask`", 30, "import dask_ferris"),
        _ms_more("startup: and the first `compute` of a Delayed over `import dask`", 50, "dask_ferris, first compute"),
    ]


def _against_loop() -> list[Figure]:
    # The bounds of one worker and of the default number.
    bounds = {"independent": (3, 4), "chain": (3, 3.5), "tree": (1.2, 1.5), "random": (2.5, 3)}
    competitors = {"ferris-1": "one worker", "ferris": "default workers"}
    return [
        _at_most(f"{shape}-10000: `get` with {workers} against the plain loop", bound, f"{shape}-10000", competitor)
        for shape, pair in bounds.items()
        for (competitor, workers), bound in zip(competitors.items(), pair, strict=True)
    ]


def _parallel() -> list[Figure]:
    cases = [
        ("sleep-1ms", "ferris-4", "400 x sleep(1 ms), 4 workers against 1", 3.8),
        ("hash-100us", "ferris-2", "2 000 x 100 us without the GIL, 2 workers against 1", 1.9),
        ("hash-10us", "ferris-2", "10 000 x 10 us without the GIL, 2 workers against 1", 1.8),
    ]
    return [
        _at_least(f"{name}: {text}", bound, name, slow="ferris-1", fast=several) for name, several, text, bound in cases
    ]


def _gil() -> list[Figure]:
    return [_against_best_width(name, n) for name in LOADS for n in (2, 4)]


def _against_best_width(load: str, most: int) -> Figure:
    """How many times as long the width that is found takes as the best one of those that are fixed."""

    def reach(results: Results) -> float:
        seconds = partial(median_seconds, results, f"gil-{load}")
        return seconds(f"ferris-{most}") / min(seconds(f"fixed-{n}") for n in (1, 2, 4) if n <= most)

    return Figure(f"gil-{load}: up to {most} workers against the best fixed number", "≤", 1.2, "x", reach)


def _company() -> list[Figure]:
    cases = [
        ("callbacks", "10 000 no-op tasks under a `ProgressBar`, against threads", 15),
        ("beside-busy-thread", "300 no-op tasks beside a busy thread, worst of 20, against threads", 500),
    ]
    return [_at_least(f"{name}: {text}", bound, name, slow="threads-2", fast="ferris-2") for name, text, bound in cases]


def _governed() -> Figure:
    text = "governed-100000: `get` with priority and retries, against `dask.threaded.get` without"
    return _at_least(text, 40, "governed-100000", slow="threads-2", fast="governed-2")


def _limits() -> list[Figure]:
    stuck = "stuck-tasks: throughput of 9 900 tasks beside 100 whose time is up, against them alone"

    def reach(results: Results) -> float:
        seconds = partial(median_seconds, results, "stuck-tasks")
        return 100 * limits.share_of_rest(4, with_stuck=seconds("stuck-4"), without=seconds("ferris-4"))

    return [
        *(
            _at_most(
                f"memory-{name}: in a quarter of its peak, against no limit",
                1.3,
                f"memory-{name}",
                "quarter-2",
                floor="ferris-2",
            )
            for name in limits.PATTERNS
        ),
        Figure(stuck, "≥", 95, "%", reach),
    ]


def _interrupt() -> Figure:
    """How long a program waits for control after Ctrl-C."""
    text = "interrupt: from SIGINT to the end of `get`, median"
    return Figure(text, "≤", 200, "ms", lambda results: 1e3 * median_seconds(results, "interrupt", "ferris-2"))


def _programs() -> list[Figure]:
    bounds = {"ones-sum": 5, "fan-in-10000": 80}
    end_to_end = [(name, f"{name}: `compute()`", bounds.get(name, 1)) for name in PROGRAMS]
    get_alone = [("ones-sum-get", "ones-sum-get: `get` alone", 10)]
    return [
        _at_least(f"{text} against threads", bound, name, slow="threads-2", fast="ferris-2")
        for name, text, bound in [*end_to_end, *get_alone]
    ]


def _executor_calls() -> list[Figure]:
    cases = [
        ("collect-100000", "submit and collect", 15, "executor-2"),
        ("submit-100000", "`submit` alone", 12, "executor-2"),
        ("ping-pong-5000", "submit, result, repeat", 2, "executor-2"),
        ("ping-pong-5000", "submit, result, repeat, with `help_waiting`", 30, "helping-2"),
        ("map-1000000", "`map`", 12, "executor-2"),
        ("wait-50000", "submit, `concurrent.futures.wait`", 8, "executor-2"),
        ("as-completed-50000", "submit, `concurrent.futures.as_completed`", 5, "executor-2"),
        ("gather-5000", "`asyncio.gather` of `run_in_executor`", 1.5, "executor-2"),
        ("collect-in-8-threads-40000", "submit and collect in 8 threads", 8, "executor-2"),
    ]
    return [
        _at_least(f"{name}: {text}, against `ThreadPoolExecutor`", bound, name, slow="pool-2", fast=fast)
        for name, text, bound, fast in cases
    ]


def _executor_policies() -> list[Figure]:
    policies = "all-policies: priority, retries and timeout, against `ThreadPoolExecutor` without"
    wide = "priorities: `submit` to 64 workers against 2, four priorities in use"
    levels = "levels-in-use: what plain tasks cost more after one with a priority"
    return [
        _at_least(policies, 5, "all-policies", slow="pool-2", fast="policies-2"),
        _at_most(wide, 2, "priorities", "executor-64", floor="executor-2"),
        _in_unit(levels, 2, "%", "levels-in-use", "executor-2"),
    ]


def _executor_latency() -> list[Figure]:
    sleep = "sleep-8-workers: 400 x sleep(1 ms), against 50 such sleeps in a row"
    urgent = "urgent: until it begins among 100 000 tasks of 1 ms, p99, in durations of such a task"
    return [
        _at_most(sleep, 1.1, "sleep-8-workers", "executor-8", floor="ideal"),
        _in_unit("timeout: of a runaway task, beyond its limit, p99", 50, "ms", "timeout", "executor-2"),
        _in_unit(
            "timeout-beside-busy-threads: the same beside two threads that compute in Python",
            150,
            "ms",
            "timeout-beside-busy-threads",
            "executor-2",
        ),
        _at_most(urgent, 1, "urgent", "executor-2", floor="nap-2"),
    ]


def _executor_computation() -> list[Figure]:
    names = ("sum-floats", "sum-ints", "sum-array", "heavy")
    return [
        _at_most("sum-floats: against `sum`", 2, "sum-floats", "executor-2", floor="builtin"),
        _at_most("sum-ints: against `sum`", 2, "sum-ints", "executor-2", floor="builtin"),
        _at_most("sum-array: against `np.sum`", 3, "sum-array", "executor-2", floor="np.sum"),
        _at_least("heavy: 2 workers against 1", 1.7, "heavy", slow="executor-1", fast="executor-2"),
        *(_at_least(f"{name}: against PyFerris", 1, name, slow="pyferris-2", fast="executor-2") for name in names),
    ]


def _executor_memory() -> list[Figure]:
    pending = "pending-1000000: memory of waiting tasks, against `ThreadPoolExecutor`"
    retries = "waiting-retries-10000: memory of so many more tasks that wait for another attempt"
    return [
        _at_most(pending, round(1 / 3, 3), "pending-1000000", "executor-1", floor="pool-1"),
        _in_unit(retries, 10, "MB", "waiting-retries-10000", "executor-2"),
    ]


def _in_unit(text: str, bound: float, unit: str, workload: str, competitor: str) -> Figure:
    """What was measured itself, in a unit."""
    scale = 1e3 if unit == "ms" else UNITS[unit]
    return Figure(text, "≤", bound, unit, lambda results: scale * median_seconds(results, workload, competitor))


def _at_least(text: str, bound: float, workload: str, *, slow: str, fast: str) -> Figure:
    """How many times as fast one competitor is as another."""
    return Figure(text, "≥", bound, "x", lambda results: _ratio(results, workload, slow, fast))


def _at_most(text: str, bound: float, workload: str, competitor: str, *, floor: str = "loop") -> Figure:
    """How many times the floor's time a competitor takes."""
    return Figure(text, "≤", bound, "x", lambda results: _ratio(results, workload, competitor, floor))


def _ms_more(text: str, bound: float, program: str) -> Figure:
    """How many milliseconds a program starts later than one that only imports Dask."""

    def reach(results: Results) -> float:
        return 1e3 * (median_seconds(results, "startup", program) - median_seconds(results, "startup", "import dask"))

    return Figure(text, "≤", bound, "ms", reach)


def _growth(shape: str) -> Figure:
    """How many times as much a task costs among 1e6 as among 1e3."""

    def reach(results: Results) -> float:
        few, many = (median_seconds(results, f"{shape}-{n}", "ferris") / n for n in (1_000, 1_000_000))
        return many / few

    return Figure(f"{shape}: cost per task, 1e6 against 1e3 tasks", "≤", 6, "x", reach)


def _ratio(results: Results, workload: str, above: str, below: str) -> float:
    return median_seconds(results, workload, above) / median_seconds(results, workload, below)
