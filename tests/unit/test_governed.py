"""Runs whose tasks have policies: attempts, limits of time, order and resources, by annotation and by keyword."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from operator import add

import dask
import dask.array as da
import dask.bag as db
import numpy as np
import pytest
from dask import delayed
from dask._task_spec import Alias, Task, TaskRef
from dask.highlevelgraph import HighLevelGraph
from gates import WAIT, Token, barrier, end_of, wait_until_set
from subprocesses import output_of

import dask_ferris
from dask_ferris import FerrisWarning, PolicyError, Retry, TaskTimeoutError, UpstreamFailedError


class Flaky:
    """A function that fails so many times for each argument."""

    def __init__(self, n_failures, error=ValueError):
        """Have been called by nobody."""
        self.n_failures, self.error = n_failures, error
        self.calls = []

    def __call__(self, x):
        """Return the argument, at last."""
        self.calls.append(x)
        if self.calls.count(x) <= self.n_failures:
            raise self.error(x)
        return x


def spin():
    """Compute for ever, in Python."""
    while True:
        pass


def fan(function, n=8):
    """Return a graph of calls and their sum."""
    calls = {f"call-{i}": Task(f"call-{i}", function, i) for i in range(n)}
    return calls | {"sum": Task("sum", lambda *values: sum(values), *map(TaskRef, calls))}


# ---- Attempts


def delayed_collection(flaky):
    """Return the sum of six calls, which may each be attempted three times."""
    with dask.annotate(retries=2):
        return delayed(sum)([delayed(flaky)(i) for i in range(6)])


def array_collection(flaky):
    """Return the same, a call for each block."""
    numbers = da.arange(6, chunks=1)
    with dask.annotate(retries=2):
        return numbers.map_blocks(lambda block: block * 0 + flaky(int(block[0])), dtype=int).sum()


def bag_collection(flaky):
    """Return the same, a call for each partition."""
    with dask.annotate(retries=2):
        return db.from_sequence(range(6), npartitions=6).map(flaky).map(abs).sum()


COLLECTIONS = {"Delayed": delayed_collection, "Array": array_collection, "Bag": bag_collection}


@pytest.mark.parametrize("make", COLLECTIONS.values(), ids=COLLECTIONS)
def test_annotated_tasks_are_attempted_again(make):
    """With Dask's default optimisation."""
    flaky = Flaky(2)
    assert 15 == make(flaky).compute(scheduler="ferris")
    assert sorted(3 * list(range(6))) == sorted(flaky.calls)


@pytest.mark.parametrize("make", COLLECTIONS.values(), ids=COLLECTIONS)
def test_no_more_often_than_they_asked(make):
    """The error is the task's own, and says in how many attempts it failed."""
    flaky = Flaky(3)
    with pytest.raises(ValueError, match=r"^\d") as caught:
        make(flaky).compute(scheduler="ferris", num_workers=1)
    assert any("3 attempts" in note for note in caught.value.__notes__)
    assert 3 == flaky.calls.count(flaky.calls[-1])


@pytest.mark.parametrize("retries", [2, Retry(3), Retry(5, on=ValueError), Retry(3, backoff=0.001)], ids=repr)
def test_a_keyword_is_for_all_tasks(retries):
    """Every task of the run may be attempted again."""
    flaky = Flaky(2)
    assert 28 == dask_ferris.get(fan(flaky), "sum", retries=retries)


def test_an_error_that_is_not_meant_ends_the_run():
    """`Retry(on=...)` names the others."""
    flaky = Flaky(1, KeyError)
    with pytest.raises(KeyError):
        dask_ferris.get(fan(flaky), "sum", retries=Retry(3, on=ValueError))


def test_an_annotation_goes_before_a_keyword():
    """Of the task before that of the call, and both before the keyword."""
    flaky = Flaky(1)
    with dask.annotate(retries=0):
        never = delayed(flaky)(1)
    with pytest.raises(ValueError, match="1"):
        never.compute(scheduler="ferris", retries=3)
    plain = delayed(flaky)(2)
    with dask.annotate(retries=0), pytest.raises(ValueError, match="2"):
        dask_ferris.get(dict(plain.dask), plain.key, retries=3)
    assert 3 == delayed(flaky)(3).compute(scheduler="ferris", retries=1)


