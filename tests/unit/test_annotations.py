"""Annotations: those that cannot be honoured yet are remarked on, once in a process."""

from __future__ import annotations

import pytest
from subprocesses import output_of

PREAMBLE = """
    import warnings
    import dask, dask_ferris
    import dask.array as da
    from dask._task_spec import Task
    warnings.simplefilter("always")
    def n_warnings(compute):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            compute()
        for warning in caught:
            assert warning.category is dask_ferris.FerrisWarning, warning
        return [str(warning.message) for warning in caught]
"""

ANNOTATED = {
    "a Delayed": """
    with dask.annotate({annotation}):
        x = dask.delayed(abs)(-1)
    compute = lambda: x.compute(scheduler=dask_ferris.get)
    """,
    "an array that is not optimised": """
    with dask.annotate({annotation}):
        x = da.ones(4, chunks=2)
    compute = lambda: x.compute(scheduler=dask_ferris.get, optimize_graph=False)
    """,
    "around compute": """
    x = dask.delayed(abs)(-1)
    def compute():
        with dask.annotate({annotation}):
            x.compute(scheduler=dask_ferris.get)
    """,
    "around get": """
    def compute():
        with dask.annotate({annotation}):
            dask_ferris.get({{"x": Task("x", abs, -1)}}, "x")
    """,
    "by name": """
    with dask.annotate({annotation}):
        x = dask.delayed(abs)(-1)
    compute = lambda: x.compute(scheduler="ferris")
    """,
    "a HighLevelGraph": """
    with dask.annotate({annotation}):
        x = dask.delayed(abs)(-1)
    compute = lambda: dask_ferris.get(x.dask, x.key)
    """,
}


@pytest.mark.parametrize("case", ANNOTATED.values(), ids=ANNOTATED)
@pytest.mark.parametrize("annotation", ["retries=3", "timeout=5", "priority=10"])
def test_an_annotation_that_is_not_honoured_warns_once(case, annotation):
    """One FerrisWarning that names the annotation, and none for the computations after it."""
    program = PREAMBLE + case.format(annotation=annotation)
    program += f"""
    first, later = n_warnings(compute), n_warnings(compute) + n_warnings(compute)
    print(len(first), "{annotation.partition("=")[0]}" in first[0], len(later))
    """

    assert ["1 True 0"] == output_of(program)


@pytest.mark.parametrize(
    "annotation", ["lane='process'", "resources={'gpu': 1}", "workers=['alice']", "allow_other_workers=True"]
)
def test_every_word_of_the_policy_warns(annotation):
    """Also those that only a cluster or a later version knows."""
    program = PREAMBLE + ANNOTATED["a Delayed"].format(annotation=annotation)
    program += f"""
    (message,) = n_warnings(compute)
    print("{annotation.partition("=")[0]}" in message)
    """

    assert ["True"] == output_of(program)


@pytest.mark.parametrize("case", ANNOTATED.values(), ids=ANNOTATED)
def test_other_annotations_are_their_authors_own(case):
    """A name that asks nothing of a scheduler says nothing."""
    program = PREAMBLE + case.format(annotation="note='mine'") + "\n    print(n_warnings(compute))"

    assert ["[]"] == output_of(program)


def test_the_warning_can_be_made_an_error():
    """Under `-W error` the computation fails, and the annotation is not lost silently."""
    program = PREAMBLE + ANNOTATED["a Delayed"].format(annotation="retries=3")
    program += """
    warnings.simplefilter("error")
    try:
        compute()
    except dask_ferris.FerrisWarning as error:
        print("retries" in str(error))
    """

    assert ["True"] == output_of(program)
