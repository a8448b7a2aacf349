"""A whole training run as users start it: the command in a fresh folder, and `Trainer` on a real Ray."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from orchestrator import TrainingConfig
from orchestrator.errors import CheckpointError, FleetError
from pipelines import Callback, Trainer, TrainingInterrupted
from pipelines.report import summary
from pipelines.run_setup import prepare_run
from tests.command import Command, run_command, start_command

pytestmark = pytest.mark.alone

CONFIGS = Path(__file__).parents[2] / "pipelines" / "configs"
QUICK = [
    "model.n_qubits=4",
    "data.n_components=4",
    "run.epochs=4",
    "run.batch_size=16",
    "data.max_samples=160",
    "checkpoint.every_steps=3",
    "tracking.enabled=false",
]


def qfleet(folder: Path, *arguments: str, expect: int = 0) -> dict:
    """Run the command in `folder` and return the JSON object it prints last."""
    return printed(run_command(folder, *arguments, "--json", expect=expect).stdout)


def new_qfleet(folder: Path, *arguments: str) -> dict:
    """The same in a new interpreter, as a user starts it: with imports of its own, and another order of sets."""
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return printed(done.stdout)


def printed(stdout: str) -> dict:
    """The JSON object, which is all that is printed there."""
    lines = stdout.strip().splitlines()
    assert len(lines) == 1, "stdout is for the JSON object alone"
    return json.loads(lines[-1])


def quick_config(tmp_path: Path, *overrides: str) -> TrainingConfig:
    """A small job, in this process unless overridden, with its runs under `tmp_path`."""
    base = TrainingConfig.from_toml(CONFIGS / "breast_cancer.toml")
    return base.with_overrides(
        [*QUICK, "fleet.dispatcher=serial", f"run.directory={tmp_path / 'runs'}", *overrides]
    )


@pytest.fixture(scope="module")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """The default job, whole, on two actors with MLflow in the folder: what `make train` runs."""
    folder = tmp_path_factory.mktemp("default")
    return folder, new_qfleet(
        folder, "train", str(CONFIGS / "breast_cancer.toml"), "--set", "run.name=default"
    )


def test_the_default_job_learns(default_run: tuple[Path, dict]) -> None:
    _, outcome = default_run
    assert outcome["metrics"]["test/accuracy"] >= 0.93
    assert outcome["steps"] == 30 * 13
    assert outcome["epochs"] == 30
    assert outcome["cost_usd"] == 0.0
    assert outcome["shots"] == 0
    assert outcome["best_loss"] <= outcome["metrics"]["val/loss"]
    assert outcome["seconds"]["train"] < outcome["seconds"]["total"]
    assert len(outcome["params_sha256"]) == 64


def test_the_run_is_whole_in_mlflow(default_run: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, outcome = default_run
    from mlflow import MlflowClient

    assert outcome["tracking_uri"] == f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(outcome["tracking_uri"])
    run = client.get_run(outcome["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["model.n_qubits"] == "8"
    assert run.data.params["model.n_params"] == "48"
    assert run.data.params["gradient.rule_used"] == "adjoint"
    assert run.data.metrics["test/accuracy"] == outcome["metrics"]["test/accuracy"]
    assert run.data.metrics["cost/circuits"] == outcome["circuits"], "validation and the final test included"
    assert run.data.tags["backend"] == "ideal"
    assert run.inputs.dataset_inputs
    per_step = {
        "train/loss",
        "train/gradient_norm",
        "cost/circuits",
        "cost/shots",
        "cost/usd",
        "fleet/utilisation",
    }
    for name in per_step:
        assert len(client.get_metric_history(run.info.run_id, name)) == outcome["steps"], name
    for name in ("val/loss", "val/accuracy", "fleet/cache_hit_rate", "time/epoch_seconds"):
        assert len(client.get_metric_history(run.info.run_id, name)) == outcome["epochs"], name
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {
        "config.toml",
        "training.png",
        "fleet_timeline.png",
        "circuit.png",
        "circuit.txt",
        "environment.txt",
    } <= files
    assert "checkpoint" in files


def test_the_logged_model_predicts_without_pickle(default_run: tuple[Path, dict]) -> None:
    folder, outcome = default_run
    script = f"""
