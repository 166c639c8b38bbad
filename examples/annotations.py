"""Policies for the tasks of a graph: retries, priorities, limits of time and resources with Dask's collections.

Run it with `python examples/annotations.py`. It needs NumPy and pandas: `pip install "dask-ferris[demo]"`.
"""

from __future__ import annotations

import threading
import time

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd

from dask_ferris import Executor, PolicyError, TaskTimeoutError

NAMES = ["Ada", "Grace", "Edsger"]


class Flaky:
    """A function that fails the first time for each argument, and works from then on; it can be repeated at will."""

    def __init__(self) -> None:
        """Have been called by nobody."""
        self._tried: set[str] = set()

    def __call__(self, name: str) -> int:
        """Return the length of a name, or raise."""
        if name not in self._tried:
            self._tried.add(name)
            message = f"no answer about {name}"
            raise ConnectionError(message)
        return len(name)


def repeat_delayed() -> int:
    """Annotate calls: each of them may be repeated, wherever the graph is computed later."""
    fetch = dask.delayed(Flaky())
    with dask.annotate(retries=1):
        lengths = [fetch(name) for name in NAMES]
    return dask.delayed(sum)(lengths).compute(scheduler="ferris")


def repeat_array() -> float:
    """Annotate the blocks of an array; Dask fuses them with the next step, and the annotation goes along."""
    fetch = Flaky()

    def calibrate(block: np.ndarray) -> np.ndarray:
        return block * fetch(f"block {int(block[0])}")

    with dask.annotate(retries=1):
        blocks = da.arange(4, chunks=2).map_blocks(calibrate, meta=np.ones(0, dtype=int))
    return float((blocks + 1).sum().compute(scheduler="ferris"))


def repeat_bag() -> int:
    """Annotate the partitions of a bag, of which each has one name."""
    with dask.annotate(retries=1):
        lengths = db.from_sequence(NAMES, npartitions=len(NAMES)).map(Flaky())
    return lengths.sum().compute(scheduler="ferris")


def repeat_frame() -> int:
    """Give all tasks of a data frame a keyword: annotations of its steps never reach a scheduler."""
    frame = dd.from_pandas(pd.DataFrame({"name": NAMES}), npartitions=len(NAMES))
    lengths = frame.name.map(Flaky(), meta=("name", int))
    return int(lengths.sum().compute(scheduler="ferris", retries=1))


def order_of_start() -> list[str]:
    """Let the only worker take tasks of several levels; those without an annotation have 0."""
    order: list[str] = []
    note = dask.delayed(order.append)
    with dask.annotate(priority=1):
        first = note("first")
    with dask.annotate(priority=-1):
        last = note("last")
    dask.compute(last, note("between"), first, scheduler="ferris", num_workers=1)
    return order


def spin() -> None:
    """Never end by itself."""
    while True:
        time.sleep(0.001)


def limit() -> str:
    """Limit the time of a task, and return what is said when it is up."""
    try:
        dask.delayed(spin)(dask_key_name="endless").compute(scheduler="ferris", timeout=0.05)
    except TaskTimeoutError as error:
        return str(error)
    return "it ended"


def most_at_once(executor: Executor) -> int:
    """Let tasks of a graph share a resource of an executor, and return how many used it at once."""
    n_users, most, lock = 0, 0, threading.Lock()

    def use(number: int) -> int:
        nonlocal n_users, most
        with lock:
            n_users += 1
            most = max(most, n_users)
        time.sleep(0.001)
        with lock:
            n_users -= 1
        return number

    with dask.annotate(resources={"gpu": 1}):
        numbers = [dask.delayed(use)(number) for number in range(10)]
    dask.delayed(sum)(numbers).compute(scheduler=executor)
    return most


def refuse_what_is_for_clusters() -> str:
    """Be strict: an annotation that can not be honoured is an error."""
    with dask.annotate(workers=["alice"]):
        far = dask.delayed(abs)(-1, dask_key_name="far")
    with dask.config.set({"ferris.strict-annotations": True}):
        try:
            far.compute(scheduler="ferris")
        except PolicyError as error:
            return str(error)
    return "it ran"


def main() -> None:
    """Print what came out."""
    print(f"Delayed:    {repeat_delayed()} letters, each name asked for twice")
    print(f"Array:      {repeat_array():.0f}, each block computed twice")
    print(f"Bag:        {repeat_bag()} letters, each partition computed twice")
    print(f"DataFrame:  {repeat_frame()} letters, by keyword")
    print(f"priorities: {', '.join(order_of_start())}")
    print(f"timeout:    {limit()}")
    with Executor(4, resources={"gpu": 1}) as executor:
        print(f"resources:  at most {most_at_once(executor)} task used the GPU at once")
    print(f"strict:     {refuse_what_is_for_clusters()}")


if __name__ == "__main__":
    main()
