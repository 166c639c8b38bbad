"""Say what this machine lacks before a build fails for the lack of it: `python tools/prerequisites.py [COMPONENT ...]`.

The Makefile has already checked that this Python runs and is new enough. A COMPONENT is a part of the Rust toolchain
that only some targets need, named as `rustup component add` names it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

COMMANDS = {"clippy": "clippy", "rustfmt": "fmt"}
"""The cargo command by which each component is called."""


def main(components: list[str]) -> int:
    """Print what is missing, a line each; the status is 1 when anything is."""
    problems = [*_path_problems(), *_python_problems(), *_rust_problems(), *_component_problems(components)]
    for problem in problems:
        print(f"prerequisites: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _path_problems() -> list[str]:
    if re.search(r"\s", str(ROOT)):
        return [f"the project is in {str(ROOT)!r}, and RUSTFLAGS cannot carry a path with white space: move it"]
    return []


def _python_problems() -> list[str]:
    if importlib.util.find_spec("ensurepip") is None:
        needed = "python{}.{}-venv".format(*sys.version_info)
        return [f"{sys.executable} cannot make virtual environments (no ensurepip): on Debian install {needed}"]
    return []


def _rust_problems() -> list[str]:
    workspace = tomllib.loads((ROOT / "native" / "Cargo.toml").read_text(encoding="utf-8"))
    wanted = workspace["workspace"]["package"]["rust-version"]
    problems = [problem for tool in ("cargo", "rustc") if (problem := _tool_problem(tool, wanted))]
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        problems.append(f"{compiler!r} is not there: Rust links with a C compiler: on Debian install gcc")
    return problems


def _tool_problem(tool: str, wanted: str) -> str | None:
    printed = _output_of(tool, "--version")
    if printed is None:
        return f"{tool} does not run: a Rust toolchain >= {wanted} is needed (https://rustup.rs)"
    found = printed.split()[1]
    if _numbers(found) < _numbers(wanted):
        return f"{tool} is {found}, but Rust >= {wanted} is needed: rustup update"
    return None


def _component_problems(components: list[str]) -> list[str]:
    return [
        f"cargo {COMMANDS[component]} does not run: rustup component add {component}"
        for component in components
        if _output_of("cargo", COMMANDS[component], "--version") is None
    ]


def _output_of(*command: str) -> str | None:
    """Return what the command prints, or None when it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, check=True, text=True)  # noqa: S603  constants of this file
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def _numbers(version: str) -> list[int]:
    """Return `1.95.0-nightly` as `[1, 95, 0]`."""
    return [int(number) for number in re.findall(r"\d+", version.partition("-")[0])]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
