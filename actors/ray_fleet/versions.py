"""Versions on both sides of a call: what must be the same for jobs to be read and for bits to agree, and how a difference is told."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
import re
from collections.abc import Mapping
from pathlib import Path

import ray

_PACKAGES = {"numpy": "numpy", "numba": "numba", "cirq": "cirq-core"}
"""Whose releases may change results in the last bit, or how an array is pickled; by what people call them."""
_ROOM = Path(__file__).parents[2]
_SOURCES = ("orchestrator", "actors")
SOURCE = "qfleet's source"
"""Name of the digest among the versions."""


@functools.cache
def versions() -> dict[str, str]:
    """Of this process: Python, Ray, qfleet and the packages that decide bits."""
    found = {"Python": platform.python_version(), "ray": str(ray.__version__)}
    for name, distribution in (_PACKAGES | {"qfleet": "qfleet"}).items():
        try:
            found[name] = importlib.metadata.version(distribution)
        except (
            importlib.metadata.PackageNotFoundError
        ):  # qfleet in a Ray job's working directory, not installed
            found[name] = "not installed"
    return found


def source_digest() -> str:
    """16 hex digits of the files that jobs are computed with, as they are on disk now (8 ms)."""
    digest = hashlib.blake2b(digest_size=8)
    for package in _SOURCES:
        for path in sorted((_ROOM / package).rglob("*.py")):
            digest.update(path.relative_to(_ROOM).as_posix().encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def mismatch(driver: Mapping[str, str], worker: Mapping[str, str], node: str) -> str | None:
    """Why a worker on `node` must not compute for this driver, in words; None: it may."""
    found = _difference(driver, worker)
    if found is None:
        return None
    name, ours, theirs = found
    if name == SOURCE:
        return (
            f"the worker on node {node} has other source files of qfleet than the driver (digest {theirs} there, {ours} here): "
            "bring the same revision there"
        )
    return f"the worker on node {node} has {name} {theirs}, the driver {ours}: install the same constraints.txt there"


def fleet_mismatch(run: Mapping[str, str], server: Mapping[str, str], fleet: str) -> str | None:
    """Why a run must not use the fleet of that name, in words; None: it may."""
    found = _difference(run, server)
    if found is None:
        return None
    name, ours, theirs = found
    if name == SOURCE:
        return (
            f"the fleet {fleet!r} was started with other source files of qfleet than this run has (digest {theirs} there, {ours} here): "
            "bring both to the same revision, and start the fleet again"
        )
    return f"the fleet {fleet!r} has {name} {theirs}, this run {ours}: install the same constraints.txt on both, and start the fleet again"


def _difference(ours: Mapping[str, str], theirs: Mapping[str, str]) -> tuple[str, str, str] | None:
    """The first that differs: its name, ours and theirs.

    qfleet that is installed on one side and in the working directory on the other is told apart by its source alone.
    """
    for name, here in ours.items():
        there = theirs.get(name, "not installed")
        if there != here and not (name == "qfleet" and "not installed" in (here, there)):
            return name, here, there
    return None


def told_by_ray(text: str) -> str | None:
    """What Ray's own refusal of a cluster with other versions comes to; None: the error is another one."""
    pairs = re.findall(r"Ray:\s*(\S+)\s+Python:\s*(\S+)", text)
    if "ersion mismatch" not in text or len(pairs) != 2:
        return None
    (their_ray, their_python), (our_ray, our_python) = pairs
    return (
        f"the cluster runs Ray {their_ray} on Python {their_python}, this process Ray {our_ray} on Python {our_python}: "
        "install the same constraints.txt, for the same Python, on both"
    )
