"""The picture: cost per task against the number of tasks, one panel a shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.adapters import label
from benchmarks.figures import Results, median_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.workloads import Workload

N_COLUMNS = 4
N_ROWS = 2


def draw(results: Results, workloads: list[Workload], path: Path) -> None:
    """Write the picture; SVG or PNG by the suffix."""
    shapes = {workload.group: None for workload in workloads if workload.is_no_op_graph}
    # Text stays text and ids are the same in each run, so that a new picture differs only where the numbers do.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dask_ferris"}):
        figure = Figure(figsize=(13, 6.5), layout="constrained")
        axes = figure.subplots(N_ROWS, N_COLUMNS, sharex=True, sharey=True).flat
        for axis, shape in zip(axes, shapes, strict=False):
            _draw_shape(axis, results, [workload for workload in workloads if workload.group == shape])
        for axis in axes[len(shapes) :]:
            axis.set_axis_off()
        figure.supxlabel("tasks")
        figure.supylabel("us per task")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="lower right")
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_shape(axis: Any, results: Results, workloads: list[Workload]) -> None:
    measured = [workload for workload in workloads if workload.name in results]
    competitors = dict.fromkeys(name for workload in measured for name in results[workload.name])
    for name in competitors:
        points = [
            (workload.n_tasks, median_seconds(results, workload.name, name) / workload.n_tasks * 1e6)
            for workload in measured
            if workload.n_tasks and name in results[workload.name]
        ]
        axis.loglog(*zip(*points, strict=True), marker="o", markersize=3, label=label(name))
    axis.set_title(measured[0].group)
    # Also where the panel below is empty, and sharing the axis would leave the numbers out.
    axis.tick_params(labelbottom=True)
    axis.grid(visible=True, alpha=0.3)
