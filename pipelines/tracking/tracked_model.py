"""A saved predictor as the request that will make it an MLflow model: what is asked for, and a hash that says whether it changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.tracking.journal import file_sha256, replace_file
from pipelines.tracking.provenance import versions

# What the prediction side of the package imports. qfleet itself is not listed: it is on no index, and a requirement by bare name
# would make `mlflow models` fetch whatever someone else may publish under that name. Its code goes along (see `model_code`), and
# MLmodel's metadata says which version it was.
PREDICTION_REQUIREMENTS = (
    "mlflow",
    "cirq-core",
    "numba",
    "numpy",
    "pandas",
    "pydantic",
    "scipy",
)


def model_request(
    run_dir: Path,
    folder: Path,
    *,
    name: str,
    feature_names: Sequence[str],
    example_features: np.ndarray,
    example_predictions: Mapping[str, np.ndarray],
    requirements: Sequence[str],
    git_commit: str | None,
) -> dict[str, Any]:
    """What `MlflowStore.log_model` needs, JSON-able, so that another process can send it too; see `Tracker.log_model`."""
    request: dict[str, Any] = {
        "name": name,
        "folder": str(_kept_folder(run_dir, folder)),
        "feature_names": list(feature_names),
        "example": np.asarray(example_features, np.float64).tolist(),
        "outputs": {key: _column_type(values) for key, values in example_predictions.items()},
        "requirements": [f"{key}=={value}" for key, value in versions(tuple(requirements)).items()],
        "metadata": {"qfleet": versions(("qfleet",)).get("qfleet", "unknown")},
    }
    if git_commit:
        request["metadata"]["git_commit"] = git_commit
    return request | {"sha256": _sha256(run_dir, request)}


def _kept_folder(run_dir: Path, folder: Path) -> Path:
    """Where the predictor lies, relative to the run's folder; it is copied there if it lies outside."""
    run_dir = run_dir.absolute()
    if not folder.absolute().is_relative_to(run_dir):
        kept = run_dir / "model"
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                replace_file(kept / path.relative_to(folder), path.read_bytes())
        return Path("model")
    return folder.absolute().relative_to(run_dir)


def _sha256(run_dir: Path, request: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode())
    folder = run_dir / request["folder"]
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder).as_posix()} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _column_type(values: np.ndarray) -> str:
    """MLflow's name for the type of an output column."""
    kind = np.asarray(values).dtype.kind
    return {"f": "double", "i": "long", "u": "long", "b": "boolean"}.get(kind, "string")
