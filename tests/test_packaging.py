"""The package as users get it: what is tested is the installed one, and wheel and sdist install and work elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import dask_ferris
import dask_ferris._native

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
SMOKE = Path(__file__).with_name("smoke.py")
SMOKE_OUTPUT = ["get", "callable", "name", "error", "statistics", "without NumPy"]

INSTALL_TIMEOUT = 600.0
"""Seconds: generous, for a compiler and an installer on a busy machine; reached only by what hangs."""

packaging = pytest.mark.packaging
slow = pytest.mark.timeout(2 * INSTALL_TIMEOUT, method="thread")


@pytest.mark.parametrize("module", [dask_ferris, dask_ferris._native], ids=lambda module: module.__name__)
def test_the_installed_package_is_tested(module):
    """The tests import from the environment's site-packages, not from the source tree."""
    site_packages = Path(sysconfig.get_path("platlib")).resolve()
    assert Path(module.__file__).resolve().is_relative_to(site_packages)


@pytest.fixture(scope="module")
def wheel():
    """Return the wheel that `make wheel` has built for this Python."""
    tag = "cp{}{}".format(*sys.version_info)
    found = sorted((ROOT / "build" / "wheels").glob(f"dask_ferris-*-{tag}-{tag}-*.whl"))
    assert len(found) == 1, f"one wheel for {tag} is expected in build/wheels, by `make wheel`; there are {found}"
    return found[0]


@pytest.fixture(scope="module")
def members(wheel):
    """Return the files of the wheel, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@packaging
@pytest.mark.parametrize("name", ["py.typed", "_native.pyi", "ferris.yaml", "__init__.py", "exceptions.py"])
def test_wheel_holds_what_is_not_code(members, name):
    """The wheel has the marker, stub and configuration that sit beside the modules."""
    assert (ROOT / "dask_ferris" / name).read_bytes() == members[f"dask_ferris/{name}"]


@packaging
def test_wheel_holds_the_native_module_and_the_licence(members):
    """The wheel has one native module, for this Python, and the licence."""
    native = [name for name in members if name.endswith(".so")]
    assert [f"dask_ferris/_native{sysconfig.get_config_var('EXT_SUFFIX')}"] == native
    licences = [content for name, content in members.items() if name.endswith(".dist-info/licenses/LICENSE")]
    assert [(ROOT / "LICENSE").read_bytes()] == licences


@packaging
def test_wheel_holds_nothing_else(members):
    """Neither tests nor Rust sources nor leftovers are installed for users."""
    assert {"dask_ferris"} == {name.partition("/")[0] for name in members if ".dist-info/" not in name}
    assert set() == {name for name in members if name.endswith((".rs", ".pyc"))}


@packaging
def test_wheel_names_no_folder_of_this_machine(members):
    """Neither the project's folder nor the home of the one who built it is in any file of the wheel."""
    folders = {ROOT, Path.home(), Path(os.environ.get("CARGO_HOME", Path.home()))}
    found = {(name, path) for name, content in members.items() for path in folders if f"{path}/".encode() in content}
    assert set() == found


@packaging
@slow
def test_wheel_works_in_a_fresh_environment(wheel, tmp_path):
    """The wheel installs with its dependencies alone, and what it promises works there."""
    python = fresh_environment(tmp_path)
    install(python, wheel)
    assert SMOKE_OUTPUT == smoke(python)


@packaging
@slow
def test_sdist_builds_and_works_in_a_fresh_environment(tmp_path):
    """The sdist holds all that a build needs: it builds with nothing of this tree, installs, and works."""
    run([sys.executable, "-m", "maturin", "sdist", "--out", tmp_path], CARGO_TARGET_DIR=str(tmp_path / "target"))
    (sdist,) = tmp_path.glob("dask_ferris-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "native/Cargo.lock"} - names == set()
    python = fresh_environment(tmp_path)
    install(python, sdist)
    assert SMOKE_OUTPUT == smoke(python)


def fresh_environment(folder):
    """Make a virtual environment and return its Python."""
    run([sys.executable, "-m", "venv", folder / "venv"])
    return folder / "venv" / "bin" / "python"


def install(python, package):
    """Install a wheel or an sdist with its dependencies."""
    options = ["--disable-pip-version-check", "--quiet", "--constraint", CONSTRAINTS]
    run([python, "-I", "-m", "pip", "install", *options, package])


def smoke(python):
    """Run the smoke tests with this Python and return the lines they print."""
    return run([python, "-I", SMOKE]).splitlines()


def run(command, **variables):
    """Run a command as a user's shell would, without what the Makefile sets for its builds; return what it prints."""
    ours = {"CARGO_TARGET_DIR", "PYO3_PYTHON", "RUSTFLAGS"}
    env = {name: value for name, value in os.environ.items() if name not in ours} | variables
    done = subprocess.run(  # noqa: S603  the commands are those of this file
        command,
        check=False,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
