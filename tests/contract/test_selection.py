"""Selection: the ways in which a Dask program says that it wants "ferris"."""

from __future__ import annotations

import dask
import dask.array as da
import dask.base
import pytest
from subprocesses import output_of

import dask_ferris

COMPUTE = """
    import dask
    import dask_ferris
    import threading

    before = dask_ferris.statistics().n_runs
    print(dask.delayed(sum)([1, 2]).compute())
    print(dask_ferris.statistics().n_runs - before)
"""


def n_runs_of(compute):
    """Call `compute` and return its result with the number of runs it took."""
    before = dask_ferris.statistics().n_runs
    result = compute()
    return result, dask_ferris.statistics().n_runs - before


@pytest.mark.parametrize("name", ["ferris", "Ferris", "FERRIS"])
def test_by_keyword(name):
    """`compute(scheduler="ferris")` is one run of ours."""
    assert (10, 1) == n_runs_of(lambda: da.arange(5, chunks=2).sum().compute(scheduler=name))


def test_by_configuration():
    """`dask.config.set(scheduler="ferris")` is one run of ours for each compute."""

    def compute():
        with dask.config.set(scheduler="ferris"):
            return dask.delayed(abs)(-1).compute() + dask.delayed(abs)(-2).compute()

    assert (3, 2) == n_runs_of(compute)


def test_by_function():
    """`compute(scheduler=dask_ferris.get)` is one run of ours."""
    assert (1, 1) == n_runs_of(lambda: dask.delayed(abs)(-1).compute(scheduler=dask_ferris.get))


def test_the_name_stands_for_get():
    """The name is registered for the function itself, and no other name is changed."""
    assert dask_ferris.get is dask.base.named_schedulers["ferris"]
    assert dask_ferris.get is dask.base.get_scheduler(scheduler="ferris")
    assert dask.threaded.get is dask.base.named_schedulers["threads"]


def test_other_schedulers_are_not_touched():
    """Without a choice Dask's defaults stay."""
    assert (1, 0) == n_runs_of(lambda: dask.delayed(abs)(-1).compute(scheduler="threads"))
    assert (1, 0) == n_runs_of(lambda: dask.delayed(abs)(-1).compute())


def test_nested_computes_inherit_the_configuration_but_not_the_keyword():
    """As Dask has it: the keyword counts for one compute, the configuration for all inside."""

    def inner():
        return dask.delayed(abs)(-1).compute()

    def by_configuration():
        with dask.config.set(scheduler="ferris"):
            return dask.delayed(inner)().compute()

    assert (1, 1) == n_runs_of(lambda: dask.delayed(inner)().compute(scheduler="ferris"))
    assert (1, 2) == n_runs_of(by_configuration)


def test_by_environment():
    """`DASK_SCHEDULER=ferris` and the import are all a program needs."""
    assert ["3", "1"] == output_of(COMPUTE, env={"DASK_SCHEDULER": "ferris"})


def test_by_yaml(tmp_path):
    """A configuration file of Dask with `scheduler: ferris` does the same."""
    (tmp_path / "dask.yaml").write_text("scheduler: ferris\n", encoding="utf-8")

    assert ["3", "1"] == output_of(COMPUTE, env={"DASK_CONFIG": str(tmp_path)})


def test_without_a_choice_nothing_is_ours():
    """The import alone changes no default."""
    assert ["3", "0"] == output_of(COMPUTE)


def test_workers_by_environment():
    """`DASK_NUM_WORKERS` counts for us as for Dask: three tasks can meet."""
    program = """
        import dask_ferris, threading
        from dask._task_spec import Task
        meeting = threading.Barrier(3, timeout=60)
        dask_ferris.get({i: Task(i, meeting.wait) for i in range(3)}, [0, 1, 2])
        print(dask_ferris.statistics().n_workers)
    """

    assert ["2"] == output_of(program, env={"DASK_NUM_WORKERS": "3"})


def test_the_function_does_not_import_distributed():
    """Neither the import nor `compute(scheduler=dask_ferris.get)` pays for importing `distributed`."""
    program = """
        import sys
        import dask
        import dask_ferris
        print(dask.delayed(abs)(-1).compute(scheduler=dask_ferris.get))
        print([name for name in ("distributed", "tornado", "numpy", "pandas") if name in sys.modules])
    """

    assert ["1", "[]"] == output_of(program)


def test_the_import_does_nothing_visible():
    """No thread, no output, no change of the environment, the warnings, or the signals."""
    program = """
        import os, signal, sys, threading, warnings
        import dask, dask.base, dask.threaded, dask.config
        before = dict(os.environ), list(warnings.filters), signal.getsignal(signal.SIGINT), sys.getswitchinterval()
        import dask_ferris
        after = dict(os.environ), list(warnings.filters), signal.getsignal(signal.SIGINT), sys.getswitchinterval()
        print(before == after, threading.enumerate() == [threading.main_thread()])
    """

    assert ["True True"] == output_of(program)
