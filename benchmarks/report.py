"""The report: the figures first, then every measurement, as Markdown."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.adapters import label
from benchmarks.figures import Figure, Results, all_figures, median_seconds
from benchmarks.workloads import UNITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.runner import Record
    from benchmarks.workloads import Workload

TITLES = {
    "independent": "Independent no-op tasks",
    "chain": "A chain of no-op tasks",
    "tree": "A binary tree of no-op tasks",
    "random": "A random graph of no-op tasks with 0-3 inputs each",
    "fused": "Chains of ten no-op tasks, fused by Dask",
    "lists": "No-op tasks that take a list of three",
    "keywords": "No-op tasks that take two keywords",
    "parallel": "Tasks that release the GIL",
    "gil": "The GIL: as many workers as given, and as many as get most done",
    "governed": "Independent tasks that do nothing, with policies",
    "memory": "Patterns that take much memory, with and without a limit for it",
    "stuck": "9 900 sleeps of 1 ms with a limit of 20 ms each, alone and with 100 tasks that do not keep it",
    "company": "In company: 10 000 no-op tasks under a progress bar; 300 beside a busy thread, the longest of 20 runs",
    "interrupt": "From SIGINT to the end of `get`, while all workers are in tasks that sleep",
    "compute": "Real programs: `compute()` end to end",
    "get": "Real programs: `get` of the optimised graph alone",
    "building": "Real programs: writing them down, which is not part of `compute()`",
    "executor-calls": "The executor: no-op tasks by each kind of call",
    "executor-policies": "The executor: no-op tasks with policies; `priorities` is submitting alone, to four in turn",
    "executor-levels": "The executor: what plain tasks cost more, once there was a task with a priority",
    "executor-latency": "The executor: 400 sleeps of 1 ms; timeouts and an urgent task, the latest of 50",
    "executor-computation": "The executor: computations without Python",
    "executor-memory": "The executor: growth of the memory of a process by what waits",
    "startup": "Start-up",
}

METHOD = """\
Only the call is timed, not making its input nor dropping its result; `compute()` gets a fresh collection each time.
A sample is the mean of as many calls as fill 50 ms, at least one.
The garbage collector is on, as users have it, and one full collection runs before the first sample.
BLAS and OpenMP are held to one thread in every process.
PyFerris's `submit` makes the call itself, on the calling thread, and its `map` returns when all is done.
A `*` marks a time with a sample during which other processes used over 6 % of the machine."""

LARGE = 100_000
"""The memory that smaller graphs take disappears in what the interpreter itself allocates."""


def markdown(results: Results, workloads: list[Workload], facts: dict[str, str]) -> str:
    """The tables, to be included in a page."""
    parts = ["<!-- Made by `make bench`: do not edit. -->"]
    parts += ["\n".join(f"- {name}: {value}" for name, value in facts.items())]
    parts += [METHOD, "## Required and reached", figure_table(results)]
    for group in dict.fromkeys(workload.group for workload in workloads):
        members = [workload for workload in workloads if workload.group == group]
        parts += [f"## {TITLES[group]}", _time_table(results, members)]
    graphs = [workload for workload in workloads if workload.is_no_op_graph]
    if large := [workload for workload in graphs if (workload.n_tasks or 0) >= LARGE]:
        parts += ["## Memory", _memory_table(results, large)]
    return "\n\n".join(parts) + "\n"


def figure_table(results: Results) -> str:
    """Each figure with what is required, what was reached, and whether that is enough."""
    reached = [(figure, figure.reached(results)) for figure in all_figures()]
    rows = [_figure_row(figure, value) for figure, value in reached if value is not None]
    table = _table(["figure", "required", "reached", "met"], rows)
    missing = len(reached) - len(rows)
    return table + (f"\n\n{missing} other figures were not measured in this run." if missing else "")


def progress_line(workload: Workload, records: dict[str, Record]) -> str:
    """One line for the terminal, as soon as a workload is measured."""
    times = (f"{name} {_time_cell(workload, records[name])}" for name in records)
    return f"{workload.name}, {_unit(workload)}: {', '.join(times)}"


def _figure_row(figure: Figure, value: float) -> list[str]:
    return [figure.text, figure.required(), f"{value:.3g} {figure.unit}", "yes" if figure.is_met(value) else "**no**"]


def _time_table(results: Results, workloads: list[Workload]) -> str:
    columns = _competitor_columns(results, workloads, _time_cell) | {
        "run phase, one worker": lambda workload: _run_phase(results, workload),
        "threads / dask_ferris": lambda workload: _quotient(results, workload, "threads", "ferris"),
        "ThreadPoolExecutor / dask_ferris": lambda workload: _quotient(results, workload, "pool", "executor"),
        "dask_ferris / loop": lambda workload: _quotient(results, workload, "ferris", "loop"),
    }
    return f"In {_unit(workloads[0])}: median (least to greatest).\n\n{_pivot(workloads, columns)}"


def _memory_table(results: Results, workloads: list[Workload]) -> str:
    columns = _competitor_columns(results, workloads, lambda _, record: f"{record.memory_growth / 2**20:.0f}")
    return f"In MiB: growth of the peak of a process beyond its prepared graph.\n\n{_pivot(workloads, columns)}"


def _competitor_columns(
    results: Results, workloads: list[Workload], cell: Callable[[Workload, Record], str]
) -> dict[str, Callable[[Workload], str]]:
    """One column for each competitor of any of the workloads."""

    def column(name: str) -> Callable[[Workload], str]:
        return lambda workload: cell(workload, results[workload.name][name]) if name in workload.competitors else ""

    return {label(name): column(name) for workload in workloads for name in workload.competitors}


def _time_cell(workload: Workload, record: Record) -> str:
    scale = _scale(workload)
    times = [sample.seconds * scale for sample in record.samples]
    mark = "*" if any(sample.disturbed for sample in record.samples) else ""
    return f"{_short(median(times))}{mark} ({_short(min(times))} to {_short(max(times))})"


def _run_phase(results: Results, workload: Workload) -> str:
    """What `get` takes beyond compiling; blank where compiling is not measured."""
    if "compile" not in workload.competitors:
        return ""
    whole, compiling = (median_seconds(results, workload.name, name) for name in ("ferris-1", "compile"))
    return _short((whole - compiling) * _scale(workload))


def _quotient(results: Results, workload: Workload, above: str, below: str) -> str:
    """The times of two kinds of competitor divided; of several widths of one kind the last counts."""
    last = {name.partition("-")[0]: name for name in workload.competitors}
    if not {above, below} <= last.keys():
        return ""
    numerator, denominator = (median_seconds(results, workload.name, last[kind]) for kind in (above, below))
    return _short(numerator / denominator)


def _unit(workload: Workload) -> str:
    return workload.unit or ("us per task" if workload.n_tasks else "ms")


def _scale(workload: Workload) -> float:
    if workload.unit:
        return UNITS[workload.unit]
    return 1e6 / workload.n_tasks if workload.n_tasks else 1e3


def _short(value: float) -> str:
    """At least three digits, no exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - the fourth digit begins here


def _pivot(workloads: list[Workload], columns: dict[str, Callable[[Workload], str]]) -> str:
    """One row a workload; a column without any entry is left out."""
    filled = {heading: [cell(workload) for workload in workloads] for heading, cell in columns.items()}
    filled = {heading: cells for heading, cells in filled.items() if any(cells)}
    rows = zip((workload.name for workload in workloads), *filled.values(), strict=True)
    return _table(["workload", *filled], [list(row) for row in rows])


def _table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *rows])
