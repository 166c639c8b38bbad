"""The schedulers compared: each is imported only in the process that measures it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

Get = Callable[..., Any]

LABELS = {
    "loop": "plain Python loop",
    "compile": "compile phase",
    "ferris": "dask_ferris.get",
    "fixed": "dask_ferris.get, fixed width",
    "sync": "dask.get",
    "threads": "dask.threaded.get",
}


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
    loaders = {"ferris": _load_ferris, "fixed": _load_fixed, "sync": _load_sync, "threads": _load_threads}
    if kind not in loaders:
        message = f"unknown competitor {competitor!r}: allowed are {', '.join(loaders)}, each also as NAME-WORKERS"
        raise LookupError(message)
    get = loaders[kind]()
    return partial(get, num_workers=int(num_workers)) if num_workers else get


def load_compile() -> Callable[..., object]:
    """The compiler of `dask_ferris` alone, which runs nothing."""
    from dask_ferris import _native  # noqa: PLC0415 - see the module's first line

    return _native.compile


def _load_ferris() -> Get:
    import dask_ferris  # noqa: PLC0415 - see the module's first line

    return dask_ferris.get


def _load_fixed() -> Get:
    return partial(_load_ferris(), width="fixed")


def _load_sync() -> Get:
    import dask.local  # noqa: PLC0415 - see the module's first line

    # Which is `dask.get`.
    return dask.local.get_sync


def _load_threads() -> Get:
    import dask.threaded  # noqa: PLC0415 - see the module's first line

    return dask.threaded.get
