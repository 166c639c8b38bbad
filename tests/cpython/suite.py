"""Where CPython's own tests of concurrent.futures are: the interpreter's, or Debian's in a temporary folder.

Many builds leave the tests of the standard library out. What those import from `test.support` is there nearly always,
so that Debian's tests run with the interpreter's own helpers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from gates import WAIT


class NoSuiteError(Exception):
    """No suite can be had for this Python; the message says why."""


def find(folder: Path) -> Path:
    """Return the folder that holds `test_concurrent_futures`; what has to be unpacked goes into `folder`.

    Raises:
        NoSuiteError: The interpreter has none and neither has Debian, or this is no Debian.
    """
    own = Path(sysconfig.get_path("stdlib")) / "test"
    if not (own / "support").is_dir():
        message = "the interpreter has no test.support, which the tests import"
        raise NoSuiteError(message)
    if _holds_the_tests(own):
        return own
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        message = "the interpreter has none, and this is no Debian to get one from"
        raise NoSuiteError(message)
    return _unpacked(_downloaded(folder), folder)


def _holds_the_tests(folder: Path) -> bool:
    """Tell whether the tests are there: one file until CPython 3.11, a package from 3.12 on."""
    name = "test_concurrent_futures"
    return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


def _downloaded(folder: Path) -> Path:
    """Return Debian's package of the tests, downloaded into the folder."""
    package = "libpython{}.{}-testsuite".format(*sys.version_info)
    # The machine's index of packages may be missing or old. A fresh one in our folder needs no rights and changes
    # nothing for others; it is the second choice because it takes some seconds, the package alone less than one.
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True)
    fresh = ["-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
    try:
        _run(folder, "apt-get", "download", package)
    except NoSuiteError as first:
        try:
            _run(folder, "apt-get", *fresh, "update")
            _run(folder, "apt-get", *fresh, "download", package)
        except NoSuiteError as second:
            message = f"{first}; with a fresh index: {second}"
            raise NoSuiteError(message) from second
    return next(folder.glob("*.deb"))


def _unpacked(package: Path, folder: Path) -> Path:
    """Unpack the package and return the folder in it that holds the tests."""
    _run(folder, "dpkg-deb", "--extract", str(package), "unpacked")
    found = [tests for tests in folder.glob("unpacked/usr/lib/python3.*/test") if _holds_the_tests(tests)]
    if not found:
        message = f"{package.name} does not hold the tests"
        raise NoSuiteError(message)
    return found[0]


def _run(folder: Path, tool: str, *arguments: str) -> None:
    try:
        subprocess.run(  # noqa: S603  a tool of Debian with arguments of this file
            [tool, *arguments],
            capture_output=True,
            check=True,
            cwd=folder,
            env=os.environ | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=WAIT,
        )
    except subprocess.CalledProcessError as error:
        complaint = (error.stderr.strip() or f"status {error.returncode}").splitlines()[-1]
        message = f"{tool} says: {complaint}"
        raise NoSuiteError(message) from error
    except subprocess.TimeoutExpired as error:
        message = f"{tool} did not end within {WAIT:.0f} s"
        raise NoSuiteError(message) from error
