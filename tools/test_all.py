"""Build a wheel and run the contract suite for each CPython found: `python tools/test_all.py MAKE VERSION ...`.

Each CPython gets its own environment and, but for the one that runs this, its own target folder, so that the builds
for two of them do not undo each other; the recipe is `make contract` for all.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import interpreters

if TYPE_CHECKING:
    from pathlib import Path


def main(make: str, versions: list[str]) -> int:
    """Run the suite for each version that is found and print what was used; the status is 1 when any fails."""
    found = {version: interpreters.find(version) for version in versions}
    outcomes = {version: _test(make, version, match) for version, match in found.items()}
    print("\nThe contract suite, by interpreter:")
    for version, outcome in outcomes.items():
        print(f"  CPython {version}: {outcome}")
    failed = [outcome for outcome in outcomes.values() if outcome.startswith("failed")]
    if all(match is None for match in found.values()):
        print("none of these interpreters was found, so nothing was tested", file=sys.stderr)
        return 1
    return 1 if failed else 0


def _test(make: str, version: str, match: tuple[str, Path] | None) -> str:
    if match is None:
        return "not found"
    full, path = match
    print(f"\nCPython {full} ({path}):", flush=True)
    own = version == "{}.{}".format(*sys.version_info)
    variables = {
        "PYTHON": str(path),
        "VENV": f"build/python-{version}",
        "TARGET": "build/target" if own else f"build/target-{version}",
    }
    command = [make, "contract", *(f"{name}={value}" for name, value in variables.items())]
    done = subprocess.run(command, check=False)  # noqa: S603  the command that runs this
    return f"{'failed' if done.returncode else 'passed'} with {full} ({path})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
