"""Fitted estimators in folders of JSON and arrays, without pickle.

::

    estimator.json    kind, parameters, plain attributes, and the digests of the other files; written last
    estimator.npz     arrays
    model/            structure of the circuit, where there is one
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from orchestrator.errors import CheckpointError
from orchestrator.models.model import Model
from pipelines.frontends.scikit.refusals import SampleError
from pipelines.predictor import read_structure, write_structure
from pipelines.run_folder import RunFolder, read_arrays, write_arrays

_ABOUT, _ARRAYS, _MODEL = "estimator.json", "estimator.npz", "model"
_FORMAT = 1


class Saved(NamedTuple):
    """A fitted estimator as plain data.

    Attributes:
        kind: name of its class. params: of its constructor. plain: JSON-able attributes. arrays: by name.
        model: None where it has none.
    """

    kind: str
    params: Mapping[str, Any]
    plain: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    model: Model | None


def write_estimator(folder: str | Path, saved: Saved) -> Path:
    """Write `saved`; a folder that holds an estimator already is written over.

    Raises:
        CheckpointError: the folder holds other files, or cannot be written.
    """
    path = Path(folder).absolute()
    if path.is_dir() and any(path.iterdir()) and not (path / _ABOUT).is_file():
        raise CheckpointError(f"{path} holds other files: save the estimator in a folder of its own")
    try:
        if saved.model is not None:
            write_structure(path / _MODEL, saved.model)
        write_arrays(path / _ARRAYS, saved.arrays)
        about = {
            "format": _FORMAT,
            "kind": saved.kind,
            "params": saved.params,
            "plain": saved.plain,
            "files": {name: _digest(path / name) for name in _files(saved.model is not None)},
        }
        RunFolder(path).write_json(_ABOUT, about)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error}") from None
    return path


def read_estimator(folder: str | Path, kind: str) -> Saved:
    """What `write_estimator` wrote. Nothing is unpickled.

    Raises:
        CheckpointError: the folder holds no estimator, one of another kind, or files that are missing, damaged or of another one.
    """
    path = Path(folder).absolute()
    if not (path / _ABOUT).is_file():
        raise CheckpointError(f"{path} holds no saved estimator: there is no {_ABOUT} in it")
    about = RunFolder(path).read_json(_ABOUT)
    if about.get("format") != _FORMAT or not {"kind", "params", "plain", "files"} <= about.keys():
        raise CheckpointError(f"{path / _ABOUT} is not what this version of qfleet writes")
    if about["kind"] != kind:
        raise CheckpointError(f"{path} holds a {about['kind']}: load it with {about['kind']}.load")
    has_model = f"{_MODEL}/structure.json" in about["files"]
    if about["files"] != {name: _digest(path / name) for name in _files(has_model)}:
        raise CheckpointError(f"{path}: the files are damaged, or not all of the same estimator")
    arrays = read_arrays(path / _ARRAYS)
    model = read_structure(path / _MODEL) if has_model else None
    return Saved(kind, about["params"], about["plain"], arrays, model)


def labels_to_plain(labels: np.ndarray) -> dict[str, Any]:
    """Labels as JSON, with their type.

    Raises:
        SampleError: labels other than numbers, truth values and texts.
    """
    values = labels.tolist()
    if not all(isinstance(value, (bool, int, float, str)) for value in values):
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        raise SampleError(f"labels of the type {kinds} cannot be saved: use numbers or texts")
    return {"dtype": labels.dtype.str, "values": values}


def labels_from_plain(plain: Mapping[str, Any]) -> np.ndarray:
    """What `labels_to_plain` gave."""
    return np.array(plain["values"], np.dtype(plain["dtype"]))


def _files(has_model: bool) -> list[str]:
    of_model = [f"{_MODEL}/structure.json", f"{_MODEL}/structure.npz"] if has_model else []
    return [_ARRAYS, *of_model]


def _digest(path: Path) -> str | None:
    """SHA-256; None where there is no such file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
