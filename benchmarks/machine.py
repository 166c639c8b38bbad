"""What a report says about the machine and the versions it was made with."""

from __future__ import annotations

import datetime as dt
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = ("dask-ferris", "dask", "numpy", "pandas", "pyarrow", "pyferris", "joblib")


def describe() -> dict[str, str]:
    """Date, machine and versions, without anything that names the machine or its owner."""
    facts = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": f"{_cpu_model()}, {os.cpu_count()} CPUs, {psutil.virtual_memory().total / 2**30:.0f} GiB of memory",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    return facts | {package: _version(package) for package in PACKAGES}


def load() -> str:
    """The load average of the last minute: 0 would be a machine with nothing to do."""
    return f"{os.getloadavg()[0]:.1f}"


def _cpu_model() -> str:
    """The name Linux gives the processor, which `platform.processor()` leaves out there."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
