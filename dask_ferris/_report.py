"""What a run tells of its tasks when it is over."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Report", "RunReport", "deliver"]

Report = Callable[["RunReport"], object] | str | Path
"""Who gets the report of a run: a function, or the path of a file for its JSON."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """What became of the tasks of one run.

    Attributes:
        n_tasks: Tasks that were needed.
        n_done: Those that have their value.
        seconds: How long the run took.
        peak_memory: The most bytes that values took at a time, by `dask.sizeof`; None without a ``memory_limit``.
        honoured: How many of the tasks had each word of the policy.
        merged: For tasks that Dask has fused of calls which asked for different things, what each of them asked for.
        attempts: How often tasks were attempted that were attempted more than once.
        timed_out: Keys of tasks in whose attempts the time was up, once for each.
        failed: Keys of tasks that failed in the end.
        upstream_failed: Keys of tasks that were not run because one which they need has failed.
    """

    n_tasks: int
    n_done: int
    seconds: float
    peak_memory: int | None
    honoured: dict[str, int]
    merged: dict[Any, tuple[dict[str, Any], ...]]
    attempts: dict[Any, int]
    timed_out: list[Any]
    failed: list[Any]
    upstream_failed: list[Any]

    def to_json(self) -> str:
        """Return the report as JSON; keys and what is no JSON as their ``repr``."""
        fields = {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return json.dumps(fields, indent=2)


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return {name if isinstance(name, str) else repr(name): _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) if isinstance(item, Mapping) else _as_word(item) for item in value]
        case _:
            return _as_word(value)


def _as_word(value: Any) -> Any:
    return value if isinstance(value, (str, int, float)) or value is None else repr(value)


def deliver(report: Report, told: RunReport) -> None:
    """Hand a report over."""
    if callable(report):
        report(told)
    else:
        Path(report).write_text(told.to_json() + "\n", encoding="utf-8")
