"""What a fresh installation must do: run by test_packaging.py in an environment that holds the package alone.

Nothing of the project is on the path here, and NumPy is not installed: the scheduler does not need it.
"""

from __future__ import annotations

import importlib.util
from operator import add

import dask

import dask_ferris


def main() -> None:
    """Use each door once, and print a word for each."""
    assert dask_ferris.get({"a": 1, "b": (add, "a", 2)}, ["a", "b"]) == (1, 3)
    print("get")
    total = dask.delayed(sum)([dask.delayed(add)(i, 1) for i in range(10)])
    assert dask.compute(total, scheduler=dask_ferris.get) == (55,)
    print("callable")
    assert dask.compute(total, scheduler="ferris", num_workers=2) == (55,)
    print("name")
    try:
        dask_ferris.get({"a": (add, "b", 1)}, "a", lane="process")
    except dask_ferris.PolicyError:
        print("error")
    # The call that was refused has run nothing.
    assert dask_ferris.statistics().n_runs == 3
    print("statistics")
    assert importlib.util.find_spec("numpy") is None
    print("without NumPy")


if __name__ == "__main__":
    main()