import os
os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
import mlflow, pandas
from sklearn.datasets import load_breast_cancer
mlflow.set_tracking_uri({outcome["tracking_uri"]!r})
model = mlflow.pyfunc.load_model("runs:/{outcome["run_id"]}/model")
data = load_breast_cancer(as_frame=True)
table = model.predict(data.data[data.data.columns[::-1]])
names = data.target_names[data.target]
print((table["prediction"].to_numpy() == names).mean())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout.splitlines()[-1]) > 0.9


def test_evaluate_repeats_the_test_score(default_run: tuple[Path, dict]) -> None:
    folder, outcome = default_run
    again = qfleet(folder, "evaluate", "default")
    assert again["metrics"]["test/accuracy"] == outcome["metrics"]["test/accuracy"]
    assert again["metrics"]["test/loss"] == outcome["metrics"]["test/loss"]
    assert np.sum(again["confusion"]) == again["samples"] == 114
    page = qfleet(folder, "ui", "default")
    assert page["address"].startswith("http://127.0.0.1:5000/#/experiments/")
    assert page["address"].endswith(outcome["run_id"])
    by_id = qfleet(folder, "evaluate", outcome["run_id"], "--split", "validation", "--backend", "cirq")
    assert by_id["metrics"]["val/loss"] == pytest.approx(outcome["best_loss"], abs=1e-9)


def test_resuming_a_finished_run_changes_nothing(default_run: tuple[Path, dict]) -> None:
    folder, outcome = default_run
    again = qfleet(folder, "resume", "default")
    for key in ("run_id", "params_sha256", "metrics", "circuits", "steps"):
        assert again[key] == outcome[key], key


def test_digits_learns_four_classes(tmp_path: Path) -> None:
    outcome = qfleet(
        tmp_path,
        "train",
        str(CONFIGS / "digits.toml"),
        "--set",
        "fleet.dispatcher=serial",
        "--set",
        "tracking.enabled=false",
    )
    assert outcome["metrics"]["test/accuracy"] >= 0.85


@pytest.mark.parametrize("shots", [None, 200])
def test_same_bits_on_one_and_three_actors(shots: int | None, tmp_path: Path, local_ray: None) -> None:
    digests = set()
    for name, overrides in {
        "serial": ["fleet.dispatcher=serial"],
        "one": ["fleet.dispatcher=ray", "fleet.n_actors=1"],
        "three": [
            "fleet.dispatcher=ray",
            "fleet.n_actors=3",
            "fleet.cpus_per_actor=0.5",
            "fleet.job_seconds=0.001",
        ],
    }.items():
        config = quick_config(
            tmp_path / name, "gradient.rule=parameter_shift", f"backend.shots={shots or 'none'}", *overrides
        )
        result = Trainer(config, progress=False).fit()
        digests.add(result.to_json()["params_sha256"])
    assert len(digests) == 1


class Killer(Callback):
    """Kills a ready actor's process after certain steps."""

    def __init__(self, steps: set[int]) -> None:
        self.steps = steps
        self.n_killed = 0

    def on_step(self, report: object, state: object) -> None:
        """SIGKILL one of the actors that run in this machine's Ray."""
        import ray.util.state  # noqa: F401  (the fleet is found through its processes, as the kernel's OOM killer would)

        if state.step in self.steps:  # type: ignore[attr-defined]
            victims = actor_pids()
            if victims:
                os.kill(victims[0], signal.SIGKILL)
                self.n_killed += 1


def actor_pids() -> list[int]:
    """Processes of this Ray's actors of the fleet."""
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                title = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if title.startswith(b"ray::ActorProcess"):
                pids.append(int(entry.name))
    return sorted(pids)


