"""Run a program in a fresh interpreter, for what can only be seen at its start or its end."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

from gates import WAIT

if TYPE_CHECKING:
    from collections.abc import Mapping

IN_CHILD = f"""
    def in_child(function):
        import os, signal, sys
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm({int(WAIT)})  # a child that hangs is a deadlock, and ends
                status = 0 if function() else 2
            finally:
                sys.stdout.flush()
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
"""The part of a program that defines `in_child`, which calls a function in a fork.

It returns the status of the child: 0 when the function has returned something true, 2 something false, else 1.
"""

# The tests' interpreter may carry settings of Dask or Python that would decide what is tested.
_CLEARED = ("DASK_", "PYTHONWARNINGS", "PYTHONDEVMODE")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without settings of Dask and of warnings, with `extra` added."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_CLEARED)}
    return kept | dict(extra or {})


def run_program(
    source: str,
    *,
    options: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `source` in a fresh interpreter and return what it did.

    Args:
        source: The program; indentation common to all lines is removed.
        options: Options of the interpreter, before the program.
        env: Variables added to the environment.

    Raises:
        subprocess.TimeoutExpired: The program had not ended after `WAIT` seconds; it is killed.
    """
    # -P: the working directory is not importable, so that the installed package is tested, not the source tree.
    command = [sys.executable, "-P", *options, "-c", textwrap.dedent(source)]
    return subprocess.run(  # noqa: S603  the program is the test's own
        command,
        capture_output=True,
        check=False,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=WAIT,
    )


def output_of(
    source: str,
    *,
    options: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
) -> list[str]:
    """Run `source` and return the lines it printed; it must end with status 0 and a silent stderr."""
    done = run_program(source, options=options, env=env)
    story = f"status {done.returncode}\nstdout:\n{done.stdout}\nstderr:\n{done.stderr}"
    assert ("", 0) == (done.stderr, done.returncode), story
    return done.stdout.splitlines()
