"""What people read of runs at MLflow: names that tell runs apart, parameters without noise, and a description that tells the result."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from orchestrator.config import TrainingConfig
from orchestrator.errors import InputError
from pipelines.artifacts import start_tracker
from pipelines.run_folder import RunFolder
from pipelines.run_setup import prepare_run
from pipelines.studies.folder import StudyFolder
from pipelines.tracking.markdown import cut_description, with_links
from pipelines.tracking.registered_names import check_names
from pipelines.tracking.run_page import ALWAYS, Ending, closing, opening, run_parameters, run_title
from pipelines.trainer import Trainer

CONFIGS = Path(__file__).parents[2] / "pipelines" / "configs"
SMALL = [
    "data.name=iris", "data.n_components=2", "data.max_samples=40", "model.n_qubits=2", "model.n_layers=1", "loss.name=cross_entropy",
    "run.epochs=2", "run.batch_size=8", "fleet.dispatcher=serial",
]  # fmt: skip


def title(*overrides: str, folder: str = "iris-20261121-230301") -> str:
    return run_title(TrainingConfig().with_overrides(overrides), RunFolder(Path("runs") / folder))


def test_names_begin_with_what_is_unusual() -> None:
    assert title() == "breast_cancer · 8 qubits × 2 layers · 11-21 23:03:01"
    names = [
        title("optimizer.learning_rate=0.1"), title("run.seed=3"), title("gradient.rule=spsa", "backend.shots=200"),
        title("backend.name=noisy", "backend.noise=aria-1"), title("model.ansatz=hardware_efficient", "model.n_layers=1"),
        title("data.name=none", "data.path=my/rows.csv", "data.target=y"), title(folder="iris-20261121-230301-2"),
        title("data.name=iris"), title("run.batch_size=8"), title("optimizer.name=sgd"),
    ]  # fmt: skip
    assert len(set(names)) == len(names)
    assert [name[:20].split(" · ")[0] for name in names[:3]] == ["learning rate 0.1", "seed 3", "spsa"]
    assert names[2].startswith("spsa · 200 shots · ")
    assert names[3].startswith("noisy · aria-1 · ")
    assert "× 1 layer ·" in names[4]
    assert names[5].startswith("rows · ")
    assert names[6].endswith("23:03:01-2")
    crowded = title(
        "optimizer.learning_rate=0.1",
        "run.seed=3",
        "backend.shots=5",
        "run.batch_size=2",
        "optimizer.name=sgd",
    )
    assert crowded.count(" · ") == 5, "three differences at most, then data, size and time"


def test_a_name_of_ones_own_and_that_of_a_member_stay(tmp_path: Path) -> None:
    assert title("run.name=mine", "run.seed=3") == "mine"
    StudyFolder.create("probe", TrainingConfig(), {}, directory=tmp_path, name="sweep")
    member = RunFolder(tmp_path / "sweep" / "members" / "seed-0")
    assert run_title(TrainingConfig(), member) == "sweep/seed-0"


@pytest.mark.parametrize("name", ["breast_cancer", "digits", "quanvolution", "autoencoder"])
def test_parameters_are_few_and_leave_nothing_unusual_out(name: str) -> None:
    config = TrainingConfig.from_toml(CONFIGS / f"{name}.toml")
    parameters = run_parameters(prepare_run(config))
    written = tomllib.loads((CONFIGS / f"{name}.toml").read_text())
    default = TrainingConfig().flattened()
    for section, keys in written.items():
        for key in keys:
            full = f"{section}.{key}"
            if full != "data.name" and config.flattened()[full] != default[full]:
                assert parameters[full] == config.flattened()[full]
    assert set(ALWAYS) <= parameters.keys()
    assert parameters["data"] == config.data.name
    assert len(parameters) < 45 < len(default)
    assert not [
        key for key in parameters if key.startswith(("tracking.", "checkpoint.", "run.name", "run.directory"))
    ]


def test_no_credentials_among_the_parameters() -> None:
    config = TrainingConfig().with_overrides([*SMALL, "tracking.uri=http://ann:secret@host"])
    assert "secret" not in str(run_parameters(prepare_run(config)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("trained")
    config = TrainingConfig().with_overrides(
        [
            *SMALL,
            f"run.directory={folder}",
            "run.name=small",
            f"tracking.uri=sqlite:///{folder}/mlflow.db",
            "tracking.experiment=page",
        ]
    )
    return Trainer(config, progress=False).fit().folder


def test_the_description_tells_the_result_and_links_to_what_shows_it(trained: RunFolder) -> None:
    import mlflow

    report = (trained.path / "report.md").read_text()
    metrics = (trained.recorded_result() or {})["metrics"]
    first, *_ = report.splitlines()
    right = round(metrics["test/accuracy"] * 8)
    assert first.startswith(
        f"**test accuracy {100 * metrics['test/accuracy']:.1f} %** ({right} of 8) · best epoch "
    )
    assert "circuits, exact, $0.00 · trained in" in first
    assert re.search(
        rf"^\| loss \| [\d.]+ \| [\d.]+ \| {metrics['test/loss']:#.4g} \|$", report, re.MULTILINE
    )
    linked = re.findall(r"\]\((artifacts/[^)]+)\)", report)
    assert {
        "artifacts/training.png",
        "artifacts/interactive.html",
        "artifacts/confusion.png",
        "artifacts/config.toml",
    } <= set(linked)
    for path in linked:
        assert (trained.path / path).is_file(), path
    assert f"qfleet evaluate {trained.handle}" in report

    client = mlflow.MlflowClient(f"sqlite:///{trained.path.parent}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("page").experiment_id])
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith(first)
    pages = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/"
    assert [
        f"artifacts/{name}" for name in re.findall(re.escape(f"]({pages}") + r"([^)]+)\)", note)
    ] == linked
    groups = {name.partition("/")[0] for name in run.data.metrics if "/" in name}
    assert groups == {"train", "val", "test", "best", "cost", "fleet", "time"}
    assert all("/" in name for name in run.data.metrics)
    assert run.data.metrics["best/epoch"] in (1, 2)
    assert len(run.data.tags) < 12


def test_a_run_that_has_begun_says_how_to_go_on(tmp_path: Path) -> None:
    config = TrainingConfig().with_overrides([*SMALL, f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"])
    folder = RunFolder(tmp_path / "iris-20261121-230301")
    folder.path.mkdir()
    folder.write_config(config)
    prepared = prepare_run(config)
    text = opening(prepared, folder)
    assert f"qfleet resume {folder.handle}" in text
    tracker = start_tracker(folder, prepared, on_warning=print)
    try:
        assert tracker.spool.state.title.startswith("batches of 8 · iris · 2 qubits × 1 layer · ")
        assert tracker.spool.state.run_name == folder.name, "by which qfleet commands know it"
        assert tracker.spool.state.tags["mlflow.note.content"] == text
    finally:
        tracker.finish("KILLED")
        tracker.close()


def test_an_ending_without_a_score_says_so(trained: RunFolder) -> None:
    from pipelines.checkpoints import Checkpoints
    from pipelines.run_setup import load_run

    prepared, fingerprint = load_run(trained)
    state, _ = Checkpoints(trained.checkpoints, 3, fingerprint).load_newest()
    assert state is not None
    assert closing(prepared, trained, state, Ending({}, None, [])).startswith(
        "**no test score** · best epoch"
    )
    confusion = np.array([[3, 1], [0, 4]])
    ending = Ending.of({"test/accuracy": 7 / 8}, confusion, [])
    assert closing(prepared, trained, state, ending).startswith("**test accuracy 87.5 %** (7 of 8)")
    state.history, state.best_epoch = [], 0
    assert "no epoch was finished" in closing(prepared, trained, state, Ending({}, None, []))


def test_links_lead_into_mlflow() -> None:
    text = "[curves](artifacts/a/b.png) ![c](artifacts/c.png) [other](https://x/artifacts/d) [e](elsewhere/artifacts/f)"
    assert with_links(text, "7", "r1") == (
        "[curves](#/experiments/7/runs/r1/artifacts/a/b.png) ![c](get-artifact?path=c.png&run_uuid=r1) "
        "[other](https://x/artifacts/d) [e](elsewhere/artifacts/f)"
    )


def test_a_long_description_is_cut_between_lines() -> None:
    text = "\n".join(f"| {i} | row |" for i in range(2000))
    cut = cut_description(text, 8000)
    assert len(cut) <= 8000
    assert cut.endswith("report.md)*\n")
    assert set(cut.splitlines()[:-2]) < set(text.splitlines())
    assert cut_description("short", 8000) == "short"


@pytest.mark.parametrize(
    ("name", "alias", "nearest"),
    [
        ("a/b", None, "'a-b'"), ("", None, "'model'"), ("it's", None, "'it-s'"), ("m", "best of all", "'best-of-all'"),
        ("m", "latest", "champion"), ("m", "V3", "champion"), ("x" * 256, None, "'xxx"),
    ],
)  # fmt: skip
def test_names_that_cannot_be_registered(name: str, alias: str | None, nearest: str) -> None:
    with pytest.raises(InputError, match=re.escape(nearest)):
        check_names(name, alias)
    check_names("tumours 2.1", "champion_1")
