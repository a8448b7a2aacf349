"""The README's Python examples run as they stand, on two Ray actors, with MLflow in the folder they are run in."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example(
    number: int,
    local_ray: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, (60, 2))
    if "import torch" in EXAMPLES[number]:
        pytest.importorskip("torch")
    names: dict = {"X": X, "t": np.cos(X[:, 0]), "labels": X[:, 0] > X[:, 1]}
    exec(compile(EXAMPLES[number], f"README example {number}", "exec"), names)
    if "classifier" in names:
        score, shape = capsys.readouterr().out.split(maxsplit=1)
        assert float(score) > 0.85
        assert shape.strip() == "torch.Size([32, 10])"
        return
    result = names["result"]
    assert result.stop_reason == "all epochs done"
    if number == 0:
        assert result.metrics["test/accuracy"] > 0.85
        printed = capsys.readouterr().out
        assert "benign" in printed or "malignant" in printed
