"""Files written by released versions stay readable: a run interrupted half-way is evaluated and resumed to what it came to then.

``run-1`` was written by version 0.1.0 (iris, three classes, frozen parameters, weight decay, clipping, cosine schedule, exact) and
stopped by an interrupt after step 7; ``expected.json`` is what its resumption gave. A change of format adds a folder here and
touches none.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines import Trainer
from pipelines.predictor import Predictor
from pipelines.tracking.journal import read_history

GOLDEN = Path(__file__).parent
RUNS = sorted(path.name for path in GOLDEN.glob("run-*"))
LAST_PLACES = 1e-9  # another processor may round sines differently; a dozen steps do not amplify that to more


@pytest.mark.parametrize("name", RUNS)
def test_an_old_run_resumes(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    shutil.copytree(GOLDEN / name, folder)
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    result = Trainer.resume(str(folder), progress=False).fit()
    np.testing.assert_allclose(result.params, expected["params"], rtol=0, atol=LAST_PLACES)
    assert result.metrics == pytest.approx(expected["metrics"], abs=LAST_PLACES)
    assert (result.totals.n_circuits, result.totals.n_shots) == (expected["circuits"], expected["shots"])
    steps = [step for step, _ in read_history(folder / "metrics.jsonl")["train/loss"]]
    assert steps == list(range(1, result.n_steps + 1)), "the old journal goes on"


@pytest.mark.parametrize("name", RUNS)
def test_an_old_model_predicts(name: str) -> None:
    predictor = Predictor.load(GOLDEN / name / "model")
    table = predictor.predict_table(np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]))
    assert set(table["prediction"]) <= set(predictor.class_names or ())
    total = sum(table[f"probability_{label}"] for label in predictor.class_names or ())
    np.testing.assert_allclose(total, 1.0, atol=1e-12)
