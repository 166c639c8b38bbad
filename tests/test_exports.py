"""What the package offers is what it says it offers, and nothing slips out beside it."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

import dask_ferris
import dask_ferris.exceptions

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"


def documented_names():
    """Return what the pages of the reference describe, by the directives that fetch the docstrings."""
    directive = re.compile(r"^\.\. auto\w+:: (?:dask_ferris\.)?(\w+)$", re.MULTILINE)
    return {name for page in REFERENCE.glob("*.md") for name in directive.findall(page.read_text(encoding="utf-8"))}


def public_names(module):
    """Return the names that a module has and does not hide, but for those of modules and of `__future__`."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType | type(annotations))
    }


def test_all_lists_the_documented_names():
    """`__all__` holds the names that the reference describes, sorted, each once."""
    assert sorted(documented_names()) == list(dask_ferris.__all__)


@pytest.mark.parametrize("module", [dask_ferris, dask_ferris.exceptions], ids=lambda module: module.__name__)
def test_nothing_else_is_public(module):
    """Every name without an underscore is in `__all__`."""
    assert set(module.__all__) == public_names(module)


def test_exceptions_are_exported_by_the_package():
    """Every exception is found in the package itself, as the same object."""
    for name in dask_ferris.exceptions.__all__:
        assert getattr(dask_ferris.exceptions, name) is getattr(dask_ferris, name)


@pytest.mark.parametrize("name", dask_ferris.__all__)
def test_every_public_name_has_a_docstring(name):
    """A user who asks `help()` gets an answer that is this object's own, not one inherited from its base."""
    value = getattr(dask_ferris, name)
    inherited = {base.__doc__ for base in value.__mro__[1:]} if inspect.isclass(value) else {None, ""}
    assert value.__doc__ not in inherited


@pytest.mark.parametrize("name", dask_ferris.__all__)
def test_public_names_say_where_they_live(name):
    """An object names the package as its home, so that errors and documentation point to where users find it."""
    assert getattr(dask_ferris, name).__module__.split(".")[0] == "dask_ferris"


def test_version_is_that_of_the_distribution():
    """`__version__` is looked up on demand, and an unknown attribute is an error that names it."""
    assert version("dask-ferris") == dask_ferris.__version__
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        dask_ferris.no_such_name  # noqa: B018  looked up for its error
