"""The figures in the README, which are those of the published report."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.adapters import label

if TYPE_CHECKING:
    from collections.abc import Iterator

CELL = re.compile(r"\S+ <!-- bench: (?P<workload>\S+)/(?P<competitor>\S+) -->")
"""A figure, and the workload and competitor it belongs to."""


def fill(text: str, report: str) -> str:
    """The text with the median of each of its figures as the report has it.

    Raises:
        KeyError: The report has no such row or column.
    """
    medians: dict[tuple[str, str], str] = {}
    for row, column, median in _cells(report):
        medians.setdefault((row, column), median)  # the tables of times come before the one of memory

    def replace(match: re.Match[str]) -> str:
        median = medians[match["workload"], label(match["competitor"])].rstrip("*")
        return f"{median} <!-- bench: {match['workload']}/{match['competitor']} -->"

    return CELL.sub(replace, text)


def _cells(report: str) -> Iterator[tuple[str, str, str]]:
    """Row, column and first word of every cell of every table of times."""
    header: list[str] = []
    for line in report.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if cells and header:
            yield from ((cells[0], column, cell.split()[0]) for column, cell in zip(header, cells, strict=True) if cell)
        else:
            header = cells
