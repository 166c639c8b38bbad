"""Real Dask programs: what `compute()` costs end to end, and the `get` of their optimised graphs alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import dask.local
from dask.delayed import delayed

from benchmarks.adapters import load_get
from benchmarks.sampling import Measure, stopwatch

Program = Callable[[], Any]
"""Makes a fresh Dask collection, so that nothing Dask keeps on a computed one helps the next call."""


def ones_sum() -> Any:
    """The sum over an array of 50 x 50 small chunks: nearly nothing but overhead."""
    import dask.array as da  # noqa: PLC0415 - only the process that measures it needs it

    return da.ones((500, 500), chunks=(10, 10)).sum()


def matmul() -> Any:
    """A matrix product of 8 x 8 chunks: 512 products and their sums."""
    import dask.array as da  # noqa: PLC0415 - only the process that measures it needs it

    matrix = da.ones((1024, 1024), chunks=(128, 128))
    return matrix @ matrix


def transpose(size: int) -> Any:
    """The sum of an array and its transpose, 4 million numbers in chunks of `size` x `size`."""
    import dask.array as da  # noqa: PLC0415 - only the process that measures it needs it

    numbers = da.ones((2000, 2000), chunks=(size, size))
    return (numbers + numbers.T).sum()


def std() -> Any:
    """The standard deviation of 16 million numbers in 25 chunks: memory-bound."""
    import dask.array as da  # noqa: PLC0415 - only the process that measures it needs it

    return da.ones((4000, 4000), chunks=(800, 800)).std()


def bag() -> Any:
    """Map, filter and sum over a bag of 100 partitions."""
    import dask.bag  # noqa: PLC0415 - only the process that measures it needs it

    return dask.bag.from_sequence(range(20_000), npartitions=100).map(abs).filter(bool).sum()


def fan_in(n: int) -> Any:
    """Delayed calls, all of them inputs of one."""
    return delayed(sum)([delayed(abs)(i) for i in range(n)])


def groupby() -> Any:
    """The mean by group of a data frame of 100 partitions."""
    import dask.dataframe  # noqa: PLC0415 - only the process that measures it needs it
    import pandas as pd  # noqa: PLC0415 - only the process that measures it needs it

    frame = pd.DataFrame({"group": [i % 10 for i in range(100_000)], "value": range(100_000)})
    return dask.dataframe.from_pandas(frame, npartitions=100).groupby("group").value.mean()


PROGRAMS: dict[str, Program] = {
    "ones-sum": ones_sum,
    "matmul": matmul,
    "std": std,
    "transpose-200": partial(transpose, 200),
    "transpose-500": partial(transpose, 500),
    "bag": bag,
    "fan-in-1000": partial(fan_in, 1000),
    "fan-in-10000": partial(fan_in, 10_000),
    "groupby": groupby,
}


def prepare_compute(program: Program, competitor: str) -> Measure:
    """The measure of `compute()`: optimising, making the graph and running it, but not writing the program down."""
    get = load_get(competitor)

    def measure() -> float:
        collection = program()
        started = time.perf_counter()
        result = collection.compute(scheduler=get)
        seconds = time.perf_counter() - started
        # The result is named so that it lives until the clock has been read.
        del result
        return seconds

    return measure


def prepare_building(program: Program, _competitor: str) -> Measure:
    """The measure of writing a program down, which is Dask's own work and the same for every competitor."""
    return stopwatch(program)


def prepare_get(program: Program, competitor: str) -> Measure:
    """The measure of `get` alone, given the optimised graph as plain dict."""
    graph, keys = optimised(program())
    return stopwatch(partial(load_get(competitor), graph, keys))


def optimised(collection: Any, **options: Any) -> tuple[dict[Any, Any], Any]:
    """What `compute` hands to a scheduler, caught on the way; the options are of `compute`."""
    caught: list[tuple[dict[Any, Any], Any]] = []

    def catch(graph: Any, keys: Any, **_: object) -> Any:
        caught.append((dict(graph.__dask_graph__()), keys))
        return dask.local.get_sync(graph, keys)

    collection.compute(scheduler=catch, **options)
    return caught[0]
