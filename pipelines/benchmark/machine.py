"""What the figures were measured on, and what else it was doing."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

BUSY_LOAD = 0.5
"""Load average a core before the first measurement above which the figures are not to be trusted."""


def describe() -> dict[str, Any]:
    """Processor, cores, versions and load average, as plain values."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: _version(package) for package in ("numpy", "numba", "cirq-core")},
        "load_average": load_average(),
    }


def load_average() -> float | None:
    """Runnable processes over the last minute, None where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def warning(machine: dict[str, Any]) -> str | None:
    """One line if the machine was busy with something else, None if it was quiet."""
    load, cores = machine["load_average"], machine["cores"] or 1
    if load is None or load <= BUSY_LOAD * cores:
        return None
    return (
        f"the load average is {load:.1f} on {cores} cores: something else is running, so take ratios within "
        "this run for what they are and repeat it on a quiet machine"
    )


def peak_rss_mib() -> float:
    """The most memory this process has held, in MiB.

    Linux keeps the figure of ``getrusage`` over exec, so that a child would report its parent's peak; VmHWM is its own.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
