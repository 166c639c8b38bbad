"""Use it with Dask: the same programs as always, run by another scheduler.

Run it with `python examples/use_with_dask.py`. It needs NumPy: `pip install "dask-ferris[array]"`.
"""

from __future__ import annotations

import dask
import dask.array as da
import dask.bag as db

import dask_ferris  # the import makes the name "ferris" known to Dask


def add_transposed() -> float:
    """Add a matrix of ones to its own transpose, block by block, with Dask Array, naming the scheduler in the call."""
    ones = da.ones((2_000, 2_000), chunks=(200, 200))
    return (ones + ones.T).sum().compute(scheduler="ferris")


@dask.delayed
def double(number: int) -> int:
    """Return twice the number: any function of yours becomes a task like this."""
    return 2 * number


def fan_in() -> int:
    """Double ten numbers and add them up with Dask Delayed, setting the scheduler for a block of code."""
    total = dask.delayed(sum)([double(number) for number in range(10)])
    with dask.config.set(scheduler="ferris"):
        return total.compute()


def count_words() -> dict[str, int]:
    """Count words with a Dask Bag, handing over the function itself instead of its name.

    A name makes Dask import `distributed` on first use, which takes a moment; the function does not.
    A bag would otherwise run in processes: here its tasks run in threads of this process, and nothing is copied.
    """
    lines = db.from_sequence(["to be or not to be", "that is the question"], npartitions=2)
    words = lines.map(str.split).flatten()
    return dict(words.frequencies().compute(scheduler=dask_ferris.get))


def main() -> None:
    """Print the three answers."""
    print(f"array:   the sum of the matrix is {add_transposed():.0f}")
    print(f"delayed: the doubled numbers add up to {fan_in()}")
    print(f"bag:     {count_words()}")


if __name__ == "__main__":
    main()
