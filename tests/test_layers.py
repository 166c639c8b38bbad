"""Imports point one way: read from the source, so that an edge nobody meant is seen before it is depended on."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dask_ferris"
CORE = ROOT / "native" / "crates" / "ferris-core" / "src"

LAYERS = (
    {"exceptions", "typing"},
    {
        "_appends",
        "_arguments",
        "_warn",
        "_blas",
        "_callbacks",
        "_cull",
        "_foreign_pool",
        "_persist",
        "_report",
        "_results",
        "_team",
    },
    {"_batch", "_memory", "_policy", "_recover", "_schedulers", "_native"},
    {"_assign", "_options", "_timer", "_future"},
    {"_graph", "_check", "_pool"},
    {"_watched", "_executor", "_process", "_worker"},
    {"_governed"},
    {"_work"},
    {"_run"},
    {"_completed"},
    {"reductions", "testing", "executor"},
    {"local", "flow", "qc", "cluster", "diagnostics", "integrations"},
    {"__init__"},
)
"""The rooms of the package, lowest first: a room imports from the layers below its own.

Rooms that are not built yet are listed where they will stand. A new room is a decision: it gets its place here.
"""

LAYER_OF = {room: level for level, layer in enumerate(LAYERS) for room in layer}

CORE_MUST_NOT_USE = {
    "pool": {"graph", "rank", "ready", "run"},
    "graph": {"pool", "run", "ready", "width", "bell", "deque"},
    "rank": {"pool", "run", "ready", "width", "bell", "deque"},
    "queue": {"sync", "crew", "pool", "graph", "run"},
    "crew": {"graph", "run", "ready", "width", "stage"},
}
"""In the core `pool` knows no graphs, `graph` knows no threads, and `run` joins the two."""


UNSEEN_BY_LOOM = re.compile(r"\bstd::sync\b(?:::\w+)?|\bstd::thread::(?:park|spawn)\w*|\bloom::|\bcrossbeam_deque\b")

HARMLESS = {
    # Set once, with a lock of `sync` held.
    "ready": {"std::sync::OnceLock"},
    # What the locks of both libraries return for a poisoned lock: a type, not an operation.
    "dispatch": {"std::sync::PoisonError"},
    "pool": {"std::sync::PoisonError"},
}
"""What a module of the core may take from elsewhere than `sync` and `deque`."""


def sources():
    """Return every source file of the package, the stub of the native module among them."""
    return sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")])


def room_of(path):
    """Return the room a file belongs to: the first word of its path within the package."""
    return path.relative_to(PACKAGE).parts[0].partition(".")[0]


def imported_rooms(path):
    """Yield the rooms that a file imports from anywhere in it, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        match node:
            case ast.Import(names=names):
                yield from (room_named(alias.name) for alias in names if is_ours(alias.name))
            case ast.ImportFrom(level=0, module="dask_ferris", names=names):
                yield from (alias.name if alias.name in LAYER_OF else "__init__" for alias in names)
            case ast.ImportFrom(level=0, module=module) if is_ours(module):
                yield room_named(module)
            case ast.ImportFrom(level=level) if level > 0:
                pytest.fail(f"{path.name}:{node.lineno}: write the import from dask_ferris, not a relative one")


def is_ours(module):
    """Tell whether a dotted name is the package or lies within it."""
    return module.partition(".")[0] == "dask_ferris"


def room_named(module):
    """Return the room of a dotted name; the bare package is its facade."""
    return [*module.split("."), "__init__"][1]


def test_every_room_has_its_place():
    """Each module of the package stands in exactly one layer."""
    rooms = [room for layer in LAYERS for room in layer]
    assert sorted(set(rooms)) == sorted(rooms)
    assert set() == {room_of(path) for path in sources()} - set(rooms)


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path):
    """A module imports only from layers below its own, or from its own sub-package."""
    own = room_of(path)
    upward = {room for room in imported_rooms(path) if room != own and LAYER_OF[room] >= LAYER_OF[own]}
    assert set() == upward


def core_modules():
    """Return the files of the core that hold a module."""
    return sorted(path for path in CORE.rglob("*.rs") if path.name != "lib.rs")


def code_of(path):
    """Return a Rust file without its comments."""
    return re.sub(r"//.*", "", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(CORE_MUST_NOT_USE))
def test_core_modules_know_their_own_job_alone(name):
    """The modules of the core name none of those that they must not know."""
    files = [*CORE.glob(f"{name}.rs"), *CORE.glob(f"{name}/*.rs")]
    used = set().union(*(re.findall(r"\bcrate::(\w+)", code_of(path)) for path in files))
    assert files
    assert set() == used & CORE_MUST_NOT_USE[name]


@pytest.mark.parametrize(
    "path",
    [path for path in core_modules() if path.stem not in {"sync", "deque"}],
    ids=lambda path: str(path.relative_to(CORE)),
)
def test_core_takes_locks_and_deques_from_one_place(path):
    """Atomics, locks and deques come from `sync` and `deque` alone, so that loom sees every operation."""
    assert set() == set(re.findall(UNSEEN_BY_LOOM, code_of(path))) - HARMLESS.get(path.stem, set())
