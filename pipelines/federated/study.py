"""A federated training as a study: the rounds, each client alone, central training as its member, all scored on the same test rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.errors import CheckpointError
from orchestrator.models.model import Model
from orchestrator.models.plain import model_to_plain
from pipelines.compose import build_backend, build_coordinator, build_loss
from pipelines.data.preprocessing import Preprocessing
from pipelines.data.statistics import Moments, fit_moments
from pipelines.evaluate.scores import score
from pipelines.federated.client import ClientMaker
from pipelines.federated.hosts import Clients, open_clients
from pipelines.federated.messages import payload_bytes, to_all
from pipelines.federated.server import Progress, Rounds, run_rounds
from pipelines.federated.settings import FederatedSettings
from pipelines.merits import merits_of, score_name, score_of
from pipelines.piecewise import model_for
from pipelines.predictor import Predictor
from pipelines.run_folder import read_arrays, write_arrays
from pipelines.run_setup import best_params, load_run
from pipelines.studies.study import Member, Study
from pipelines.tracking.journal import read_history

KIND = "federated"
CENTRAL = "central"


@dataclass(frozen=True, eq=False)
class Federation:
    """The clients, and what the server knows of their data.

    Attributes:
        about: each client's answer to ``about``. model: that all train. preprocessing: that all have been told.
        setup_bytes: payload of fitting it and telling it.
    """

    clients: Clients
    about: Mapping[int, Mapping[str, Any]]
    model: Model
    preprocessing: Preprocessing
    setup_bytes: int

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Of the raw columns."""
        return tuple(self.about[0]["feature_names"])

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """None for regression."""
        names = self.about[0]["class_names"]
        return None if names is None else tuple(names)

    @property
    def digest(self) -> str:
        """Of the data source."""
        return str(self.about[0]["digest"])

    def rows(self, split: str) -> list[int]:
        """Rows of each client."""
        return [int(self.about[client]["rows"][split]) for client in sorted(self.about)]


def open_federation(
    config: TrainingConfig, settings: FederatedSettings, fitted: tuple[Preprocessing, int] | None = None
) -> Federation:
    """Start the clients, which read their shards, build the model, and tell them what to begin with.

    Args:
        fitted: preprocessing found before, with what it took; None: it is fitted.

    Raises:
        InputError: data and model cannot work. FleetError: the actors cannot be had.
    """
    clients = open_clients(ClientMaker(config, settings), settings.clients, config.fleet)
    try:
        about = clients.ask("about", to_all(settings.clients, {}), least=settings.clients)
        model = model_for(config, len(about[0]["class_names"] or ()))
        preprocessing, n_bytes = fitted or _fit(clients, settings.clients, config, about[0]["feature_names"])
        description, model_arrays = model_to_plain(model)
        message = {
            "model": description,
            "model_arrays": model_arrays,
            "preprocessing": preprocessing.to_arrays(),
        }
        clients.introduce("prepare", message)
        return Federation(clients, about, model, preprocessing, n_bytes)
    except BaseException:
        clients.close()
        raise


