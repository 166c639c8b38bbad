"""Every workload by name: what is measured, in which sizes, and who competes."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from benchmarks import company, executor, floor, gil, graphs, interrupt, limits, policies, programs, startup
from benchmarks.adapters import is_installed, load_compile, load_get
from benchmarks.sampling import Measure, stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.graphs import Graph, Shape

SIZES = (1, 10, 1_000, 10_000, 100_000, 1_000_000)
QUICK_SIZES = (1, 10_000)

OURS = ("loop", "compile", "ferris-1", "ferris")
DASK = ("sync", "threads-2")

UNITS = {"%": 100.0, "MB": 1e-6}
"""What a measure that measures no time is multiplied by: a share, or bytes."""


@dataclass(frozen=True)
class NoOps:
    """A shape of no-op graph: the most tasks given to Dask, and the loop that is its floor."""

    shape: Shape
    dask_limit: int = 100_000
    loop: Callable[[Graph], Callable[[], None]] = floor.positional_loop
    unfused: Shape | None = None
    """The same calls without fusion, for the floor."""


NO_OPS = {
    "independent": NoOps(graphs.independent),
    "chain": NoOps(graphs.chain),
    "tree": NoOps(graphs.tree),
    # Dask orders a random graph in more than linear time and memory.
    "random": NoOps(graphs.random_dag, dask_limit=10_000),
    # Nothing has to be reached against Dask on these, and it takes minutes.
    "fused": NoOps(graphs.fused, dask_limit=10_000, unfused=graphs.chains),
    "lists": NoOps(graphs.lists, dask_limit=10_000, loop=floor.list_loop),
    "keywords": NoOps(graphs.keywords, dask_limit=10_000, loop=floor.keyword_loop),
}


@dataclass(frozen=True)
class Workload:
    """One thing measured. It is sent to the process of each competitor, which prepares its own copy.

    Attributes:
        group: The table in the report that it belongs to.
        name: What `--only` and the figures call it.
        n_tasks: The number of tasks by which the time is divided, or None where the time of the whole call is reported.
        competitors: Who is measured, in this order.
        prepare: Makes, in the process of the given competitor, the call to measure.
        unit: What is measured where it is no time: a key of `UNITS`.
    """

    group: str
    name: str
    n_tasks: int | None
    competitors: tuple[str, ...]
    prepare: Callable[[str], Measure]
    unit: str | None = None

    @property
    def is_no_op_graph(self) -> bool:
        """Whether it is a graph of no-op tasks in one of several sizes."""
        return self.group in NO_OPS


def all_workloads(*, quick: bool) -> list[Workload]:
    """Every workload of a run, in the order of the report."""
    sizes = QUICK_SIZES if quick else SIZES
    return [
        *_no_ops(sizes),
        *_parallel(),
        *_gil(),
        *_company(),
        *_governed(quick=quick),
        *_limits(),
        *_programs(quick=quick),
        *_executor(quick=quick),
        *_startup(),
    ]


def _no_ops(sizes: tuple[int, ...]) -> Iterator[Workload]:
    for group, family in NO_OPS.items():
        for n in sizes:
            competitors = OURS + DASK * (n <= family.dask_limit)
            yield Workload(group, f"{group}-{n}", n, competitors, partial(_prepare_no_ops, family, n))


def _prepare_no_ops(family: NoOps, n: int, competitor: str) -> Measure:
    if competitor == "loop":
        graph, _ = (family.unfused or family.shape)(n)
        return stopwatch(family.loop(graph))
    call = load_compile() if competitor == "compile" else load_get(competitor)
    return stopwatch(partial(call, *family.shape(n)))


def _parallel() -> Iterator[Workload]:
    """Tasks that release the GIL: what one worker takes, and what several do."""
    size = hash_size(microseconds=100)
    cases: list[tuple[str, int, Callable[..., object], Any, int]] = [
        ("sleep-1ms", 400, time.sleep, 0.001, 4),
        ("hash-100us", 2_000, hashlib.sha256, bytes(size), 2),
        ("hash-10us", 10_000, hashlib.sha256, bytes(size // 10), 2),
    ]
    for name, n, function, argument, width in cases:
        competitors = ("ferris-1", f"ferris-{width}", f"threads-{width}")
        yield Workload("parallel", name, None, competitors, partial(_prepare_repeated, n, function, argument))


def _prepare_repeated(n: int, function: Callable[..., object], argument: object, competitor: str) -> Measure:
    return stopwatch(partial(load_get(competitor), *graphs.repeated(n, function, argument)))


def hash_size(microseconds: float) -> int:
    """The bytes that SHA-256 takes so long for; found once a run, so that all competitors hash the same."""
    trial = bytes(1_000_000)
    clock = [time.perf_counter()]
    for _ in range(20):
        hashlib.sha256(trial)
        clock.append(time.perf_counter())
    seconds = min(after - before for before, after in pairwise(clock))
    return round(len(trial) * microseconds * 1e-6 / seconds)


GIL_COMPETITORS = ("fixed-1", "fixed-2", "fixed-4", "ferris-2", "ferris-4")


def _gil() -> Iterator[Workload]:
    """Loads that keep the GIL, free it, or both: what each number of workers takes, and what the pool chooses."""
    hashed = hash_size(microseconds=100)
    for name in gil.LOADS:
        yield Workload("gil", f"gil-{name}", None, GIL_COMPETITORS, partial(_prepare_gil, name, hashed))


def _prepare_gil(name: str, hash_bytes: int, competitor: str) -> Measure:
    return stopwatch(partial(load_get(competitor), *gil.LOADS[name](hash_bytes)))


def _company() -> Iterator[Workload]:
    """Runs in company, of which Ctrl-C is one."""
    competitors = ("threads-2", "ferris-2")
    yield Workload("company", "callbacks", None, competitors, partial(company.prepare_progress_bar, 10_000))
    yield Workload("company", "beside-busy-thread", None, competitors, company.prepare_beside_busy_thread)
    yield Workload("interrupt", "interrupt", None, competitors, interrupt.prepare_interrupt)


def _governed(*, quick: bool) -> Iterator[Workload]:
    """Graphs whose tasks have policies, without any effect on what is done."""
    competitors = ("threads-2", "ferris-2", "governed-2", "limited-2")
    for n in (10_000,) if quick else (10_000, 100_000):
        prepare = partial(_prepare_no_ops, NO_OPS["independent"], n)
        yield Workload("governed", f"governed-{n}", n, competitors, prepare)


def _limits() -> Iterator[Workload]:
    """Graphs under a limit of memory, and tasks whose time is up."""
    for name in limits.PATTERNS:
        prepare = partial(limits.prepare_memory, name)
        yield Workload("memory", f"memory-{name}", None, ("threads-2", "ferris-2", "quarter-2"), prepare)
    yield Workload("stuck", "stuck-tasks", None, ("ferris-4", "stuck-4"), limits.prepare_stuck)


def _programs(*, quick: bool) -> Iterator[Workload]:
    # Equal width on both sides, whatever the machine's default is.
    competitors = ("sync", "threads-2", "ferris-2")
    # Of the fan-in of 10 000 one call takes some 5 s; of `get` alone only the sum has a figure to reach.
    whole = [name for name in programs.PROGRAMS if not quick or name != "fan-in-10000"]
    alone = ["ones-sum"] if quick else whole
    for group, suffix, names, prepare in (
        ("compute", "", whole, programs.prepare_compute),
        ("get", "-get", alone, programs.prepare_get),
    ):
        for name in names:
            yield Workload(group, name + suffix, None, competitors, partial(prepare, programs.PROGRAMS[name]))

    if not quick:
        # The cost of writing down what is measured above, which Dask has whoever computes it.
        building = partial(programs.prepare_building, programs.PROGRAMS["fan-in-10000"])
        yield Workload("building", "fan-in-10000-building", None, ("dask",), building)


def _executor(*, quick: bool) -> Iterator[Workload]:
    """The executor: its calls, its policies, its latencies, its computations and its memory."""
    for workload in (*_calls(), *_policies(), *_latencies(), *_computations(), *_pending()):
        # Those of a million tasks take the standard library some 20 s each.
        if not (quick and workload.name.endswith("-1000000")):
            yield replace(workload, competitors=tuple(filter(is_installed, workload.competitors)))


def _calls() -> Iterator[Workload]:
    both = ("pool-2", "executor-2")
    mapping = (*both, "pyferris-2", "joblib-2")
    # PyFerris makes the call within `submit`, which takes it 50 us: where all is large enough, it is left out.
    cases: list[tuple[str, executor.Loop, int, tuple[str, ...]]] = [
        ("collect", executor.collect, 10_000, (*both, "pyferris-2")),
        ("collect", executor.collect, 100_000, both),
        ("ping-pong", executor.ping_pong, 5_000, (*both, "helping-2", "pyferris-2")),
        ("map", executor.map_one_by_one, 10_000, mapping),
        ("map", executor.map_one_by_one, 1_000_000, (*both, "pyferris-2")),
        ("wait", executor.wait, 50_000, both),
        ("as-completed", executor.as_completed, 50_000, both),
        ("collect-in-8-threads", executor.collect_in_threads, 40_000, both),
    ]
    for name, loop, n, competitors in cases:
        prepare = partial(executor.prepare_loop, loop, n)
        yield Workload("executor-calls", f"{name}-{n}", n, competitors, prepare)
    for name, n, make in (("submit", 100_000, executor.prepare_submit), ("gather", 5_000, executor.prepare_gather)):
        yield Workload("executor-calls", f"{name}-{n}", n, both, partial(make, n))


def _policies() -> Iterator[Workload]:
    group, n = "executor-policies", 20_000
    competitors = ("pool-2", "executor-2", "policies-2")
    yield Workload(group, "all-policies", n, competitors, partial(executor.prepare_loop, executor.collect, n))
    yield Workload(group, "priorities", n, ("executor-2", "executor-64"), partial(policies.prepare_priorities, n))
    yield Workload("executor-levels", "levels-in-use", None, ("executor-2",), policies.prepare_levels, unit="%")


def _latencies() -> Iterator[Workload]:
    group = "executor-latency"
    competitors = ("ideal", "pool-8", "executor-8", "pyferris-8", "joblib-8")
    yield Workload(group, "sleep-8-workers", None, competitors, executor.prepare_sleep)
    for name, n_busy in (("timeout", 0), ("timeout-beside-busy-threads", policies.N_BUSY)):
        yield Workload(group, name, None, ("executor-2",), partial(policies.prepare_timeout, n_busy))
    yield Workload(group, "urgent", None, ("executor-2", "nap-2"), policies.prepare_urgent)


def _computations() -> Iterator[Workload]:
    cases: list[tuple[str, str, Callable[[], Any], tuple[str, ...]]] = [
        ("sum-floats", "sum", executor.floats, ("builtin",)),
        ("sum-ints", "sum", executor.ints, ("builtin",)),
        ("sum-array", "sum", executor.array, ("np.sum",)),
        ("heavy", "heavy_computation", executor.few, ()),
    ]
    for name, kind, make, plain in cases:
        prepare = partial(executor.prepare_computation, kind, make)
        competitors = (*plain, "executor-1", "executor-2", "pyferris-2")
        yield Workload("executor-computation", name, None, competitors, prepare)


def _pending() -> Iterator[Workload]:
    cases = [
        ("pending", 100_000, ("pool-1", "executor-1"), policies.prepare_pending),
        ("pending", 1_000_000, ("pool-1", "executor-1"), policies.prepare_pending),
        ("waiting-retries", 10_000, ("executor-2",), policies.prepare_waiting_retries),
    ]
    for name, n, competitors, prepare in cases:
        yield Workload("executor-memory", f"{name}-{n}", None, competitors, partial(prepare, n), unit="MB")


def _startup() -> Iterator[Workload]:
    yield Workload("startup", "startup", None, tuple(startup.PROGRAMS), startup.prepare_program)
