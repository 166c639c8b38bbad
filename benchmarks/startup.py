"""Start-up: imports and the first compute, each measured in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.sampling import Measure

FIRST_COMPUTE = "dask.delayed(abs)(-1).compute(scheduler={get})"

PROGRAMS = {
    "import dask": "import dask",
    "import dask_ferris": "import dask_ferris",
    "dask_ferris, first compute": f"import dask, dask_ferris; {FIRST_COMPUTE.format(get='dask_ferris.get')}",
    "threads, first compute": f"import dask, dask.threaded; {FIRST_COMPUTE.format(get='dask.threaded.get')}",
}

# The clock runs inside, so that the start and the end of the interpreter itself are nobody's cost.
SCRIPT = """
from time import perf_counter
started = perf_counter()
{program}
print(perf_counter() - started)
"""


def prepare_program(name: str) -> Measure:
    """The measure of one of `PROGRAMS`."""
    return partial(_time_in_fresh_interpreter, SCRIPT.format(program=PROGRAMS[name]))


def _time_in_fresh_interpreter(script: str) -> float:
    # Isolated (-I), so that neither the current folder nor the user's settings decide what is imported.
    command = [sys.executable, "-I", "-c", script]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own script
    return float(answer.stdout)
