"""RunFolder: making, finding, locking, and what lies in it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.config import TrainingConfig
from orchestrator.errors import CheckpointError, InputError
from pipelines.run_folder import RunFolder, read_arrays, write_arrays

ROOT = Path(__file__).parents[2]


def make_config(tmp_path: Path, **run: Any) -> TrainingConfig:
    return TrainingConfig.from_dict({"run": {"directory": str(tmp_path / "runs"), **run}})


def make_run(tmp_path: Path, **run: Any) -> RunFolder:
    config = make_config(tmp_path, **run)
    folder = RunFolder.create(config)
    folder.write_config(config)
    return folder


def test_create_by_name_or_by_data_and_time(tmp_path: Path) -> None:
    assert make_run(tmp_path, name="mine").path == tmp_path / "runs" / "mine"
    first, second = make_run(tmp_path), make_run(tmp_path)
    assert first.name.startswith("breast-cancer-20")
    assert first.name != second.name
    config = TrainingConfig.from_dict(
        {"run": {"directory": str(tmp_path)}, "data": {"path": "some/My data!.csv", "target": "y"}}
    )
    assert RunFolder.create(config).name.startswith("My-data-20")


def test_create_refuses_what_is_there_and_what_cannot_be(tmp_path: Path) -> None:
    make_run(tmp_path, name="mine")
    with pytest.raises(InputError, match=r"run\.name = 'mine'.*exists.*qfleet resume mine"):
        make_run(tmp_path, name="mine")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"run\.directory"):
        RunFolder.create(TrainingConfig.from_dict({"run": {"directory": str(tmp_path / "file")}}))


def test_create_takes_a_folder_that_never_became_a_run(tmp_path: Path) -> None:
    left = tmp_path / "runs" / "mine"
    (left / "model").mkdir(parents=True)
    (left / "model" / "structure.json").write_text("{")
    (left / ".lock").write_text("123")
    assert make_run(tmp_path, name="mine").path == left
    other = tmp_path / "runs" / "other"
    (other / "data").mkdir(parents=True)
    (other / "data" / "measured.csv").write_text("")
    with pytest.raises(InputError, match="exists"):
        make_run(tmp_path, name="other")


def test_path_and_name_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path, name="mine")
    monkeypatch.chdir(folder.path)
    here = RunFolder(Path("."))
    assert (here.path, here.name) == (folder.path, "mine")


def test_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    old, new = make_run(tmp_path, name="MyRun-A"), make_run(tmp_path, name="other")
    os.utime(old.path / "config.toml", (1, 1))
    (runs / "not-a-run").mkdir()
    new.write_json("tracking.json", {"run_id": "abc123"})
    for wanted, found in [
        ("latest", new), ("MyRun-A", old), ("other", new), ("abc123", new), (str(old.path), old),
    ]:  # fmt: skip
        assert RunFolder.find(wanted, str(runs)).path == found.path
    monkeypatch.chdir(runs)
    assert RunFolder.find("./other", "elsewhere").path == new.path
    with pytest.raises(InputError, match="did you mean 'MyRun-A'"):
        RunFolder.find("myrun-b", str(runs))
    with pytest.raises(InputError, match="runs there: MyRun-A, other"):
        RunFolder.find("zzzzzzz", str(runs))
    for wanted in ("not-a-run", "", "None"):
        with pytest.raises(InputError, match="no run"):
            RunFolder.find(wanted, str(runs))
    with pytest.raises(InputError, match="none"):
        RunFolder.find("latest", str(tmp_path / "nowhere"))


@pytest.mark.parametrize("content", ["", "[]", "{", '{"run_id": null}', "{}"])
def test_run_that_was_not_tracked(content: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path, name="mine")
    assert folder.mlflow_run_id is None
    (folder.path / "tracking.json").write_text(content)
    assert folder.mlflow_run_id is None


def test_config_round_trips(tmp_path: Path) -> None:
    config = make_config(tmp_path, name="mine", epochs=3).with_overrides(
        ["model.observables=['Z0', 'X1']", "tracking.tags={a='ü'}"]
    )
    folder = RunFolder.create(config)
    folder.write_config(config)
    assert folder.read_config() == config


def test_json(tmp_path: Path) -> None:
    folder = make_run(tmp_path, name="mine")
    folder.write_json(
        "deep/er.json", {"a": np.float64(0.1), "b": np.int64(3), "c": np.arange(2), "d": np.bool_(True)}
    )
    assert folder.read_json("deep/er.json") == {"a": 0.1, "b": 3, "c": [0, 1], "d": True}
    with pytest.raises(TypeError, match="object is not JSON-able"):
        folder.write_json("deep/er.json", {"a": object()})
    assert folder.read_json("deep/er.json")["b"] == 3, "a failed write leaves the old file"
    for content in ("", "{", "[]", "3"):
        (folder.path / "x.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"x\.json"):
            folder.read_json("x.json")
    with pytest.raises(CheckpointError):
        folder.read_json("missing.json")


def test_finished_by_its_result(tmp_path: Path) -> None:
    folder = make_run(tmp_path, name="mine")
    assert not folder.is_finished
    folder.write_json("result.json", {})
    assert not folder.is_finished, "figures that are not whole are found again"
    folder.write_json("result.json", {"metrics": {}, "circuits": 1, "shots": 0, "cost_usd": 0.0})
    assert folder.is_finished


def test_lock_keeps_other_processes_out_until_the_end(tmp_path: Path) -> None:
    folder = make_run(tmp_path, name="mine")
    code = textwrap.dedent(
        f"""
        import sys, time
        from pathlib import Path
        from pipelines.run_folder import RunFolder
        folder = RunFolder(Path({str(folder.path)!r}))
        folder.lock()
        print("locked", flush=True)
        time.sleep(60)
        """
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "locked\n"
            with pytest.raises(InputError, match=rf"driven by another process \(pid {other.pid}\)"):
                folder.lock()
        finally:
            other.kill()
    folder.lock()  # a killed process holds nothing
    with pytest.raises(InputError, match=str(os.getpid())):
        RunFolder(folder.path).lock()
    folder.unlock()
    again = RunFolder(folder.path)
    again.lock()
    again.unlock()
    folder.unlock()


DECISIVE_FILES = (
    "model/structure.json",
    "model/structure.npz",
    "data/splits.npz",
    "data/preprocessing.npz",
    "data/about.json",
)


def fingerprint(folder: RunFolder, config: TrainingConfig) -> str:
    for name in DECISIVE_FILES:
        path = folder.path / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_text(name)
    folder.write_config(config)
    return folder.fingerprint()


def test_fingerprint_is_of_what_decides_the_numbers(tmp_path: Path) -> None:
    folder, base = make_run(tmp_path, name="mine"), make_config(tmp_path)
    same = fingerprint(folder, base)
    for harmless in (
        "fleet.n_actors=7",
        "run.name=x",
        "run.directory=y",
        "checkpoint.keep=1",
        "tracking.enabled=false",
    ):
        assert fingerprint(folder, base.with_overrides([harmless])) == same
    changed = [
        fingerprint(folder, base.with_overrides([override]))
        for override in (
            "run.seed=8", "run.batch_size=3", "model.n_layers=3", "data.angle_scale=0.5", "gradient.rule=adjoint", "loss.name=mse",
            "optimizer.learning_rate=0.1", "backend.shots=100",
        )
    ]  # fmt: skip
    for name in DECISIVE_FILES:
        before = (folder.path / name).read_bytes()
        (folder.path / name).write_bytes(before + b"!")
        changed.append(fingerprint(folder, base))
        (folder.path / name).write_bytes(before)
    assert len({same, *changed}) == 1 + len(changed)
    assert fingerprint(folder, base) == same


def test_a_key_of_a_later_version_leaves_the_fingerprint_alone(tmp_path: Path) -> None:
    folder, base = make_run(tmp_path, name="mine"), make_config(tmp_path)
    fingerprint(folder, base)
    path = folder.path / "config.toml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(
        "".join(line for line in lines if not line.startswith("initial_scale"))
    )  # as if it were not known then
    older = folder.fingerprint()
    assert folder.read_config().model.initial_scale == base.model.initial_scale
    assert folder.fingerprint() == older


def test_arrays_round_trip_and_equal_arrays_give_equal_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = {
        "train/features": np.random.default_rng(1).normal(size=(3, 2)),
        "empty": np.empty((0, 4)),
        "n": np.array([1, 2]),
    }
    write_arrays(tmp_path / "a" / "one.npz", arrays)
    later = time.time() + 1e7
    monkeypatch.setattr(time, "time", lambda: later)
    write_arrays(tmp_path / "two.npz", arrays)
    assert (tmp_path / "a" / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    back = read_arrays(tmp_path / "two.npz")
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


def test_damaged_or_planted_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write_arrays(path, {"a": np.arange(100.0)})
    whole = path.read_bytes()
    for content in (b"", whole[:50], whole[:-10], b"junk" * 10):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"x\.npz cannot be read"):
            read_arrays(path)
    np.savez(path, a=np.array([{}], object))
    with pytest.raises(CheckpointError, match="allow_pickle"):
        read_arrays(path)
    with pytest.raises(CheckpointError):
        read_arrays(tmp_path / "missing.npz")
