"""Nine loads that do different things with the GIL: no number of workers is right for all of them."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from typing import Any

from dask._task_spec import Task

from benchmarks.graphs import Graph, Key, no_op_0

Part = tuple[int, Callable[..., object], Any]
"""Tasks of one kind: how many, the function and its arguments."""

SHORTEST_HASH = 2048
"""Bytes from which `hashlib` lets go of the GIL."""

SPINS_IN_MS = 35_000
"""Turns of the loop below in about a millisecond."""


def spin(n: int) -> int:
    """Hold the GIL for `n` turns of a loop in Python."""
    total = 0
    for i in range(n):
        total += i
    return total


def _mixed(*parts: Part) -> tuple[Graph, list[Key]]:
    """Independent tasks of several kinds in random order, all of them requested."""
    calls = [(function, arguments) for n, function, arguments in parts for _ in range(n)]
    random.Random(1).shuffle(calls)  # noqa: S311 - a reproducible order, no secret
    graph: Graph = {("x", i): Task(("x", i), function, *arguments) for i, (function, arguments) in enumerate(calls)}
    return graph, list(graph)


def _hash(n: int, microseconds: float, bytes_in_100_us: int) -> Part:
    return n, hashlib.sha256, (bytes(max(SHORTEST_HASH, round(bytes_in_100_us * microseconds / 100))),)


def _spin(n: int) -> Part:
    return n, spin, (SPINS_IN_MS,)


def _sleep(n: int) -> Part:
    return n, time.sleep, (0.001,)


def _tiny(n: int) -> Part:
    return n, no_op_0, ()


LOADS: dict[str, Callable[[int], tuple[Graph, list[Key]]]] = {
    "200k-tiny": lambda _: _mixed(_tiny(200_000)),
    "400-sleep-1ms": lambda _: _mixed(_sleep(400)),
    "2k-hash-100us": lambda size: _mixed(_hash(2_000, 100, size)),
    "10k-hash-10us": lambda size: _mixed(_hash(10_000, 10, size)),
    "50k-hash-1us": lambda size: _mixed(_hash(50_000, 1, size)),
    "45k-tiny-1k-hash-100us": lambda size: _mixed(_tiny(45_000), _hash(1_000, 100, size)),
    "150-python-1ms": lambda _: _mixed(_spin(150)),
    "75-python-1ms-750-hash-100us": lambda size: _mixed(_spin(75), _hash(750, 100, size)),
    "300-sleep-1ms-60k-tiny": lambda _: _mixed(_sleep(300), _tiny(60_000)),
}
"""From the name of a load to what makes it, given the bytes that take 100 us to hash."""