def _fit(
    clients: Clients, n_clients: int, config: TrainingConfig, names: Sequence[str]
) -> tuple[Preprocessing, int]:
    """What `Preprocessing.fit` finds on all training rows but for rounding, from each client's moments, merged in client order."""
    answers = clients.ask("moments", to_all(n_clients, {}), least=n_clients)
    moments = reduce(Moments.merged, (Moments(**one) for one in answers.values()))
    preprocessing = fit_moments(moments, config.data, names)
    n_bytes = sum(payload_bytes(one) for one in answers.values())
    return preprocessing, n_bytes + n_clients * payload_bytes(preprocessing.to_arrays())


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came out, on the test rows of all clients.

    Attributes:
        progress: of the rounds. owner: int64 [S], whose test row each is. merits: of the federated model [S].
        losses: mean test loss by model: ``federated``, ``central``.
        alone: merits [N, S] of the models that clients trained alone; central: [S] of the central one; None where not compared.
        n_circuits: by model, training and validation included; ``alone``: of all clients together.
        central_member: the central training.
    """

    federation: Federation
    progress: Progress
    owner: np.ndarray
    merits: np.ndarray
    losses: dict[str, float]
    alone: np.ndarray | None
    central: np.ndarray | None
    n_circuits: dict[str, int]
    central_member: Member | None


class FederatedStudy:
    """One study in progress.

    Args:
        study: entered. settings: how the rounds go.
        federation: clients that are there already; None: they are started.
    """

    def __init__(
        self, study: Study, settings: FederatedSettings, federation: Federation | None = None
    ) -> None:
        self._study, self._settings = study, settings
        self._config, self._path = study.config, study.folder.path
        self._federation = federation
        self._rounds = Rounds(self._path / "rounds")

    def run(self) -> Outcome:
        """From wherever it stands to the end.

        Raises:
            QfleetError: a failure; the last finished round is saved, as it is after Ctrl-C.
        """
        federation = self._federation or open_federation(self._config, self._settings, self._fitted())
        try:
            self._keep(federation)
            progress = self._averaged(federation)
            alone, alone_circuits = self._alone(federation)
            owner, rows, merits, losses = self._tested(federation, progress.best_params, alone)
        finally:
            federation.clients.close()
        member, central, central_loss = self._central(rows)
        n_circuits = {
            "federated": sum(one.circuits for one in progress.rounds),
            "alone": alone_circuits,
            "central": 0 if member is None else member.n_circuits,
        }
        outcome = Outcome(
            federation, progress, owner, merits[0],
            {"federated": float(losses[0])} | ({} if central_loss is None else {"central": central_loss}),
            merits[1:] if len(alone) else None, central, n_circuits, member,
        )  # fmt: skip
        self._predictor(outcome).save(self._path / "model")
        return outcome

    def _fitted(self) -> tuple[Preprocessing, int] | None:
        """The preprocessing that the study began with, and what it took."""
        file = self._path / "preprocessing.npz"
        if not file.is_file():
            return None
        arrays = read_arrays(file)
        n_bytes = int(arrays.pop("setup_bytes"))
        return Preprocessing.from_arrays(arrays), n_bytes

    def _keep(self, federation: Federation) -> None:
        """Note what all rounds depend on; or refuse to go on with other data than it began with."""
        if not (self._path / "about.json").is_file():
            arrays = {**federation.preprocessing.to_arrays(), "setup_bytes": np.array(federation.setup_bytes)}
            write_arrays(self._path / "preprocessing.npz", arrays)
            self._study.folder.write_json("about.json", {"digest": federation.digest})
        elif self._study.folder.read_json("about.json")["digest"] != federation.digest:
            raise CheckpointError(
                f"{federation.about[0]['source']} has changed since the study began; put it back as it was, or start a new study"
            )

    def _averaged(self, federation: Federation) -> Progress:
        saved = self._rounds.newest()
        start = federation.model.initial_params(self._config.run.seed)
        progress = saved or Progress(start, start.copy())
        if saved is not None:
            self._study.say(f"continuing after round {len(saved.rounds)}")
        frozen, seed = federation.model.frozen, self._config.run.seed
        return run_rounds(federation.clients, self._settings, progress, frozen, seed, self._on_round)

    def _on_round(self, progress: Progress) -> None:
        done = progress.rounds[-1]
        score = score_of(done.val_merit, self._is_classes)
        name = score_name(self._is_classes)
        self._study.tracker.log_metrics(
            {
                "train/loss": done.train_loss,
                "val/loss": done.val_loss if done.val_n else None,
                f"val/{name}": score if done.val_n else None,
                "federated/clients": len(done.answered),
                "federated/lost": len(done.lost),
                "federated/bytes": sum(one.bytes_down + one.bytes_up for one in progress.rounds),
                "federated/circuits": sum(one.circuits for one in progress.rounds),
            },
            done.number,
        )
        self._study.tracker.sync()
        self._rounds.save(progress)  # last: what is cut off before that is done, and logged, again
        lost = f", without {len(done.lost)} lost" if done.lost else ""
        said = f"{name} {score:.4g}" if done.val_n else f"training loss {done.train_loss:.4g}"
        self._study.say(
            f"round {done.number}/{self._settings.rounds}: {len(done.answered)} clients{lost}, {said}"
        )

    def _alone(self, federation: Federation) -> tuple[list[np.ndarray], int]:
        """Parameters that each client finds alone, and the circuits of all; none where nothing is compared."""
        if not self._settings.compare:
            return [], 0
        file = self._path / "alone.npz"
        if not file.is_file():
            self._study.say(f"training each of {self._settings.clients} clients alone, to compare")
            start = federation.model.initial_params(self._config.run.seed)
            everyone = to_all(self._settings.clients, {"params": start})
            answers = federation.clients.ask("alone", everyone, least=self._settings.clients)
            arrays = {
                "params": np.array([one["params"] for one in answers.values()]),
                "circuits": np.array([one["circuits"] for one in answers.values()]),
            }
            write_arrays(file, arrays)
        arrays = read_arrays(file)
        return list(arrays["params"]), int(arrays["circuits"].sum())

    def _tested(
        self, federation: Federation, best: np.ndarray, alone: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Owners [S] and numbers [S] of the test rows, merits [M, S] and losses [M] of the models; rows ascending."""
        everyone = to_all(self._settings.clients, {"params": np.array([best, *alone])})
        answers = federation.clients.ask("test", everyone, least=self._settings.clients)
        rows = np.concatenate([one["rows"] for one in answers.values()])
        owner = np.concatenate([np.full(len(one["rows"]), client) for client, one in answers.items()])
        merits = np.concatenate(
            [one["merits"].reshape(1 + len(alone), -1) for one in answers.values()], axis=1
        )
        n_rows = max(len(rows), 1)
        losses = sum((one["losses"] * (len(one["rows"]) / n_rows) for one in answers.values()), np.zeros(1))
        order = np.argsort(rows)
        return owner[order], rows[order], merits[:, order], losses

    def _central(self, rows: np.ndarray) -> tuple[Member | None, np.ndarray | None, float | None]:
        """Train on all rows at once, with the same passes and seed, and score the same test rows."""
        if not self._settings.compare:
            return None, None, None
        passes = round(self._settings.rounds * self._settings.local_epochs * self._share_asked)
        self._study.say("training centrally, to compare")
        config = self._config.with_overrides([f"run.epochs={max(1, passes)}"])
        member = self._study.train(
            CENTRAL, config, tags={"federated.role": CENTRAL}, fleet=self._config.fleet
        )
        if not len(rows):
            return member, None, None
        run, fingerprint = load_run(member.folder)
        params, _ = best_params(member.folder, run, fingerprint)
        serial = self._config.fleet.model_copy(update={"dispatcher": "serial"})
        coordinator = build_coordinator(serial, build_backend(self._config))
        try:
            scores = score(run, run.config, params, coordinator, "test")
        finally:
            coordinator.dispatcher.close()
        assert np.array_equal(run.data.rows.test, rows), "clients and central training test on the same rows"
        central = merits_of(scores.predicted, scores.actual, is_classes=self._is_classes)
        return member, central, scores.metrics["test/loss"]

    @property
    def _share_asked(self) -> float:
        return self._settings.asked / self._settings.clients

    @cached_property
    def _is_classes(self) -> bool:
        return build_loss(self._config).task != "regression"

    def _predictor(self, outcome: Outcome) -> Predictor:
        return Predictor(
            model=outcome.federation.model,
            params=outcome.progress.best_params,
            preprocessing=outcome.federation.preprocessing,
            loss_name=self._config.loss.name,
            feature_names=outcome.federation.feature_names,
            class_names=outcome.federation.class_names,
        )


def central_validation(outcome: Outcome, name: str) -> list[float]:
    """The central training's validation score after each epoch."""
    if outcome.central_member is None:
        return []
    history = read_history(outcome.central_member.folder.path / "metrics.jsonl")
    return [value for _, value in history.get(f"val/{name}", [])]
