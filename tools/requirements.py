"""Print the run-time requirements and those of some groups or extras: `python tools/requirements.py GROUP ...`.

One list makes one resolver run per environment, and any pip reads it: `pip install --group` came with pip 25.1, which
the oldest supported Python does not bring.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(groups: list[str]) -> None:
    """Print the requirements, a line each."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    known = project["dependency-groups"] | project["project"]["optional-dependencies"]
    if unknown := sorted(set(groups) - set(known)):
        sys.exit(f"requirements: unknown {', '.join(unknown)}; allowed are {', '.join(sorted(known))}")
    wanted = set(project["project"]["dependencies"]).union(*(known[group] for group in groups))
    print(*sorted(wanted), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
