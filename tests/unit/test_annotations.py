"""Annotations: what they ask for is done; what cannot be is remarked on, once in a process, or an error."""

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


FLAKY = """
    calls = []
    def flaky(*_):
        calls.append(1)
        if len(calls) % 3:
            raise ValueError(len(calls))
        return 1
"""


@pytest.mark.parametrize("case", ANNOTATED.values(), ids=ANNOTATED)
def test_an_annotation_is_honoured(case):
    """Wherever it stands: a task that fails twice is attempted three times."""
    case = case.format(annotation="retries=2").replace("abs", "flaky").replace("da.ones(4, chunks=2)", ARRAY)
    program = PREAMBLE + FLAKY + case + "\n    print(n_warnings(compute), len(calls))"

    assert ["[] 3"] == output_of(program)


ARRAY = "da.ones(1).map_blocks(lambda block: block * flaky(), meta=da.ones(1)._meta)"


@pytest.mark.parametrize("annotation", ["workers=['alice']", "allow_other_workers=True", "resources={'gpu': 1}"])
def test_what_can_not_be_honoured_warns_once(annotation):
    """What only a cluster knows, and resources that nobody has declared; strictly, it is an error."""
    program = PREAMBLE + ANNOTATED["a Delayed"].format(annotation=annotation)
    program += f"""
    first, later = n_warnings(compute), n_warnings(compute) + n_warnings(compute)
    print(len(first), "{annotation.partition("=")[0]}" in first[0], len(later))
    dask.config.set({{"ferris.strict-annotations": True}})
    try:
        compute()
    except dask_ferris.PolicyError as error:
        print("key 'abs-" in str(error))
    """

    assert ["1 True 0", "True"] == output_of(program)


@pytest.mark.parametrize(
    ("annotation", "word"),
    [
        ("lane='process'", "lane"),
        ("priority=float('nan')", "nan"),
        ("retries=-1", "-1"),
        ("retries=True", "True"),
        ("timeout=0", "timeout"),
        ("timeout=lambda key: 1 / 0", "division by zero"),
        ("resources={'gpu': -1}", "gpu"),
    ],
)
def test_a_wrong_annotation_is_an_error(annotation, word):
    """Of the call that computes it, which names key and value and runs nothing."""
    program = (
        PREAMBLE + FLAKY + ANNOTATED["a Delayed"].format(annotation=f"**dict({annotation})").replace("abs", "flaky")
    )
    program += f"""
    try:
        compute()
    except dask_ferris.PolicyError as error:
        print("'flaky-" in str(error), {word!r} in str(error), len(calls))
    """

    assert ["True True 0"] == output_of(program)


@pytest.mark.parametrize("case", ANNOTATED.values(), ids=ANNOTATED)
def test_other_annotations_are_their_authors_own(case):
    """A name that asks nothing of a scheduler says nothing."""
    program = PREAMBLE + case.format(annotation="note='mine'") + "\n    print(n_warnings(compute))"

    assert ["[]"] == output_of(program)


def test_the_warning_can_be_made_an_error():
    """Under `-W error` the computation fails, and the annotation is not lost silently."""
    program = PREAMBLE + ANNOTATED["a Delayed"].format(annotation="workers=['alice']")
    program += """
    warnings.simplefilter("error")
    try:
        compute()
    except dask_ferris.FerrisWarning as error:
        print("workers" in str(error))
    """

    assert ["True"] == output_of(program)
