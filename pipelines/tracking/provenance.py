"""Where a run comes from: commit, job, machine and versions."""

from __future__ import annotations

import functools
import getpass
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

PACKAGES = (
    "qfleet",
    "cirq-core",
    "cirq-ionq",
    "mlflow",
    "numba",
    "numpy",
    "pandas",
    "pyarrow",
    "ray",
    "scikit-learn",
    "scipy",
)
# Settings that change speed or results; none of them can hold a credential.
_ENVIRONMENT = re.compile(
    r"^(OMP|MKL|OPENBLAS|NUMBA)_NUM_THREADS$|^PYTHONHASHSEED$|^CUDA_VISIBLE_DEVICES$|^CI$"
)


def git_commit(folder: str | Path | None = None) -> tuple[str, bool] | None:
    """Commit of the working tree that `folder` (by default: this package) is the root of, and whether it was changed.

    None where there is no such tree: an installed package that merely lies inside someone else's repository has no commit.
    """
    root = Path(folder).resolve() if folder else Path(__file__).resolve().parents[2]
    top = _git(root, "rev-parse", "--show-toplevel")
    commit = _git(root, "rev-parse", "HEAD")
    if top is None or commit is None or Path(top).resolve() != root:
        return None
    return commit, bool(_git(root, "status", "--porcelain", "--untracked-files=no"))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=5,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def versions(names: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Installed version by distribution name, without importing anything."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def ray_submission_id() -> str | None:
    """Id of the Ray job that this process is the driver of (``ray job submit``); None outside one."""
    try:
        job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", ""))["metadata"]["job_submission_id"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(job)


def provenance_tags(backend: str | None = None) -> dict[str, str]:
    """MLflow tags: who, what program, which commit, which Ray job, which versions."""
    job = ray_submission_id()
    tags = {
        "mlflow.source.name": Path(sys.argv[0] if sys.argv else "").name or "python",
        "mlflow.source.type": "JOB" if job else "LOCAL",
        "qfleet.version": versions(("qfleet",)).get("qfleet", "unknown"),
    }
    if user := _user():
        tags["mlflow.user"] = user
    if found := git_commit():
        tags["mlflow.source.git.commit"] = found[0]
        if found[1]:
            tags["git.dirty"] = "true"
    if job:
        tags["ray.job_id"] = job
    if backend:
        tags["backend"] = backend
    return tags


def environment_text() -> str:
    """A text from which the machine and the installation can be told apart from others, and the latter rebuilt."""
    commit = git_commit()
    lines = [
        f"python {platform.python_version()} ({platform.python_implementation()})",
        f"platform {platform.platform()}",
        f"machine {platform.machine()}, {os.cpu_count()} CPUs{_memory()}",
        f"qfleet commit {commit[0] + (' (changed)' if commit[1] else '') if commit else 'not from a repository'}",
    ]
    lines += [f"{name}={os.environ[name]}" for name in sorted(os.environ) if _ENVIRONMENT.match(name)]
    return "\n".join([*lines, "", "# installed distributions", *_distributions(), ""])


@functools.cache
def _distributions() -> tuple[str, ...]:
    """Name and version of each, read once a process: a file of each is parsed, which takes longer than a small training."""
    found = (each.metadata for each in importlib.metadata.distributions())
    names = {f"{each['Name']}=={each['Version']}" for each in found if each["Name"]}
    return tuple(sorted(names, key=str.lower))


def _memory() -> str:
    try:
        return f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB memory"
    except (ValueError, OSError):
        return ""


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None
