"""Measurements run in processes of their own, one thread on one core each, so that first call and peak memory are their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
"""The folder that holds the package `pipelines`: on the path of every child, whatever its interpreter has installed."""

_ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "QULACS_NUM_THREADS",
        "RAYON_NUM_THREADS",
    ),
    "1",
)


def run_child(python: str, module: str, arguments: Sequence[str], limit_seconds: float) -> dict[str, Any]:
    """The JSON object that ``python -m module arguments`` prints last, or ``{"error": one line}``."""
    try:
        done = subprocess.run(
            [python, "-m", module, *arguments],
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": _python_path(), "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            timeout=limit_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {limit_seconds:.0f} s"}
    except OSError as error:
        return {"error": f"{python} cannot be run: {error.strerror}"}
    lines = done.stdout.splitlines()
    if done.returncode == 0 and lines:
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer
    return {"error": _last_line(done.stderr) or f"ended with exit code {done.returncode}"}


def use_one_core() -> None:
    """Keep this process on one core where the system can: some libraries count cores rather than read a variable."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def answer(outcome: dict[str, Any]) -> None:
    """What a child says to its parent, on a line of its own after whatever libraries print."""
    sys.stdout.write(f"\n{json.dumps(outcome)}\n")


def one_line(error: BaseException) -> str:
    """Type and first line of an exception's text."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _python_path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else ""
