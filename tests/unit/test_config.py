"""Configuration: the defaults of `ferris.yaml`, and keys nobody knows."""

from __future__ import annotations

from importlib import resources

import dask
import pytest
import yaml
from dask._task_spec import Task
from subprocesses import output_of

import dask_ferris

TEXT = (resources.files(dask_ferris) / "ferris.yaml").read_text(encoding="utf-8")
DEFAULTS = yaml.safe_load(TEXT)["ferris"]


def test_the_defaults_are_dasks_configuration():
    """Importing the package adds the section `ferris` to Dask's configuration."""
    program = """
        import dask, dask_ferris
        print(dask.config.get("ferris"))
    """

    assert [str(DEFAULTS)] == output_of(program)
    assert "check" in DEFAULTS


@pytest.mark.parametrize("key", DEFAULTS)
def test_every_key_is_documented(key):
    """The line before a key is a comment."""
    lines = TEXT.splitlines()
    (place,) = [i for i, line in enumerate(lines) if line.strip().startswith(f"{key}:")]

    assert lines[place - 1].strip().startswith("# ")


def test_an_environment_variable_sets_a_key():
    """`DASK_FERRIS__CHECK=true` switches the check on, as for any key of Dask's."""
    program = """
        import dask_ferris
        from dask._task_spec import Task
        calls = []
        dask_ferris.get({"x": Task("x", calls.append, 1)}, "x")
        print(len(calls))
    """

    assert ["2"] == output_of(program, env={"DASK_FERRIS__CHECK": "true"})
    assert ["1"] == output_of(program)


@pytest.mark.parametrize("key", ["chekc", "retries", "check-all"])
def test_a_key_nobody_knows_warns_once(key):
    """A misspelt key has no effect, which is said once, with the keys that there are."""
    program = f"""
        import warnings
        import dask, dask_ferris
        from dask._task_spec import Task
        graph = {{"x": Task("x", abs, -1)}}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with dask.config.set({{"ferris.{key}": True}}):
                print(dask_ferris.get(graph, "x"), dask_ferris.get(graph, "x"))
        (warning,) = caught
        message = str(warning.message)
        print(warning.category.__name__, "{key}".replace("-", "_") in message, "ferris.check" in message)
    """

    assert ["1 1", "FerrisWarning True True"] == output_of(program)


def test_a_section_that_is_no_mapping_is_an_error():
    """`ferris: 5` in a file is refused by name."""
    with dask.config.set({"ferris": 5}), pytest.raises(TypeError, match="ferris"):
        dask_ferris.get({"x": Task("x", abs, -1)}, "x")
    assert 1 == dask_ferris.get({"x": Task("x", abs, -1)}, "x")


def test_a_section_that_is_missing_means_the_defaults():
    """A program may clear Dask's configuration."""
    program = """
        import dask, dask_ferris
        from dask._task_spec import Task
        dask.config.config.clear()
        print(dask_ferris.get({"x": Task("x", abs, -1)}, "x"))
        dask.config.refresh()
        print(dask_ferris.get({"x": Task("x", abs, -1)}, "x"), dask.config.get("ferris"))
    """

    assert ["1", f"1 {DEFAULTS}"] == output_of(program)
