"""Estimators in folders: bit-equal after a reload, nothing unpickled, nothing else taken for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from orchestrator.config import BackendConfig
from orchestrator.errors import CheckpointError
from pipelines.frontends import (
    QuantumAutoencoder,
    QuantumClassifier,
    QuantumKernelClassifier,
    QuantumRegressor,
)
from pipelines.frontends.scikit.refusals import SampleError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 4)) * [1.0, 10.0, 0.1, 5.0]
SIDES = X[:, 0] + X[:, 2] > 0
QUICK: dict[str, Any] = {"n_layers": 1, "epochs": 2}

CASES = [
    (QuantumClassifier(random_state=np.random.RandomState(1), validation_fraction=0.2, **QUICK), np.where(SIDES, "ja", "nein")),
    (QuantumClassifier(2, feature_map="angle", shots=50, entanglement=[[0, 1]], **QUICK), np.arange(30) % 3),
    (QuantumRegressor(options={"model.output_scale": 2.0}, backend=BackendConfig(name="noisy"), **QUICK), X[:, 1]),
    (QuantumKernelClassifier(2), SIDES),
    (QuantumKernelClassifier(2, kernel="fidelity"), np.array(["a", "b", "c"], object)[np.arange(30) % 3]),
    (QuantumAutoencoder(1, 2, **QUICK), None),
]  # fmt: skip


@pytest.mark.parametrize(("estimator", "y"), CASES)
def test_predicts_the_same_bits_after_a_reload(estimator: Any, y: Any, tmp_path: Path) -> None:
    folder = estimator.fit(X, y).save(tmp_path / "saved")
    for path in folder.rglob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:  # raises where there is a pickle
            assert all(arrays[name].dtype != object for name in arrays.files)
    again = type(estimator).load(folder)
    for method in ("predict", "decision_function", "predict_proba", "transform", "score_samples"):
        if hasattr(estimator, method):
            ours, theirs = getattr(estimator, method)(X), getattr(again, method)(X)
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype
    left_out = {"random_state", "backend", "entanglement"}
    params, before = again.get_params(), estimator.get_params()
    assert {k: v for k, v in params.items() if k not in left_out} == {
        k: v for k, v in before.items() if k not in left_out
    }
    assert params["random_state"] == estimator.seed_
    again.fit(X, y)  # what was loaded can be fitted anew


def test_names_and_curves_are_kept_and_consent_is_not(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    found = QuantumClassifier(validation_fraction=0.2, folder=tmp_path / "book", yes_spend_usd=5.0, **QUICK)
    found.fit(frame, SIDES).save(tmp_path / "m")
    again = QuantumClassifier.load(tmp_path / "m")
    assert again.feature_names_in_.tolist() == list("abcd")
    assert again.n_features_in_ == 4
    assert (again.loss_curve_, again.validation_curve_) == (found.loss_curve_, found.validation_curve_)
    assert (again.n_iter_, again.used_, again.classes_.dtype) == (2, found.used_, np.bool_)
    assert again.yes_spend_usd is None
    with pytest.warns(UserWarning, match="feature names"):
        again.predict(X)


def test_refuses_what_it_has_not_written(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        QuantumClassifier().save(tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"no saved estimator: there is no estimator\.json"):
        QuantumClassifier.load(tmp_path)
    found = QuantumClassifier(**QUICK).fit(X, SIDES)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="other files"):
        found.save(tmp_path / "mine")
    folder = found.save(tmp_path / "m")
    found.save(folder)  # over itself
    with pytest.raises(
        CheckpointError, match=r"holds a QuantumClassifier: load it with QuantumClassifier\.load"
    ):
        QuantumRegressor.load(folder)

    arrays = (folder / "estimator.npz").read_bytes()
    (folder / "estimator.npz").write_bytes(arrays[:-1] + b"?")
    with pytest.raises(CheckpointError, match="damaged"):
        QuantumClassifier.load(folder)
    (folder / "estimator.npz").write_bytes(arrays)
    about = json.loads((folder / "estimator.json").read_text())
    for change in ({"format": 99}, {"params": {"no_such": 1}}, {"plain": {}}):
        (folder / "estimator.json").write_text(json.dumps(about | change))
        with pytest.raises(CheckpointError):
            QuantumClassifier.load(folder)
    (folder / "estimator.json").write_text("{")
    with pytest.raises(CheckpointError):
        QuantumClassifier.load(folder)


def test_labels_that_json_does_not_hold_are_refused(tmp_path: Path) -> None:
    labels = np.array(["2026-01-01", "2026-01-02"], "M8[D]")[SIDES.astype(int)]
    found = QuantumClassifier(**QUICK).fit(X, labels)
    with pytest.raises(SampleError, match="type date"):
        found.save(tmp_path / "m")
