"""How Sphinx builds the documentation; nothing here or in the pages is looked up over the network."""

from __future__ import annotations

from importlib.metadata import version as version_of

project = "dask_ferris"
author = "the dask_ferris developers"
project_copyright = "2026, the dask_ferris developers"
version = release = version_of("dask-ferris")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_static"]  # what `make bench` writes: included by pages, no pages themselves
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

# A name in single backticks in a docstring is a Python object, and must be one that the reference describes.
default_role = "py:obj"
nitpicky = True
# What other projects describe: their inventories would have to be fetched, or kept here and grow old.
nitpick_ignore_regex = [
    ("py:.*", r"(concurrent|contextlib|contextvars|dask|math|queue|threading)(\..*)?"),
    # The types of any value, and of a `scheduler=`, by the names that the annotations give them.
    ("py:class", r"_T|Scheduler"),
]

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
# The attributes of a class are described in its docstring, where they stand together.
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"dask_ferris {release}"
html_show_sourcelink = False
