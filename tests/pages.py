"""Run the Python examples of a Markdown page, in order and in one namespace: `python -P tests/pages.py PAGE`.

Two kinds of block are examples:

- `python`, a program: all that it prints, warnings and a traceback included, must stand in the `text` block that is the
  next block of the page. Without such a block it must print nothing.
- `pycon`, a session of the interactive interpreter, compared as `doctest` does.

In both, `...` stands for anything, and any white space for any other.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import sys
import textwrap
import traceback
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>```+)(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=ticks)$",
    re.MULTILINE | re.DOTALL,
)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, and the number of its first line."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Example:
    """A block that is run, and what it must print if it is a program."""

    block: Block
    expected: str


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    return [
        Block(found["language"].strip(), textwrap.dedent(found["text"]), page.count("\n", 0, found.start("text")) + 1)
        for found in FENCE.finditer(page)
    ]


def examples(page: str) -> list[Example]:
    """Return the blocks of a page that are run."""
    end = Block("", "", 0)
    return [
        Example(block, following.text if following.language == "text" else "")
        for block, following in pairwise([*blocks(page), end])
        if block.language in {"python", "pycon"}
    ]


def run(path: Path) -> list[str]:
    """Run the examples of a page and return what is wrong with them."""
    # As if the page were the program: functions that it defines can be pickled, as Dask does to name them.
    module = sys.modules["__main__"] = ModuleType("__main__")
    problems = (_run_one(path, example, vars(module)) for example in examples(path.read_text(encoding="utf-8")))
    return [problem for problem in problems if problem]


def _run_one(path: Path, example: Example, namespace: dict[str, Any]) -> str:
    run_it = _run_program if example.block.language == "python" else _run_session
    return run_it(path, example, namespace)


def _run_program(path: Path, example: Example, namespace: dict[str, Any]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        _execute(path, example.block, namespace)
    if doctest.OutputChecker().check_output(example.expected, printed.getvalue(), FLAGS):
        return ""
    return f"{path}:{example.block.line}: expected\n{example.expected}\nbut it printed\n{printed.getvalue()}"


def _execute(path: Path, block: Block, namespace: dict[str, Any]) -> None:
    """Execute a program, and print the traceback of what it raises as the interpreter would."""
    # The empty lines make tracebacks show the lines of the page.
    source = "\n" * (block.line - 1) + block.text
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), namespace)  # noqa: S102  the project's own pages
    except Exception as error:  # noqa: BLE001  whatever it is, the page must show it
        user_frames = error.__traceback__ and error.__traceback__.tb_next
        traceback.print_exception(error.with_traceback(user_frames))


def _run_session(path: Path, example: Example, namespace: dict[str, Any]) -> str:
    block = example.block
    test = doctest.DocTestParser().get_doctest(block.text, {}, path.name, str(path), block.line - 1)
    test.globs = namespace
    report: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append, clear_globs=False)
    return "".join(report)


if __name__ == "__main__":
    failures = run(Path(sys.argv[1]))
    sys.exit("\n".join(failures) if failures else 0)