def test_killed_actors_lose_nothing(tmp_path: Path, local_ray: None) -> None:
    calm = Trainer(quick_config(tmp_path / "calm"), progress=False).fit()
    killer = Killer({3, 9, 17})
    config = quick_config(
        tmp_path / "killed",
        "fleet.dispatcher=ray",
        "fleet.n_actors=2",
        "fleet.cpus_per_actor=0.5",
        "fleet.job_seconds=0.001",
    )
    disturbed = Trainer(config, callbacks=[killer], progress=False).fit()
    assert killer.n_killed == 3
    np.testing.assert_array_equal(disturbed.params, calm.params)
    assert disturbed.metrics == calm.metrics


SLOW = [
    "gradient.rule=parameter_shift",
    "backend.shots=500",
    "run.epochs=25",
]  # some seconds, so that there is time to strike


def _sets(overrides: list[str]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


OFTEN_KILLED = _sets([*QUICK, "run.epochs=3", "gradient.rule=parameter_shift", "backend.shots=50"])
INTERRUPTED = _sets([*QUICK, "fleet.dispatcher=serial", "checkpoint.every_steps=1000", *SLOW])


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The undisturbed run of `OFTEN_KILLED`."""
    serial = _sets(["run.name=calm", "fleet.dispatcher=serial"])
    config = str(CONFIGS / "breast_cancer.toml")
    return new_qfleet(tmp_path_factory.mktemp("calm"), "train", config, *OFTEN_KILLED, *serial)


@pytest.fixture(scope="module")
def never_interrupted(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The undisturbed run of `INTERRUPTED`."""
    config = str(CONFIGS / "breast_cancer.toml")
    return new_qfleet(
        tmp_path_factory.mktemp("calm"), "train", config, *INTERRUPTED, "--set", "run.name=calm"
    )


@pytest.mark.parametrize(("dispatcher", "n_kills"), [("serial", 4), ("ray", 1)])
def test_sigkill_of_the_driver_at_random_moments(
    dispatcher: str, n_kills: int, tmp_path: Path, never_killed: dict
) -> None:
    """Kill, resume, kill again ... at seeded moments: the end is the undisturbed run's bits."""
    config = str(CONFIGS / "breast_cancer.toml")
    often = [
        "run.name=stormy",
        "checkpoint.every_steps=1",
        "tracking.enabled=true",
        f"fleet.dispatcher={dispatcher}",
    ]
    process = start_command(tmp_path, "train", config, *OFTEN_KILLED, *_sets(often), "--json")
    moments = random.Random(5)
    kills = 0
    while kills < n_kills and _progressed(process, tmp_path / "runs" / "stormy" / "checkpoints"):
        time.sleep(moments.uniform(0.0, 0.05))
        process.kill()
        process.wait()
        kills += 1
        process = start_command(tmp_path, "resume", "stormy", "--json")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    stormy = json.loads(out)
    assert kills >= min(n_kills, 2), "the run was over before it could be struck"
    _assert_logged_once(stormy)
    for key in ("params_sha256", "best_params_sha256", "metrics", "circuits", "shots", "steps"):
        assert stormy[key] == never_killed[key], key


def _progressed(process: Command, checkpoints: Path) -> bool:
    """Wait for a checkpoint that was not there; False if the process ended first."""
    before = _newest(checkpoints)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if _newest(checkpoints) != before:
            return True
        time.sleep(0.002)
    return False


def _assert_logged_once(outcome: dict) -> None:
    """One run at MLflow, finished, with every step's metrics exactly once, however often the driver was killed."""
    from mlflow import MlflowClient

    client = MlflowClient(outcome["tracking_uri"])
    run = client.get_run(outcome["run_id"])
    assert run.info.status == "FINISHED"
    named = client.search_runs([run.info.experiment_id], "attributes.run_name = 'stormy'")
    assert [r.info.run_id for r in named] == [outcome["run_id"]]
    for name in ("train/loss", "train/gradient_norm", "cost/circuits"):
        steps = [point.step for point in client.get_metric_history(outcome["run_id"], name)]
        assert sorted(steps) == list(range(1, outcome["steps"] + 1)), name


def _newest(checkpoints: Path) -> str:
    return max((p.name for p in checkpoints.glob("[0-9]*")), default="")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_saves_and_resumes(number: signal.Signals, tmp_path: Path, never_interrupted: dict) -> None:
    calm = never_interrupted
    config = str(CONFIGS / "breast_cancer.toml")
    process = start_command(tmp_path, "train", config, *INTERRUPTED, "--set", "run.name=cut", "--json")
    journal = tmp_path / "runs" / "cut" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while (not journal.is_file() or journal.stat().st_size < 300) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    partial = json.loads(out)
    assert partial["stop_reason"] is None
    assert 0 < partial["steps"] < calm["steps"]
    resumed = qfleet(tmp_path, "resume", "cut")
    assert resumed["params_sha256"] == calm["params_sha256"]
    assert resumed["metrics"] == calm["metrics"]


def test_interrupt_after_the_last_step_saves_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = Trainer(quick_config(tmp_path / "calm"), progress=False).fit()

    def terminated(*arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("SIGTERM was not heard")

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.trainer.score", terminated)
        with pytest.raises(TrainingInterrupted):
            Trainer(quick_config(tmp_path, "run.name=cut"), progress=False).fit()
    resumed = Trainer.resume("cut", directory=str(tmp_path / "runs"), progress=False).fit()
    assert (resumed.metrics, resumed.totals) == (calm.metrics, calm.totals)
    np.testing.assert_array_equal(resumed.params, calm.params)


def test_a_damaged_checkpoint_is_skipped(tmp_path: Path) -> None:
    calm = Trainer(quick_config(tmp_path / "calm"), progress=False).fit()

    class Stop(Callback):
        def on_step(self, report: object, state: object) -> None:
            if state.step == 10:  # type: ignore[attr-defined]
                raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted, match=r"qfleet resume .*cut"):
        Trainer(quick_config(tmp_path, "run.name=cut"), callbacks=[Stop()], progress=False).fit()
    newest = sorted((tmp_path / "runs" / "cut" / "checkpoints").glob("[0-9]*"))[-1] / "state.npz"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    resumed = Trainer.resume("cut", directory=str(tmp_path / "runs"), progress=False).fit()
    np.testing.assert_array_equal(resumed.params, calm.params)


def test_a_finished_run_whose_last_checkpoint_is_damaged_is_mended(tmp_path: Path) -> None:
    calm = Trainer(quick_config(tmp_path, "run.name=done"), progress=False).fit()
    newest = sorted((tmp_path / "runs" / "done" / "checkpoints").glob("[0-9]*"))[-1]
    (newest / "state.npz").write_bytes(b"")
    mended = Trainer.resume("done", directory=str(tmp_path / "runs"), progress=False).fit()
    assert (mended.metrics, mended.totals) == (calm.metrics, calm.totals)
    np.testing.assert_array_equal(mended.params, calm.params)
    (tmp_path / "runs" / "done" / "data" / "about.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not what qfleet wrote"):
        Trainer.resume("done", directory=str(tmp_path / "runs"), progress=False).fit()


def test_a_failure_says_how_to_go_on(tmp_path: Path) -> None:
    calm = Trainer(quick_config(tmp_path / "calm"), progress=False).fit()

    class Fail(Callback):
        def on_step(self, report: object, state: object) -> None:
            if state.step == 10:  # type: ignore[attr-defined]
                raise FleetError("every actor is lost")

    with pytest.raises(FleetError, match="every actor is lost") as caught:
        Trainer(quick_config(tmp_path, "run.name=lost"), callbacks=[Fail()], progress=False).fit()
    assert "qfleet resume" in caught.value.__notes__[0]
    resumed = Trainer.resume("lost", directory=str(tmp_path / "runs"), progress=False).fit()
    np.testing.assert_array_equal(resumed.params, calm.params)


def test_a_fleet_that_cannot_start_leaves_no_run(tmp_path: Path, local_ray: None) -> None:
    config = quick_config(tmp_path, "fleet.dispatcher=ray", "fleet.n_actors=99", "run.name=mine")
    with pytest.raises(FleetError, match="99 actors"):
        Trainer(config, progress=False).fit()
    assert not list((tmp_path / "runs").iterdir())
    assert Trainer(quick_config(tmp_path, "run.name=mine", "run.epochs=1"), progress=False).fit().n_steps


def test_works_where_an_event_loop_runs(tmp_path: Path) -> None:
    async def cell() -> float:
        return Trainer(quick_config(tmp_path, "run.epochs=1"), progress=False).fit().metrics["test/accuracy"]

    assert 0.0 <= asyncio.run(cell()) <= 1.0


def test_arrays_and_a_circuit_of_ones_own(tmp_path: Path) -> None:
    import cirq
    import sympy

    from orchestrator import Model

    rng = np.random.default_rng(3)
    features = rng.uniform(-1, 1, (80, 2))
    x, y, a, b = sympy.symbols("x y a b")
    q = cirq.LineQubit.range(2)
    circuit = cirq.Circuit(
        cirq.ry(3 * x)(q[0]),
        cirq.ry(3 * y)(q[1]),
        cirq.CZ(*q) ** a,
        cirq.rx(b)(q[0]),
        cirq.ry(a + b)(q[1]),
        cirq.CNOT(*q),
    )
    observables = ["Z0", "X1", "Z0*Z1"]
    model = Model.from_circuit(circuit, features=[x, y], observables=observables, head="linear")
    targets = _by_cirq(
        circuit, {a: 0.7, b: -0.4}, [x, y], features, cirq.X(q[1])
    )  # a teacher that the model can equal
    as_they_are = ["data.n_components=none", "data.standardize=false", "data.angle_scale=1.0"]
    config = quick_config(tmp_path, "loss.name=mse", "run.epochs=100", *as_they_are)
    result = Trainer(config, model=model, data=(features, targets), progress=False).fit()
    assert result.metrics["test/r2"] > 1 - 1e-6
    assert result.predict(features[:5]).shape == (5,)


def _by_cirq(circuit, params, symbols, features, observable) -> np.ndarray:
    """Expectation values [S] by cirq's simulator."""
    import cirq

    points = [{**params, **dict(zip(symbols, row, strict=True))} for row in features]
    simulator = cirq.Simulator(dtype=np.complex128)
    values = [simulator.simulate_expectation_values(circuit, [observable], point)[0].real for point in points]
    return np.array(values)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "nowhere.toml"], "no such file"),
        (["train", "CONFIG", "--set", "model.anzatz=x"], "did you mean 'ansatz'"),
        (["train", "CONFIG", "--set", "backend.name=idael"], "did you mean 'ideal'"),
        (
            ["train", "CONFIG", "--set", "gradient.rule=adjoint", "--set", "backend.shots=10"],
            "parameter_shift",
        ),
        (["train", "CONFIG", "--set", "model.n_qubits=5"], "data.n_components"),
        (["resume", "nothing"], "no run 'nothing'"),
    ],
)
def test_bad_input_is_refused_in_words(arguments: list[str], words: str, tmp_path: Path) -> None:
    filled = [str(CONFIGS / "breast_cancer.toml") if a == "CONFIG" else a for a in arguments]
    outcome = qfleet(tmp_path, *filled, expect=2)
    assert words in outcome["error"]["message"]
    assert not list(tmp_path.iterdir()), "nothing may be started or written"


@pytest.mark.parametrize("overrides", [[], ["backend.shots=20", "run.max_steps=23"]])
def test_dry_run_counts_the_circuits_of_the_run(overrides: list[str], tmp_path: Path) -> None:
    config = quick_config(tmp_path, *overrides)
    assert summary(prepare_run(config))["circuits"] == Trainer(config, progress=False).fit().totals.n_circuits


def test_dry_run_starts_nothing(tmp_path: Path) -> None:
    outcome = qfleet(
        tmp_path,
        "train",
        str(CONFIGS / "breast_cancer.toml"),
        "--dry-run",
        "--set",
        "gradient.rule=parameter_shift",
    )
    assert (
        outcome["circuits_per_sample"] == 77
    )  # 1 + 2 for each of the 38 parameters that some observable feels
    assert outcome["parameters"] == 48
    assert not list(tmp_path.iterdir())
