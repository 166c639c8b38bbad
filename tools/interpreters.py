"""Find the CPython interpreters of this machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# An interpreter counts as found when it runs, is the CPython it is called, and can make an environment.
PROBE = """
import ensurepip, platform, sys
print(platform.python_implementation(), "%d.%d" % sys.version_info[:2], platform.python_version(), sys.executable)
"""


def find(version: str) -> tuple[str, Path] | None:
    """Return full version and path of a CPython `version` ("3.12"), or None when there is none that runs.

    Every `python3.12` on PATH is tried, then pyenv's versions: a shim of pyenv that is first on PATH runs only where
    its version is switched on.
    """
    for candidate in (*_on_path(version), *_in_pyenv(version)):
        if found := _probe(candidate, version):
            return found
    return None


def _on_path(version: str) -> Iterator[Path]:
    for folder in os.get_exec_path():
        candidate = Path(folder, f"python{version}")
        if os.access(candidate, os.X_OK):
            yield candidate


def _in_pyenv(version: str) -> Iterator[Path]:
    try:
        done = subprocess.run(["pyenv", "root"], capture_output=True, check=True, text=True)  # noqa: S607  as on PATH
    except (OSError, subprocess.CalledProcessError):
        return
    yield from sorted(Path(done.stdout.strip(), "versions").glob(f"{version}.*/bin/python{version}"))


def _probe(candidate: Path, version: str) -> tuple[str, Path] | None:
    command = [str(candidate), "-I", "-c", PROBE]
    done = subprocess.run(command, capture_output=True, check=False, text=True)  # noqa: S603  what is to be found
    match done.stdout.split(maxsplit=3):
        case ["CPython", found, full, path] if found == version and done.returncode == 0:
            return full, Path(path.strip())
    return None