def test_inputs_are_there_for_each_attempt():
    """They live until the task has ended."""
    token = Token()
    gone, seen = end_of(token), []

    def use(_):
        seen.append(gone.is_set())
        if len(seen) < 3:
            raise ValueError

    box = [token]
    del token
    graph = {"made": Task("made", box.pop), "used": Task("used", use, TaskRef("made"))}
    dask_ferris.get(graph, "used", retries=2)
    assert [False] * 3 == seen
    wait_until_set(gone)


@pytest.mark.parametrize("kind", ["generator", "list"])
def test_a_task_whose_input_may_be_used_up_is_not_attempted_again(kind):
    """An iterator is at its end, or in its middle, after one attempt: better an error than half of the data."""
    flaky = Flaky(1)
    make = (lambda: (i for i in range(4))) if kind == "generator" else (lambda: list(range(4)))
    graph = {"made": Task("made", make), "used": Task("used", lambda items: [flaky(i) for i in items], TaskRef("made"))}
    if kind == "list":
        assert [0, 1, 2, 3] == dask_ferris.get(graph, "used", retries=4)
        return
    with pytest.raises(ValueError, match="0") as caught:
        dask_ferris.get(graph, "used", retries=4)
    assert any("'made'" in note and "iterator" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("annotated", [False, True])
def test_what_appends_is_attempted_again_only_by_its_own_annotation(annotated):
    """As the disk shuffle does: a keyword is for the other tasks."""
    flaky = Flaky(1)

    def group(x):
        return flaky(x) % 2

    bag = db.from_sequence(range(4), npartitions=2)
    around = dask.annotate(retries=8) if annotated else contextlib.nullcontext()
    with around:
        grouped = bag.groupby(group, shuffle="disk")
    if annotated:
        assert {0, 1} == dict(grouped.compute(scheduler="ferris")).keys()
        return
    with pytest.raises(ValueError, match=r"0|1|2|3"):
        grouped.compute(scheduler="ferris", retries=8)
    assert max(map(flaky.calls.count, flaky.calls)) == 1


def test_functions_around_the_call():
    """They are asked for each task, and the task's own annotation goes first."""
    flaky, asked = Flaky(2), []

    def retries(key):
        asked.append(key)
        return 2

    with dask.annotate(retries=1):
        own = delayed(flaky)(1, dask_key_name="own")
    other = delayed(flaky)(2, dask_key_name="other")
    with dask.annotate(retries=retries):
        assert 2 == other.compute(scheduler="ferris")
        with pytest.raises(ValueError, match="1"):
            own.compute(scheduler="ferris")
    assert {"own", "other"} == set(asked)


# ---- Limits of time


def test_a_task_that_takes_too_long_fails():
    """The error names its key, and the caller need not wait for the end of the task."""
    release = threading.Event()
    with pytest.raises(TaskTimeoutError, match=r"'slow'.*0\.05 s"):
        dask_ferris.get({"slow": Task("slow", release.wait, WAIT)}, "slow", timeout=0.05)
    release.set()


def test_a_task_that_takes_too_long_is_attempted_again():
    """As after any other error, once it was interrupted."""
    calls = []

    def sometimes():
        calls.append(1)
        if len(calls) < 3:
            spin()
        return "there"

    with dask.annotate(timeout=0.05, retries=2):
        value = delayed(sometimes)()
    assert "there" == value.compute(scheduler="ferris")


def test_tasks_with_a_limit_do_not_run_on_the_calling_thread():
    """It could not be told that the time is up."""
    graph = {"here": Task("here", threading.get_ident)}
    assert threading.get_ident() != dask_ferris.get(graph, "here", timeout=WAIT)


LATE = """
    import operator, time, dask_ferris
    from dask._task_spec import Task, TaskRef
    ran = []
    def stay():
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            try:
                time.sleep(0.01)
            except BaseException:
                pass
    class Slow:
        def __add__(self, other):
            ran.append(1)
            if len(ran) == 1:
                stay()
            return NotImplemented
    class Other:
        def __radd__(self, other):
            return type(other).__name__
    def slow(x):
        ran.append(1)
        if len(ran) == 1:
            stay()
        return x
    executor = dask_ferris.Executor(2)
    graph = {"slow": Task("slow", Slow), "other": Task("other", Other)}
    graph["sum"] = Task("sum", operator.add, TaskRef("slow"), TaskRef("other"))
    print(executor(graph, "sum", timeout=0.1, retries=1))
    ran.clear()
    nested = {"input": (Other,), "call": (lambda one, other: type(other).__name__, (slow, 1), "input")}
    print(executor(nested, "call", timeout=0.1, retries=1))
    time.sleep(0.6)  # the attempts that were abandoned come back
    print(executor.submit(int).result())
"""


def test_an_attempt_that_was_abandoned_has_its_inputs():
    """Though another one has ended the task: it may read them at any time."""
    assert ["Slow", "Other", "0"] == output_of(LATE)


def test_no_value_is_dropped_by_the_timer():
    """A destructor may take its time; others wait for the timer."""
    program = """
        import threading, time, dask_ferris
        from dask._task_spec import Task, TaskRef
        class Value:
            def __del__(self):
                print(threading.current_thread().name == "ferris-timer")
        def spin(_):
            while True:
                time.sleep(0.001)
        graph = {"value": Task("value", Value), "spin": Task("spin", spin, 1)}
        graph["both"] = Task("both", max, TaskRef("value"), TaskRef("spin"))
        (both,) = dask_ferris.get(graph, ["both"], timeout=0.1, on_error="continue")
        print(type(both).__name__)
    """
    assert sorted(["UpstreamFailedError", "False"]) == sorted(output_of(program))


def test_limits_of_fused_tasks_add_up():
    """Each of them may take its own time."""
    with dask.annotate(timeout=0.2):
        ones = da.ones(2, chunks=2).map_blocks(_nap).map_blocks(_nap)
    np.testing.assert_array_equal([1.0, 1.0], ones.compute(scheduler="ferris"))


def _nap(block):
    time.sleep(0.12)
    return block


# ---- Order


def test_higher_priority_goes_first():
    """Among what is ready, on one worker; any number is a priority."""
    order = []
    with dask.annotate(priority=lambda key: {"low": -5, "high": 2.5, "highest": 10**30}.get(key, 0)):
        hlg = delayed(lambda *_: None)(
            *(delayed(order.append)(name, dask_key_name=name) for name in ["low", "none", "high", "highest"])
        )
    hlg.compute(scheduler="ferris", num_workers=1)
    assert ["highest", "high", "none", "low"] == order


def test_without_levels_the_order_is_depth_first():
    """Chains are finished one after the other, so that few values live at once."""
    order = []

    def step(name, *_):
        order.append(name)

    graph = {}
    for chain in "abc":
        for i in range(4):
            earlier = [TaskRef(f"{chain}{i - 1}")] if i else []
            graph[f"{chain}{i}"] = Task(f"{chain}{i}", step, f"{chain}{i}", *earlier)
    dask_ferris.get(graph, ["a3", "b3", "c3"], num_workers=1, retries=1)
    assert ["".join(sorted(name[0] for name in order))] == ["".join(name[0] for name in order)]


# ---- Resources


def test_resources_limit_what_runs_at_once():
    """With as many workers as there are tasks."""
    running, most = [], []

    def use(i):
        running.append(i)
        most.append(len(running))
        time.sleep(0.005)
        running.remove(i)

    with dask.config.set({"ferris.resources": {"gpu": 2}}), dask.annotate(resources={"gpu": 1}):
        delayed(lambda *_: None)(*map(delayed(use), range(12))).compute(scheduler="ferris", num_workers=8)
    assert 2 == max(most)


def test_more_than_there_is_is_an_error():
    """At once, and nothing runs."""
    ran = []
    with dask.config.set({"ferris.resources": {"gpu": 1}}):
        for resources in [{"gpu": 2}, {"lamp": 1}]:
            with pytest.raises(PolicyError, match=next(iter(resources))):
                dask_ferris.get({"x": Task("x", ran.append, 1)}, "x", resources=resources)
    assert [] == ran


# ---- Going on after errors


def test_a_run_may_go_on_after_errors():
    """What failed is its exception, what needs it an error that says so, and everything else is computed."""
    graph = {
        "bad": Task("bad", Flaky(9), 1),
        "needs": Task("needs", abs, TaskRef("bad")),
        "needs both": Task("needs both", max, TaskRef("good"), TaskRef("needs")),
        "good": Task("good", abs, -3),
        "fine": Task("fine", abs, TaskRef("good")),
    }
    values = dict(zip(graph, dask_ferris.get(graph, list(graph), on_error="continue", retries=1), strict=True))

    assert (3, 3) == (values["good"], values["fine"])
    assert isinstance(values["bad"], ValueError)
    for key, cause in [("needs", "bad"), ("needs both", "needs")]:
        assert isinstance(values[key], UpstreamFailedError)
        assert values[cause] is values[key].__cause__
        assert f"'{key}'" in str(values[key])
        assert f"'{cause}'" in str(values[key])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_ends_such_a_run_too(error):
    """It is not for one task."""
    with pytest.raises(error):
        dask_ferris.get({"x": Task("x", Flaky(1, error), 1)}, "x", on_error="continue")


def test_a_task_that_takes_too_long_is_one_that_failed():
    """And the run goes on."""
    release = threading.Event()
    graph = {"slow": Task("slow", release.wait, WAIT), "good": Task("good", abs, -1)}
    slow, good = dask_ferris.get(graph, ["slow", "good"], on_error="continue", timeout=0.05)
    release.set()
    assert isinstance(slow, TaskTimeoutError)
    assert 1 == good


@pytest.mark.parametrize("kind", ["Python", "C"])
def test_a_run_has_a_deadline(kind):
    """Whatever its tasks do; the caller is back in time."""
    release = threading.Event()
    function = spin if kind == "Python" else release.wait
    with pytest.raises(TaskTimeoutError, match=r"deadline of 0\.1 s"):
        dask_ferris.get({"x": Task("x", function), "y": Task("y", abs, -1)}, ["x", "y"], deadline=0.1)
    release.set()


def test_a_deadline_ends_a_run_that_goes_on_after_errors():
    """It is not an error of a task."""
    for _ in range(10):
        with pytest.raises(TaskTimeoutError, match="deadline"):
            dask_ferris.get({"x": Task("x", spin)}, ["x"], deadline=0.02, on_error="continue")


def test_another_name_of_what_failed_is_the_same():
    """An alias is no task that needs another."""
    graph = {"bad": Task("bad", Flaky(9), 1), "alias": Alias("alias", "bad")}
    bad, alias = dask_ferris.get(graph, ["bad", "alias"], on_error="continue")
    assert isinstance(bad, ValueError)
    assert bad is alias


def test_a_deadline_that_is_met_is_nothing():
    """And nothing is left that waits for it."""
    assert 28 == dask_ferris.get(fan(abs), "sum", deadline=WAIT)


# ---- Reports


def reported(graph, keys, **options):
    """Return the report of a run, which may fail."""
    reports = []
    with contextlib.suppress(ValueError):
        dask_ferris.get(graph, keys, report=reports.append, **options)
    (report,) = reports
    return report


def test_a_report_says_what_was_done():
    """Of the words, of attempts, and of what failed."""
    flaky = Flaky(2)
    report = reported(fan(flaky, 3), "sum", retries=2, priority=1)
    assert (4, 4) == (report.n_tasks, report.n_done)
    assert {"priority": 4, "retries": 4} == report.honoured
    assert {f"call-{i}": 3 for i in range(3)} == report.attempts
    assert [] == [*report.timed_out, *report.failed, *report.upstream_failed]


def test_a_report_says_what_failed():
    """Also of a run that has raised."""
    graph = fan(Flaky(9), 1)
    assert ["call-0"] == reported(graph, "sum", retries=1).failed
    report = reported(graph, "sum", on_error="continue")
    assert (["call-0"], ["sum"], 0) == (report.failed, report.upstream_failed, report.n_done)


def test_a_report_names_merges_and_limits():
    """Tasks that Dask has fused of calls which ask for different things, and times that were up."""
    calls = []

    def sometimes(block):
        calls.append(1)
        while len(calls) < 2:
            pass
        return block

    with dask.annotate(priority=1):
        one = da.ones(2, chunks=2) + 1
    with dask.annotate(retries=1, priority=2):
        other = one * 3
    reports = []
    dask.compute(other, scheduler="ferris", report=reports.append)
    (asked,) = reports[0].merged.values()
    assert {"priority": 1} in asked
    assert {"priority": 2, "retries": 1} in asked
    with dask.annotate(timeout=0.05, retries=1):
        slow = da.ones(1).map_blocks(sometimes, meta=np.ones(0))
    dask.compute(slow, scheduler="ferris", report=reports.append)
    assert 1 == len(reports[1].timed_out)


def test_a_report_that_fails_hides_no_error():
    """It is told in a note; without another error it is the error."""
    with pytest.raises(ValueError, match="0") as caught:
        dask_ferris.get(fan(Flaky(9), 1), "sum", report="/nowhere/report.json")
    assert any("report" in note and "FileNotFoundError" in note for note in caught.value.__notes__)
    with pytest.raises(FileNotFoundError):
        dask_ferris.get(fan(abs, 1), "sum", report="/nowhere/report.json")


def test_a_report_counts_what_was_needed():
    """Not the other tasks of a layer."""
    with dask.annotate(retries=1):
        numbers = da.arange(10, chunks=1)
    reports = []
    dask.compute(numbers[:2], scheduler="ferris", report=reports.append, optimize_graph=False)
    assert {"retries": 2} == reports[0].honoured


def test_a_report_may_be_a_file(tmp_path):
    """Of JSON."""
    path = tmp_path / "report.json"
    with dask.annotate(retries=1):
        value = delayed(abs)(-1, dask_key_name=("a", 0))
    value.compute(scheduler="ferris", report=path)
    assert {"n_tasks": 1, "n_done": 1, "honoured": {"retries": 1}}.items() <= json.loads(path.read_text()).items()


# ---- The run


def test_so_many_tasks_run_at_once():
    """All of `num_workers`, and the values are those of any scheduler."""
    meeting = barrier(5)
    assert list(range(5)) == sorted(dask_ferris.get(*meeting_of(meeting, 5), num_workers=5, retries=1))


def meeting_of(meeting, n):
    """Return a graph of tasks that meet, and its keys."""
    return {i: Task(i, meeting.wait) for i in range(n)}, list(range(n))


def test_the_first_error_ends_the_run():
    """With the key among its notes, and what has not begun is not begun."""
    ran = []
    graph = {"bad": Task("bad", Flaky(9), 1), "after": Task("after", ran.append, TaskRef("bad"))}
    with pytest.raises(ValueError, match="1") as caught:
        dask_ferris.get(graph, "after", priority=1)
    assert any("'bad'" in note for note in caught.value.__notes__)
    assert [] == ran


def test_values_go_when_nobody_needs_them():
    """In the middle of the run."""
    seen = []

    def make():
        token = Token()
        seen.append(end_of(token))
        return token

    def look(*_):
        seen.append(seen[0].is_set())

    graph = {
        "made": Task("made", make),
        "used": Task("used", lambda _: None, TaskRef("made")),
        "later": Task("later", look, TaskRef("used")),
    }
    dask_ferris.get(graph, "later", num_workers=1, retries=1)
    assert [True] == seen[1:]


def test_runs_within_tasks_and_side_by_side():
    """Each that is within a task has threads of its own."""

    def inner(i):
        return dask_ferris.get(fan(abs, 4), "sum", retries=1, num_workers=2) + i

    assert 6 * 8 + 28 == dask_ferris.get(fan(inner), "sum", retries=1, num_workers=4)


def test_runs_share_their_threads():
    """One run after the other, whatever became of it, has those of the run before."""

    def names():
        return {thread.name for thread in threading.enumerate() if thread.name.startswith("ferris-run")}

    dask_ferris.get(fan(abs), "sum", retries=1, num_workers=2)
    before = names()
    for _ in range(5):
        dask_ferris.get(fan(abs), "sum", retries=1, num_workers=2)
        with pytest.raises(ValueError, match="0"):
            dask_ferris.get(fan(Flaky(5), 1), "sum", retries=1, num_workers=2)
    assert len(names() - before) <= 1, "another one may have come for work that the first was too slow to take"


@pytest.mark.parametrize("options", [{"retries": 1}, {}], ids=["keyword", "view"])
def test_on_an_executor(options):
    """Its threads run the tasks; a view adds its own words."""
    flaky = Flaky(1)
    with dask_ferris.Executor(2, thread_name_prefix="mine") as executor:
        scheduler = executor if options else executor.with_options(retries=1)
        names = delayed(lambda *values: (sum(values), threading.current_thread().name))(*map(delayed(flaky), range(4)))
        total, name = names.compute(scheduler=scheduler, **options)
        assert (6, "mine") == (total, name.partition("_")[0])
        assert 3 == executor.submit(abs, -3).result()


def test_callable_annotations_of_fused_layers():
    """Dask itself fails on two of them."""
    with dask.annotate(priority=lambda _: 1):
        one = da.ones(4, chunks=2) + 1
    with dask.annotate(priority=lambda _: 2):
        other = one * 2
    np.testing.assert_array_equal(np.full(4, 4.0), other.compute(scheduler="ferris"))


@pytest.mark.parametrize("words", [{"callbacks": []}, {"cache": {}}, {"rerun_exceptions_locally": True}], ids=repr)
def test_not_together_with_an_account_of_each_step(words):
    """Neither is left out without a word."""
    with pytest.raises(PolicyError, match="retries"):
        dask_ferris.get(fan(abs), "sum", retries=1, **words)


@pytest.mark.parametrize("where", ["task", "call"])
@pytest.mark.parametrize("strict", [False, True])
def test_annotations_beside_an_account_of_each_step(where, strict):
    """A warning, or an error."""
    value = delayed(abs)(-1)
    with dask.annotate(retries=1):
        value = delayed(abs)(value) if where == "task" else value
    around = dask.annotate(retries=1) if where == "call" else contextlib.nullcontext()
    expected = pytest.raises(PolicyError, match="cache") if strict else pytest.warns(FerrisWarning, match="cache")
    with around, dask.config.set({"ferris.strict-annotations": strict}), expected:
        value.compute(scheduler="ferris", cache={})


def test_a_pool_of_one_level_has_one_in_graphs_too():
    """As for calls."""
    with dask_ferris.Executor(1, scheduler=dask_ferris.RoundRobinScheduler()) as executor:
        assert 1 == executor({"x": Task("x", abs, -1)}, "x")
        with pytest.raises(PolicyError, match="priority"):
            executor({"x": Task("x", abs, -1)}, "x", priority=3)


def test_an_annotation_above_what_there_is_names_its_key():
    """And what there is."""
    with dask.annotate(resources={"gpu": 2}):
        value = delayed(abs)(-1, dask_key_name="large")
    with dask.config.set({"ferris.resources": {"gpu": 1}}), pytest.raises(PolicyError, match=r"'large'.*1\.0.*2\.0"):
        value.compute(scheduler="ferris")


def test_an_optimiser_that_keeps_layers_loses_nothing():
    """Whoever wrote it."""
    with dask.annotate(retries=2):
        value = delayed(Flaky(2))(1)
    keep = {"delayed_optimize": lambda dsk, *_, **__: dsk, "ferris.strict-annotations": True}
    with dask.config.set(keep):
        assert 1 == value.compute(scheduler="ferris")


def test_an_optimiser_that_loses_annotations_is_an_error_if_strict():
    """It names the layer."""
    with dask.annotate(retries=2):
        value = delayed(abs)(delayed(abs)(-1, dask_key_name="lost"), dask_key_name="kept")

    def forget(dsk, keys, **_):
        return HighLevelGraph.from_collections("all", {key: Task(key, abs, -2) for key in keys if key in dsk})

    with dask.config.set({"delayed_optimize": forget}):
        assert 2 == value.compute(scheduler="ferris")
        with dask.config.set({"ferris.strict-annotations": True}), pytest.raises(PolicyError, match="lost"):
            value.compute(scheduler="ferris")


@pytest.mark.parametrize(
    ("word", "value", "error"),
    [
        ("retries", -1, ValueError),
        ("retries", True, TypeError),
        ("retries", 1.5, TypeError),
        ("timeout", 0, ValueError),
        ("timeout", float("nan"), ValueError),
        ("priority", float("inf"), ValueError),
        ("priority", "high", TypeError),
        ("resources", {"gpu": float("nan")}, ValueError),
        ("resources", 3, TypeError),
        ("on_error", "ignore", ValueError),
        ("on_error", 1, TypeError),
        ("deadline", 0, ValueError),
        ("deadline", "1s", TypeError),
        ("report", 3, TypeError),
    ],
)
def test_a_wrong_word_is_an_error(word, value, error):
    """Named, with its value, and nothing runs."""
    ran = []
    with pytest.raises(error, match=word.removesuffix("s")) as caught:
        dask_ferris.get({"x": Task("x", ran.append, 1)}, "x", **{word: value})
    assert [] == ran
    assert repr(value) in str(caught.value) or "nan" in str(caught.value)


@pytest.mark.parametrize("n_workers", [1, 2, 4])
def test_dask_means_the_same(n_workers):
    """Arrays, frames and bags give what they give with any scheduler."""
    numbers = da.random.default_rng(1).random((60, 60), chunks=13)
    expected = dask.compute((numbers @ numbers.T).sum(axis=0), numbers.std(), scheduler="sync")
    found = dask.compute(
        (numbers @ numbers.T).sum(axis=0), numbers.std(), scheduler="ferris", retries=1, num_workers=n_workers
    )
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert add(1, 2) == dask_ferris.get({"x": (add, 1, 2)}, "x", priority=3)
