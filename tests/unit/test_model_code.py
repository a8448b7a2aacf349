"""The code that is shipped with a logged model: enough to predict where qfleet is not installed, and no more."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np

from orchestrator.config import TrainingConfig
from pipelines.run_setup import prepare_run
from pipelines.tracking.model_code import code_files, write_code

PREDICT = """
import sys
sys.meta_path = [each for each in sys.meta_path if "__editable__" not in getattr(each, "__module__", "")]
sys.path[0] = sys.argv[1]
import numpy as np
from pipelines.predictor import Predictor
predictor = Predictor.load(sys.argv[2])
np.save(sys.argv[3], predictor.outputs(np.load(sys.argv[4])))
ours = [m.__file__ for n, m in sys.modules.items() if n.split(".")[0] in ("pipelines", "actors", "orchestrator") and m.__file__]
assert ours and all(file.startswith(sys.argv[1]) for file in ours), ours
"""


def test_the_shipped_code_predicts_alone_and_to_the_same_bits(tmp_path: Path) -> None:
    config = TrainingConfig().with_overrides(
        [
            "data.name=iris",
            "data.n_components=2",
            "model.n_qubits=2",
            "model.n_layers=1",
            "loss.name=cross_entropy",
        ]
    )
    run = prepare_run(config)
    predictor = run.predictor(np.linspace(-1, 1, run.task.model.n_params))
    predictor.save(tmp_path / "model")
    rows = np.random.default_rng(0).normal(size=(5, 4))
    np.save(tmp_path / "rows.npy", rows)
    with zipfile.ZipFile(write_code(tmp_path / "code.zip")) as archive:
        archive.extractall(tmp_path / "code")
    arguments = [tmp_path / name for name in ("code", "model", "answers.npy", "rows.npy")]
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, *map(str, arguments)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert np.array_equal(np.load(tmp_path / "answers.npy"), predictor.outputs(rows))


def test_it_is_small_whole_where_it_must_be_and_the_same_each_time(tmp_path: Path) -> None:
    names = set(code_files())
    root = Path(__file__).parents[2]
    digested = {path.relative_to(root).as_posix() for path in (root / "actors/simulation").rglob("*.py")}
    assert digested <= names, "the cache of compiled kernels goes by all of these"
    assert {"pipelines/predictor.py", "orchestrator/losses/__init__.py"} <= names
    assert not [
        name for name in names if name.startswith(("actors/ray_fleet", "actors/ionq", "pipelines/tracking"))
    ]
    one, two = write_code(tmp_path / "1.zip"), write_code(tmp_path / "2.zip")
    assert one.read_bytes() == two.read_bytes()
    assert one.stat().st_size < 600_000
