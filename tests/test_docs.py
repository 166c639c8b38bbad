"""The documentation is true: its examples run, and it names what is there and nothing else."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from textwrap import dedent

import pages
import pytest
from gates import WAIT
from subprocesses import environment

import dask_ferris
from dask_ferris._options import DEFAULTS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GENERATED = DOCS / "_static"
PAGES = [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if GENERATED not in page.parents)]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
WITH_EXAMPLES = [name for name, text in TEXTS.items() if pages.examples(text)]

DIRECTIVES = {
    "{eval-rst}",
    "{image} ../_static/benchmarks.svg",
    "{image} one-run.svg",
    "{include} ../CHANGELOG.md",
    "{include} ../_static/benchmarks.md",
    "{literalinclude} ../../dask_ferris/ferris.yaml",
    "{toctree}",
}
"""The blocks that are no code of a page: what Sphinx puts there."""


def run_page(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the examples of a page in a fresh interpreter that works in `folder`."""
    # -P: nothing is imported from the source tree.
    command = [sys.executable, "-P", pages.__file__, str(page)]
    return subprocess.run(  # noqa: S603  the project's own pages
        command,
        capture_output=True,
        check=False,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=WAIT,
    )


def doctests() -> list[doctest.DocTest]:
    """Return the examples in the docstrings of the package, its native functions included."""
    names = [module.name for module in walk_packages(dask_ferris.__path__, "dask_ferris.")]
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = (test for name in ["dask_ferris", *names] for test in finder.find(import_module(name), name))
    return [test for test in found if test.examples]


DOCTESTS = doctests()


class TestExamples:
    """The examples that users read."""

    @pytest.mark.parametrize("name", WITH_EXAMPLES)
    def test_page_runs(self, name, tmp_path):
        """Every example of the page prints what the page says, in a fresh interpreter."""
        done = run_page(ROOT / name, tmp_path)
        assert ("", 0) == (done.stderr, done.returncode)

    def test_main_pages_have_examples(self):
        """The pages that show how to do something are among those that are run."""
        guides = {f"docs/guides/{path.name}" for path in (DOCS / "guides").glob("*.md")}
        assert {"README.md", "docs/index.md", "docs/tutorial.md", *guides} <= {*WITH_EXAMPLES}

    @pytest.mark.parametrize("name", TEXTS)
    def test_no_example_is_missed(self, name):
        """Whatever looks like Python in the page is a block that is run."""
        languages = {block.language for block in pages.blocks(TEXTS[name])}
        assert languages <= {"python", "pycon", "text", "sh", "yaml", *DIRECTIVES}
        examples = pages.examples(TEXTS[name])
        assert len(re.findall(r"```(?:python|pycon)", TEXTS[name])) == len(examples)
        assert TEXTS[name].count(">>>") == sum(example.block.text.count(">>>") for example in examples)

    @pytest.mark.parametrize("test", DOCTESTS, ids=lambda test: test.name)
    def test_docstring_runs(self, test):
        """Every example in a docstring gives what it says."""
        report = []
        doctest.DocTestRunner(optionflags=pages.FLAGS).run(test, out=report.append)
        assert "" == "".join(report)

    def test_docstrings_have_examples(self):
        """The package and its main function show how they are used."""
        assert {"dask_ferris", "dask_ferris._native.get"} <= {test.name for test in DOCTESTS}


