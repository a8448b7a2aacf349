"""Federated averaging: the deal, the rounds against a plain training loop, lost clients, resuming, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.config import TrainingConfig
from orchestrator.errors import CheckpointError, ConfigError
from orchestrator.models.model import Model
from orchestrator.training.loop import initial_state, train
from pipelines.compose import build_backend, build_coordinator, build_loss
from pipelines.data.datasets import prepare
from pipelines.federated import FederatedSettings, federated
from pipelines.federated.client import client_seed
from pipelines.federated.deal import LEAST_ROWS, SPLITS, dealt, read_shard
from pipelines.federated.hosts import LocalClients
from pipelines.federated.messages import Message, payload_bytes
from pipelines.federated.server import Progress, Round, Rounds, averaged, chosen_clients, run_rounds
from pipelines.federated.settings import check_config
from pipelines.federated.study import FederatedStudy, open_federation
from pipelines.predictor import Predictor
from pipelines.result import params_sha256
from pipelines.run_setup import assemble
from pipelines.studies.folder import StudyFolder
from pipelines.studies.study import Study, StudyInterrupted

N_ROWS = 200
ROWS, CLASSES = np.arange(N_ROWS) * 3, np.arange(N_ROWS) % 4


def config(tmp_path: Path, *overrides: str) -> TrainingConfig:
    return TrainingConfig().with_overrides([
        "data.name=iris", "data.classes=[0, 1]", "data.n_components=2", "model.n_qubits=2", "model.n_layers=1", "run.batch_size=8",
        "fleet.dispatcher=serial", "tracking.enabled=false", f"run.directory={tmp_path / 'runs'}", *overrides,
    ])  # fmt: skip


def settings(**changes: Any) -> FederatedSettings:
    return FederatedSettings(**({"clients": 3, "rounds": 3} | changes))


def quiet_study(
    tmp_path: Path, name: str, chosen: FederatedSettings, *overrides: str, say: Any = None
) -> Study:
    of = config(tmp_path, *overrides)
    folder = StudyFolder.create("federated", of, chosen.to_json(), directory=of.run.directory, name=name)
    return Study(folder, params={}, description="", say=say or (lambda line: None))


# --- The deal


@pytest.mark.parametrize("split", ["iid", "by-class", "dirichlet:0.5"])
def test_every_row_has_one_owner_whatever_the_order_of_rows(split: str) -> None:
    chosen = settings(clients=7, split=split)
    [owner] = dealt([(ROWS, CLASSES)], 4, chosen, seed=3)
    assert set(owner) == set(range(7))
    assert np.bincount(owner).min() >= LEAST_ROWS
    shuffled = np.random.default_rng(0).permutation(N_ROWS)
    if split == "dirichlet:0.5":
        [again] = dealt([(ROWS[shuffled], CLASSES[shuffled])], 4, chosen, seed=3)
        np.testing.assert_array_equal(again, owner[shuffled])
    [other] = dealt([(ROWS, CLASSES)], 4, chosen, seed=4)
    assert (other != owner).any()


def test_uneven_deals_are_as_uneven_as_they_say() -> None:
    def share_of_largest_class(split: str, seed: int = 0) -> float:
        [owner] = dealt([(ROWS, CLASSES)], 4, settings(clients=4, split=split), seed=seed)
        counts = np.array([np.bincount(CLASSES[owner == client], minlength=4) for client in range(4)])
        return float((counts.max(axis=1) / counts.sum(axis=1)).mean())

    assert share_of_largest_class("by-class") == 1.0  # four classes of equal size, four clients
    [owner] = dealt([(ROWS, CLASSES)], 4, settings(clients=7), seed=0)
    assert np.ptp(np.bincount(owner)) <= 1
    uneven, even = (
        np.mean([share_of_largest_class(f"dirichlet:{alpha}", seed) for seed in range(20)])
        for alpha in (0.3, 100.0)
    )
    # Of 50 rows dealt evenly the largest of 4 classes has 0.25 + a few times sqrt(0.25 * 0.75 / 50) = 0.06
    assert even < 0.4
    assert uneven > 0.5


def test_clients_split_and_deal_what_central_training_uses(tmp_path: Path) -> None:
    of, chosen = config(tmp_path), settings(split="dirichlet:0.5")
    central = prepare(of.data, task="binary", seed=of.run.seed)
    shards = [read_shard(of.data, "binary", of.run.seed, chosen, client) for client in range(3)]
    for name in SPLITS:
        rows = np.concatenate([shard.rows[name] for shard in shards])
        np.testing.assert_array_equal(np.sort(rows), getattr(central.rows, name))


# --- Statistics and averages


def test_preprocessing_is_that_of_the_pooled_rows(tmp_path: Path) -> None:
    of = config(tmp_path, "data.n_components=3", "model.n_qubits=3")
    federation = open_federation(of, settings(split="by-class"))
    found, n_bytes = federation.preprocessing, federation.setup_bytes
    pooled = prepare(of.data, task="binary", seed=of.run.seed).preprocessing
    for name, array in pooled.to_arrays().items():
        np.testing.assert_allclose(found.to_arrays()[name], array, rtol=1e-9, atol=1e-12)
    # of each client n, 4 means, 4 x 4 products, 4 least, 4 greatest; to each mean, scale, centre (4), 3 x 4, 3, and three scalars
    assert n_bytes == 3 * 8 * (29 + 3 * 4 + 3 * 4 + 3 + 3)


def test_the_average_is_weighted_and_in_client_order() -> None:
    rng = np.random.default_rng(5)
    answers = {client: {"params": rng.normal(size=9), "n": client + 1} for client in range(4)}
    stacked, weights = np.array([one["params"] for one in answers.values()]), np.arange(1, 5)
    np.testing.assert_allclose(
        averaged(answers), np.average(stacked, axis=0, weights=weights), rtol=1e-13, atol=1e-14
    )
    backwards = dict(reversed(answers.items()))
    np.testing.assert_array_equal(averaged(backwards), averaged(answers))


def test_clients_of_a_round_are_drawn_evenly() -> None:
    chosen = settings(clients=10, fraction=0.3)
    drawn = [chosen_clients(chosen, 1, number) for number in range(2000)]
    assert all(one == sorted(set(one)) and len(one) == 3 for one in drawn)
    counts = np.bincount(np.concatenate(drawn), minlength=10)
    assert (np.abs(counts - 600) < 5 * np.sqrt(2000 * 0.3 * 0.7)).all()


def test_payload_counts_numbers() -> None:
    assert payload_bytes({"params": np.zeros((2, 5)), "round": 3, "loss": 0.5}) == 8 * 12


# --- Rounds


def test_one_client_one_round_is_plain_training_bit_for_bit(tmp_path: Path) -> None:
    """Same rows, batches, shots and optimizer as the training loop alone, with shot noise to make any other draw show."""
    overrides = ["backend.shots=50", "optimizer.schedule=cosine", "run.epochs=2", "run.max_steps=none"]
    chosen = settings(clients=1, rounds=1, local_epochs=2, compare=False)
    with quiet_study(tmp_path, "one", chosen, *overrides) as study:
        outcome = FederatedStudy(study, chosen).run()
    of = config(tmp_path, *overrides)
    data = prepare(of.data, task="binary", seed=of.run.seed, preprocessing=outcome.federation.preprocessing)
    task = assemble(of, Model.from_config(of.model, build_loss(of).n_outputs(2)), data).task
    state = initial_state(task)
    coordinator = build_coordinator(of.fleet, build_backend(of))
    for _ in train(task, state, coordinator):
        pass
    np.testing.assert_array_equal(outcome.progress.params, state.params)


def test_an_interrupted_study_ends_on_the_same_bits(tmp_path: Path) -> None:
    def stop(line: str) -> None:
        if line.startswith("round 2/"):
            raise KeyboardInterrupt

    chosen = settings(split="dirichlet:1.0", fraction=0.67, local_epochs=2, compare=False)
    with quiet_study(tmp_path, "calm", chosen, "backend.shots=20") as study:
        calm = FederatedStudy(study, chosen).run()
    broken = quiet_study(tmp_path, "broken", chosen, "backend.shots=20", say=stop)
    with pytest.raises(StudyInterrupted, match="resume"), broken as study:
        FederatedStudy(study, chosen).run()
    said: list[str] = []
    with Study(broken.folder, params={}, description="", say=said.append) as study:
        again = FederatedStudy(study, chosen).run()
    assert said[0] == "continuing after round 2"
    np.testing.assert_array_equal(again.progress.params, calm.progress.params)
    np.testing.assert_array_equal(again.merits, calm.merits)
    assert again.progress.rounds == calm.progress.rounds
    assert again.progress.best_round == calm.progress.best_round


class Losing(LocalClients):
    """Clients of which one does not answer the second training."""

    def ask(self, method: str, messages: Mapping[int, Message], *, least: int) -> dict[int, Message]:
        if method == "train" and messages[0]["round"] == 1:
            messages = {client: message for client, message in messages.items() if client != 1}
        return super().ask(method, messages, least=least)


def test_a_round_goes_on_without_a_lost_client_which_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of, chosen = config(tmp_path), settings(min_clients=2)
    monkeypatch.setattr("pipelines.federated.hosts.LocalClients", Losing)
    federation = open_federation(of, chosen)
    clients = federation.clients
    start = federation.model.initial_params(of.run.seed)
    seen: list[Progress] = []
    frozen = np.zeros(len(start), bool)
    done = run_rounds(clients, chosen, Progress(start, start.copy()), frozen, of.run.seed, seen.append)
    assert [one.lost for one in done.rounds] == [(), (1,), ()]
    assert [one.answered for one in done.rounds] == [(0, 1, 2), (0, 2), (0, 1, 2)]
    message = {"params": seen[0].params, "round": 1}
    assert isinstance(clients, Losing)
    expected = averaged(LocalClients.ask(clients, "train", {0: message, 2: message}, least=2))
    np.testing.assert_array_equal(seen[1].params, expected)


def test_updates_are_clipped_and_noisy_where_asked(tmp_path: Path) -> None:
    def change(chosen: FederatedSettings) -> np.ndarray:
        of = config(tmp_path, "model.n_layers=40", 'model.frozen=["p0"]', "optimizer.learning_rate=0.3")
        federation = open_federation(of, chosen)
        start = federation.model.initial_params(7)
        answer = federation.clients.ask("train", {0: {"params": start, "round": 0}}, least=1)[0]
        return answer["params"] - start

    free, clipped = change(settings()), change(settings(clip=0.1))
    noisy = change(settings(clip=0.1, noise_multiplier=2.0))
    assert np.linalg.norm(free) > 0.2
    np.testing.assert_allclose(clipped, free * (0.1 / np.linalg.norm(free)), atol=1e-12)
    noise = (noisy - clipped)[1:]
    assert noisy[0] == 0.0  # frozen
    # The standard deviation of n normal numbers is off by its n-th share of 1 / sqrt(2 n)
    assert abs(noise.std() / 0.2 - 1) < 5 / np.sqrt(2 * len(noise))


def test_clients_do_not_share_noise() -> None:
    assert client_seed(7, 0) == 7
    seeds = {client_seed(2**63 - 1, number) for number in range(1000)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)


# --- On disk


def test_a_torn_round_is_done_again_from_the_one_before(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path / "rounds")
    assert rounds.newest() is None
    one = Round(1, (0, 2), (1,), 0.5, 0.4, 0.9, 12, 100, 50, 33, 0)
    first = Progress(np.zeros(3), np.zeros(3)).after(np.arange(3.0), one)
    rounds.save(first)
    rounds.save(first.after(np.ones(3), Round(2, (0, 1, 2), (), 0.4, 0.6, 0.8, 12, 100, 75, 40, 0)))
    newest = rounds.newest()
    assert newest is not None
    assert (len(newest.rounds), newest.best_round, newest.best_loss) == (2, 1, 0.4)
    path = tmp_path / "rounds" / "000002.npz"
    path.write_bytes(path.read_bytes()[:-200])
    before = rounds.newest()
    assert before is not None
    assert before.rounds == (one,)
    np.testing.assert_array_equal(before.best_params, np.arange(3.0))
    (tmp_path / "rounds" / "000001.npz").write_bytes(b"")
    with pytest.raises(CheckpointError, match="no round can be read"):
        rounds.newest()


def test_a_round_without_validation_rows_is_not_taken_for_the_best() -> None:
    start = Progress(np.zeros(1), np.zeros(1))
    validated = start.after(np.ones(1), Round(1, (0,), (), 0.5, 0.4, 0.9, 12, 0, 0, 0, 0))
    without = validated.after(np.full(1, 2.0), Round(2, (1,), (0,), 0.5, 0.0, 0.0, 0, 0, 0, 0, 0))
    assert (without.best_round, without.best_loss) == (1, 0.4)
    never = start
    for number in (1, 2):
        never = never.after(np.full(1, float(number)), Round(number, (0,), (), 0.5, 0.0, 0.0, 0, 0, 0, 0, 0))
    assert never.best_round == 2  # nothing validates: the last


def test_other_data_than_it_began_with_are_refused(tmp_path: Path) -> None:
    chosen = settings(compare=False, rounds=1)
    study = quiet_study(tmp_path, "s", chosen)
    study.folder.write_json("about.json", {"digest": "another"})
    with pytest.raises(CheckpointError, match="has changed since"), study:
        FederatedStudy(study, chosen).run()


# --- The whole of it


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "accuracy"),
        (["data.classes=none", "loss.name=mse", "model.output_scale=2.0"], "rmse"),
        (["data.classes=none", "loss.name=cross_entropy", "model.observables=each", "model.head=linear"], "accuracy"),
    ],
)  # fmt: skip
def test_the_study_compares_all_three_on_the_same_rows(
    tmp_path: Path, overrides: list[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)
    of = config(tmp_path, "run.name=s", *overrides)
    found = federated(of, settings(local_epochs=2))
    json.dumps(found, allow_nan=False)
    folder = StudyFolder.find("s", tmp_path / "runs")
    assert folder is not None
    central = json.loads((folder.members / "central" / "result.json").read_text())
    assert found["test"][name]["central"] == pytest.approx(central["metrics"][f"test/{name}"], rel=1e-12)
    assert central["epochs"] == 6
    assert found["circuits"]["central"] == central["circuits"]
    merits = found["test"]["against_central"]
    assert merits["low"] <= merits["difference"] <= merits["high"]
    assert len(found["rounds"]) == 3
    raw = prepare(of.data, task=build_loss(of).task, seed=of.run.seed)
    assert sum(one["rows"]["train"] for one in found["clients"]) == len(raw.train.targets)
    assert (folder.artifacts / "federated.png").stat().st_size > 10_000
    assert "no" in found["leaks"]["privacy"]
    predictor = Predictor.load(folder.path / "model")
    assert params_sha256(predictor.params) == found["best_params_sha256"]
    np.testing.assert_allclose(
        predictor.preprocessing.transform(raw.raw_example), raw.train.features[:5], atol=1e-9
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"clients": 0}, "--clients = 0: .*did you mean '1'"),
        ({"rounds": 0}, "--rounds = 0"),
        ({"fraction": 0.0}, "--fraction = 0.0"),
        ({"fraction": 0.3, "min_clients": 3}, "--min-clients = 3: 1 of 3 clients .*did you mean '1'"),
        ({"split": "by-clas"}, "did you mean 'by-class'"),
        ({"split": "dirichlet"}, "did you mean 'dirichlet:0.3'"),
        ({"split": "dirichlet:-1"}, "positive concentration"),
        ({"split": "iid:3"}, "--split"),
        ({"clip": 0.0}, "--clip = 0.0"),
        ({"noise_multiplier": 1.0}, "in units of --clip"),
        ({"clip": 1.0, "noise_multiplier": -1.0}, "--noise-multiplier = -1.0"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        settings(**changes)


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["run.max_steps=3"], "run.max_steps"),
        (["run.early_stopping_patience=3"], "run.early_stopping_patience"),
        (["optimizer.schedule=plateau"], "optimizer.schedule"),
        (["model.initial_run=a"], "model.initial_run"),
        (["backend.name=ionq", "backend.target=qpu.aria-1", "backend.shots=100"], "backend.name"),
    ],
)
def test_configurations_without_meaning_over_rounds_are_refused(
    tmp_path: Path, overrides: list[str], key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_config(config(tmp_path, *overrides), settings())
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("override", "key"),
    [("data.memory_limit_gb=1e-9", "data.streaming"), ("data.streaming=true", "data.streaming"), ("data.readers=2", "data.readers")],
)  # fmt: skip
def test_data_that_would_be_streamed_are_refused(tmp_path: Path, override: str, key: str) -> None:
    (tmp_path / "d.csv").write_text(
        "a,b,y\n" + "".join(f"{row},{row * row},{row % 2}\n" for row in range(60))
    )
    file = ["data.name=none", f"data.path={tmp_path / 'd.csv'}", "data.target=y", "data.classes=none"]
    check_config(config(tmp_path, *file), settings())
    check_config(config(tmp_path, *file, "data.memory_limit_gb=1e-9", "data.streaming=false"), settings())
    with pytest.raises(ConfigError, match=r"reads (it|the source) whole") as caught:
        check_config(config(tmp_path, *file, override), settings())
    assert caught.value.key == key


def test_bad_data_are_refused_before_there_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gives 4 features"):
        federated(config(tmp_path, "data.n_components=none"), settings())  # four features, two qubits
    with pytest.raises(ConfigError, match=r"--clients = 30: each needs 5 training rows, .*did you mean '13'"):
        federated(config(tmp_path), settings(clients=30))
    with pytest.raises(ConfigError, match="--split"):
        check_config(config(tmp_path, "loss.name=mse", "data.classes=none"), settings(split="by-class"))
    assert not (tmp_path / "runs").exists()
