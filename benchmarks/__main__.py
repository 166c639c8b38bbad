"""The command line: `python -m benchmarks [--quick] [--only NAME,...] [--output FOLDER]`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import adapters, machine, plot, readme, report
from benchmarks.runner import CompetitorError, Effort, run
from benchmarks.workloads import Workload, all_workloads

if TYPE_CHECKING:
    from benchmarks.figures import Results

FULL = Effort(rounds=5, once_above=10)
QUICK = Effort(rounds=3, once_above=0.5)

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs" / "_static"
README = ROOT / "README.md"
SCRATCH = ROOT / "build" / "benchmarks"
"""A run that does not measure everything never replaces the published report."""


def main() -> int:
    """Measure, print as it goes, write the report; the status is 1 when a competitor failed."""
    _prefer_installed_package()
    _hold_libraries_to_one_thread()
    options = _parse()
    workloads = all_workloads(quick=options.quick)
    chosen = _choose(workloads, options.only)
    results, facts = _measure(chosen, QUICK if options.quick else FULL)
    is_complete = not options.quick and options.output is None and len(results) == len(workloads)
    _write(results, chosen, facts, options.output or (DOCS if is_complete else SCRATCH))
    if is_complete:
        README.write_text(readme.fill(README.read_text(), (DOCS / "benchmarks.md").read_text()))
    return 0 if len(results) == len(chosen) else 1


def _prefer_installed_package() -> None:
    """Search the folder of the source last: what is measured is the installed, compiled package."""
    if Path(sys.path[0]).resolve() == ROOT:
        sys.path.append(sys.path.pop(0))


def _hold_libraries_to_one_thread() -> None:
    """Keep BLAS and OpenMP from starting threads beside the scheduler's, for every competitor alike."""
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure dask_ferris against Dask.")
    parser.add_argument(
        "--quick",
        action="store_true",
        default=os.environ.get("QUICK", "0") not in {"", "0"},
        help="fewer samples and smaller graphs, in some minutes (also: QUICK=1 in the environment)",
    )
    parser.add_argument(
        "--only",
        metavar="NAME,...",
        help="measure these rows, tables or families of tables alone, as chain-1000, chain or executor",
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where to write benchmarks.md and benchmarks.svg")
    return parser.parse_args()


def _choose(workloads: list[Workload], only: str | None) -> list[Workload]:
    if only is None:
        return workloads
    wanted = set(only.split(","))
    known = {name for workload in workloads for name in _names(workload)}
    if unknown := sorted(wanted - known):
        sys.exit(f"--only: unknown {', '.join(unknown)}; allowed are {', '.join(sorted(known))}")
    return [workload for workload in workloads if wanted & _names(workload)]


def _names(workload: Workload) -> set[str]:
    """What `--only` may call a workload: itself, its table, or all tables of one family."""
    family, _, _ = workload.group.partition("-")
    return {workload.name, workload.group, family}


def _measure(workloads: list[Workload], effort: Effort) -> tuple[Results, dict[str, str]]:
    """The results of all workloads whose competitors did not fail, and what is to be said about the run."""
    facts = machine.describe() | {"load before": machine.load()}
    started = time.monotonic()
    results: Results = {}
    for name in adapters.OPTIONAL:
        if not adapters.is_installed(name):
            print(f"skipped {adapters.label(name)}: {name} is not installed", file=sys.stderr, flush=True)
    for workload in workloads:
        try:
            results[workload.name] = run(workload, effort)
        except CompetitorError as error:
            print(f"FAILED {error}", file=sys.stderr, flush=True)
        else:
            print(report.progress_line(workload, results[workload.name]), flush=True)
    took = f"{time.monotonic() - started:.0f} s, up to {effort.rounds} samples of each competitor"
    return results, facts | {"load after": machine.load(), "took": took}


def _write(results: Results, workloads: list[Workload], facts: dict[str, str], folder: Path) -> None:
    measured = [workload for workload in workloads if workload.name in results]
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "benchmarks.md"
    page.write_text(report.markdown(results, measured, facts), encoding="utf-8")
    if any(workload.is_no_op_graph for workload in measured):
        plot.draw(results, measured, folder / "benchmarks.svg")
    print(f"\n{report.figure_table(results)}\n\nwritten to {page}")


if __name__ == "__main__":
    sys.exit(main())