class TestRunner:
    """The runner of the examples finds what is wrong with them."""

    @pytest.mark.parametrize(
        ("page", "said"),
        [
            ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "but it printed\n1"),
            ("```python\nprint(1)\n```\n", "but it printed\n1"),
            ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
            ("```python\nimport warnings\nwarnings.warn('look')\n```\n", "UserWarning: look"),
            ("```python\nx = 1\n```\n\n```text\nnothing of this is printed\n```\n", "nothing of this is printed"),
            ("```pycon\n>>> 1\n2\n```\n", "Got:\n    1"),
            ("```pycon\n>>> x\n```\n", "NameError"),
            ("- in a list\n\n  ```pycon\n  >>> 1\n  2\n  ```\n", "Got:\n    1"),
        ],
    )
    def test_reports_a_wrong_example(self, page, said, tmp_path):
        """An example that prints something else, more, less, or fails, is reported with what it did."""
        path = tmp_path / "page.md"
        path.write_text(page)
        done = run_page(path, tmp_path)
        assert 1 == done.returncode
        assert said in done.stderr

    def test_shares_names_among_the_blocks_of_a_page(self, tmp_path):
        """A block sees what earlier ones have defined, programs and sessions alike, and a traceback its own line."""
        page = """
            ```python
            def half(number):
                return number / 2
            ```

            ```pycon
            >>> two = half(4)
            ```

            ```python
            print(two)
            half("a")
            ```

            ```text
            2.0
            Traceback (most recent call last):
              File "...page.md", line 13, in <module>
                half("a")
              ...
            TypeError: unsupported operand ...
            ```
        """
        path = tmp_path / "page.md"
        path.write_text(dedent(page))
        done = run_page(path, tmp_path)
        assert ("", 0) == (done.stderr, done.returncode)


class TestNames:
    """What the documentation names is there, and the other way round."""

    @pytest.mark.parametrize("name", TEXTS)
    def test_make_targets_exist(self, name):
        """A `make` command that a page shows is one that the Makefile has."""
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        assert {*re.findall(r"(?:^|`)make ([a-z-]+)", TEXTS[name], re.MULTILINE)} <= targets

    def test_links_of_the_readme_exist(self):
        """The README links to files that are there; Sphinx checks the links of the other pages."""
        links = re.findall(r"\]\((?!https?:)([^)#]+)", TEXTS["README.md"])
        assert links
        assert [] == [link for link in links if not (ROOT / link).exists()]

    def test_files_named_in_how_a_run_works_exist(self):
        """The table of source files is up to date."""
        table = TEXTS["docs/explanation/how-a-run-works.md"].partition("## Where it stands in the source")[2]
        rows = re.findall(r"^\| [^|]+ \| (`.+`) \|$", table, re.MULTILINE)
        assert len(rows) > 5
        for row in rows:
            first, *others = re.findall(r"`([^`]+)`", row)
            for path in (first, *others):
                assert (ROOT / path).exists() or (ROOT / first).with_name(path).exists(), path

    @pytest.mark.parametrize("name", dask_ferris.__all__)
    def test_public_names_are_in_the_reference(self, name):
        """Every public name is described by a directive of a reference page."""
        reference = "".join(text for page, text in TEXTS.items() if page.startswith("docs/reference/"))
        assert re.search(rf"^\.\. auto\w+:: (?:dask_ferris\.)?{name}$", reference, re.MULTILINE)

    def test_configuration_keys_are_in_the_yaml_file_that_the_reference_shows(self):
        """The reference includes the file of defaults, and each key in it has a comment of its own."""
        assert "{literalinclude} ../../dask_ferris/ferris.yaml" in TEXTS["docs/reference/configuration.md"]
        file = Path(dask_ferris.__file__).with_name("ferris.yaml").read_text(encoding="utf-8")
        assert [] == [key for key in DEFAULTS if not re.search(rf"^  # .+\n  {key}:", file, re.MULTILINE)]

    def test_every_dependency_has_its_line(self):
        """The decision on dependencies names each one of the manifests, and those alone."""
        record = TEXTS["docs/decisions/0002-dependencies.md"]
        cells = re.findall(r"^\| (`.+?) \|", record, re.MULTILINE) + re.findall(r"^`.+", record, re.MULTILINE)
        named = {name for cell in cells for name in re.findall(r"`([\w-]+)`", cell)}
        assert named - {"cargo-deny"} == dependencies()


def dependencies() -> set[str]:
    """Return the names of all that the manifests ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    cargo = tomllib.loads((ROOT / "native" / "Cargo.toml").read_text(encoding="utf-8"))
    lists = [
        project["build-system"]["requires"],
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ]
    packages = {re.split(r"[^\w-]", requirement)[0] for requirements in lists for requirement in requirements}
    return packages | cargo["workspace"]["dependencies"].keys()
