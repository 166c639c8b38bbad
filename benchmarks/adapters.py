"""The schedulers compared: each is imported only in the process that measures it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

Get = Callable[..., Any]

LABELS = {
    "loop": "plain Python loop",
    "compile": "compile phase",
    "ferris": "dask_ferris.get",
    "fixed": "dask_ferris.get, fixed width",
    "governed": "dask_ferris.get, priority and retries",
    "limited": "dask_ferris.get, priority, retries and timeout",
    "quarter": "dask_ferris.get, a quarter of the memory",
    "stuck": "dask_ferris.get, with 100 more whose time is up",
    "ideal": "without an executor, divided by the workers",
    "sync": "dask.get",
    "threads": "dask.threaded.get",
    "pool": "ThreadPoolExecutor",
    "executor": "dask_ferris.Executor",
    "helping": "dask_ferris.Executor, help_waiting",
    "policies": "dask_ferris.Executor, priority, retries and timeout",
    "pyferris": "PyFerris",
    "joblib": "joblib, threading",
    "builtin": "sum",
    "nap": "one task",
}

OPTIONAL = ("pyferris", "joblib")
"""Kinds of competitor that are measured where the package of their name is installed."""

POLICIES = {"priority": 2, "retries": 2, "timeout": 60}
"""The words of the kinds `policies` and `limited`, none of which changes what is done."""


def is_installed(competitor: str) -> bool:
    """Whether a competitor can be measured here."""
    kind, _, _ = competitor.partition("-")
    return kind not in OPTIONAL or find_spec(kind) is not None


def label(competitor: str) -> str:
    """The name for readers: `threads-2` is "dask.threaded.get, 2 workers". Other names speak for themselves."""
    kind, _, num_workers = competitor.partition("-")
    if kind not in LABELS:
        return competitor
    width = f", {num_workers} worker{'s' * (num_workers != '1')}" if num_workers else ""
    return LABELS[kind] + width


def load_get(competitor: str) -> Get:
    """The `get` a competitor stands for; a number after a dash is its `num_workers`, else its own default holds.

    Raises:
        LookupError: The name is none of the known ones.
    """
    kind, _, num_workers = competitor.partition("-")
    loaders = {
        "ferris": _load_ferris,
        "fixed": _load_fixed,
        "governed": _load_governed,
        "limited": _load_limited,
        "sync": _load_sync,
        "threads": _load_threads,
    }
    if kind not in loaders:
        message = f"unknown competitor {competitor!r}: allowed are {', '.join(loaders)}, each also as NAME-WORKERS"
        raise LookupError(message)
    get = loaders[kind]()
    return partial(get, num_workers=int(num_workers)) if num_workers else get


def load_compile() -> Callable[..., object]:
    """The compiler of `dask_ferris` alone, which runs nothing."""
    from dask_ferris import _native  # noqa: PLC0415 - see the module's first line

    return _native.compile


def load_executor(competitor: str) -> Any:
    """A new executor of a competitor, with as many workers as the number after the dash.

    Raises:
        LookupError: The name is none of the known ones.
    """
    kind, _, max_workers = competitor.partition("-")
    makers: dict[str, Callable[[int], Any]] = {
        "pool": ThreadPoolExecutor,
        "executor": _make_executor,
        "helping": partial(_make_executor, help_waiting=True),
        "policies": lambda max_workers: _make_executor(max_workers).with_options(**POLICIES),
        "pyferris": lambda max_workers: import_module("pyferris").Executor(max_workers),
        "joblib": _Joblib,
    }
    if kind not in makers or not max_workers:
        message = f"unknown executor {competitor!r}: allowed are {', '.join(makers)}, each as NAME-WORKERS"
        raise LookupError(message)
    return makers[kind](int(max_workers))


class _Joblib:
    """As much of an executor as joblib offers."""

    def __init__(self, max_workers: int) -> None:
        self._joblib = import_module("joblib")
        self._max_workers = max_workers

    def map(self, function: Callable[..., Any], *iterables: Any) -> Any:
        calls = map(self._joblib.delayed(function), *iterables)
        return self._joblib.Parallel(self._max_workers, backend="threading")(calls)


def _make_executor(max_workers: int, **options: Any) -> Any:
    import dask_ferris  # noqa: PLC0415 - see the module's first line

    return dask_ferris.Executor(max_workers, **options)


def _load_ferris() -> Get:
    import dask_ferris  # noqa: PLC0415 - see the module's first line

    return dask_ferris.get


def _load_fixed() -> Get:
    return partial(_load_ferris(), width="fixed")


def _load_governed() -> Get:
    return partial(_load_ferris(), priority=POLICIES["priority"], retries=POLICIES["retries"])


def _load_limited() -> Get:
    return partial(_load_ferris(), **POLICIES)


def _load_sync() -> Get:
    import dask.local  # noqa: PLC0415 - see the module's first line

    # Which is `dask.get`.
    return dask.local.get_sync


def _load_threads() -> Get:
    import dask.threaded  # noqa: PLC0415 - see the module's first line

    return dask.threaded.get
