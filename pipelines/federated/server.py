"""The rounds: parameters out, parameters back, their mean weighted by rows, in client order.

Federated averaging (H. B. McMahan et al., AISTATS 2017, arXiv 1602.05629): a client begins each round with the common parameters and an
optimizer that knows nothing of earlier rounds. What changes from round to round is a `Progress`, kept as one file a round, so that a
resumed study ends on the same bits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import CheckpointError, ExecutionError
from pipelines.federated.hosts import Clients
from pipelines.federated.messages import payload_bytes, to_all
from pipelines.federated.settings import FederatedSettings
from pipelines.run_folder import read_arrays, write_arrays

_SAMPLING = 104
_KEEP = 2
_FIGURES = (
    "train_loss",
    "val_loss",
    "val_merit",
    "val_n",
    "bytes_down",
    "bytes_up",
    "circuits",
    "shots",
)


@dataclass(frozen=True)
class Round:
    """One round.

    Attributes:
        number: from 1. answered, lost: clients whose parameters came back, and who were asked in vain.
        train_loss: mean over the answering clients' rows, in their last pass.
        val_loss, val_merit: of the averaged parameters, mean over the `val_n` validation rows of the clients that answered.
        bytes_down, bytes_up: payload of this round's messages to and from clients, 8 bytes a number.
        circuits, shots: run by the clients, validation included.
    """

    number: int
    answered: tuple[int, ...]
    lost: tuple[int, ...]
    train_loss: float
    val_loss: float
    val_merit: float
    val_n: int
    bytes_down: int
    bytes_up: int
    circuits: int
    shots: int


@dataclass(frozen=True, eq=False)
class Progress:
    """Where the rounds stand.

    Attributes:
        params: float64 [P], common. best_params: those of least validation loss; the last where nothing validates.
        best_round: that they came of, 0 for none yet. best_loss: theirs.
        rounds: that are done.
    """

    params: np.ndarray
    best_params: np.ndarray
    best_round: int = 0
    best_loss: float = float("inf")
    rounds: tuple[Round, ...] = field(default=())

    def after(self, params: np.ndarray, done: Round) -> Progress:
        """The progress with one more round."""
        nothing_validates = done.val_n == 0 and self.best_loss == float("inf")
        is_better = done.val_n > 0 and done.val_loss < self.best_loss
        is_best = nothing_validates or is_better or not self.best_round
        now = replace(self, params=params, rounds=(*self.rounds, done))
        if not is_best:
            return now
        loss = done.val_loss if done.val_n else self.best_loss
        return replace(now, best_params=params, best_round=done.number, best_loss=loss)


def run_rounds(
    clients: Clients,
    settings: FederatedSettings,
    progress: Progress,
    frozen: np.ndarray,
    seed: int,
    on_round: Callable[[Progress], None],
) -> Progress:
    """Do the rounds that are left; `on_round` is told after each.

    Args:
        frozen: bool [P]: parameters that no client changes. seed: of the choice of clients.

    Raises:
        FleetError: fewer clients than `min_clients` answer. ExecutionError: parameters that are not finite.
    """
    while len(progress.rounds) < settings.rounds:
        number = len(progress.rounds)
        asked = chosen_clients(settings, seed, number)
        message = {"params": progress.params, "round": number}
        answers = clients.ask("train", dict.fromkeys(asked, message), least=settings.min_clients)
        params = np.where(frozen, progress.params, averaged(answers))
        if not np.isfinite(params).all():
            raise ExecutionError(
                f"round {number + 1}: the mean of the clients' parameters is not finite; lower optimizer.learning_rate"
            )
        everyone = to_all(settings.clients, {"params": params, "round": number + 1})
        scores = clients.ask("validate", everyone, least=settings.min_clients)
        done = _round(number + 1, asked, message, answers, everyone[0], settings.clients, scores)
        progress = progress.after(params, done)
        on_round(progress)
    return progress


def chosen_clients(settings: FederatedSettings, seed: int, number: int) -> list[int]:
    """The clients that round `number` (from 0) asks, ascending."""
    if settings.asked == settings.clients:
        return list(range(settings.clients))
    rng = np.random.Generator(np.random.Philox(key=[seed, _SAMPLING], counter=[0, 0, 0, number]))
    return sorted(int(one) for one in rng.choice(settings.clients, settings.asked, replace=False))


def averaged(answers: Mapping[int, Mapping[str, Any]]) -> np.ndarray:
    """float64 [P]: the mean of ``params`` weighted by ``n`` rows, summed in client order."""
    order = sorted(answers)
    n_rows = sum(int(answers[client]["n"]) for client in order)
    total = np.zeros_like(answers[order[0]]["params"])
    for client in order:
        total = total + int(answers[client]["n"]) / n_rows * answers[client]["params"]
    return np.asarray(total)


def _round(
    number: int,
    asked: list[int],
    message: Mapping[str, Any],
    answers: Mapping[int, Mapping[str, Any]],
    question: Mapping[str, Any],
    n_questions: int,
    scores: Mapping[int, Mapping[str, Any]],
) -> Round:
    both = (*answers.values(), *scores.values())
    train_loss, _ = _weighted(answers, "loss")
    val_loss, val_n = _weighted(scores, "loss")
    val_merit, _ = _weighted(scores, "merit")
    return Round(
        number=number,
        answered=tuple(sorted(answers)),
        lost=tuple(client for client in asked if client not in answers),
        train_loss=train_loss,
        val_loss=val_loss,
        val_merit=val_merit,
        val_n=val_n,
        bytes_down=len(asked) * payload_bytes(message) + n_questions * payload_bytes(question),
        bytes_up=sum(payload_bytes(one) for one in both),
        circuits=sum(int(one["circuits"]) for one in both),
        shots=sum(int(one["shots"]) for one in both),
    )


def _weighted(answers: Mapping[int, Mapping[str, Any]], name: str) -> tuple[float, int]:
    """The mean of a figure over all rows, and how many these are."""
    n_rows = sum(int(one["n"]) for one in answers.values())
    total = sum(float(answers[client][name]) * int(answers[client]["n"]) for client in sorted(answers))
    return total / max(n_rows, 1), n_rows


class Rounds:
    """The rounds of a study on disk: ``rounds/000007.npz`` is the progress after seven of them.

    Args:
        folder: made when something is saved.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, progress: Progress) -> None:
        """Write it, whole or not at all; the newest two are kept."""
        done = progress.rounds
        n_clients = 1 + max((max((*one.answered, *one.lost)) for one in done), default=0)
        took_part = np.zeros((len(done), n_clients), np.int64)
        for row, one in enumerate(done):
            took_part[row, list(one.answered)] = 1
            took_part[row, list(one.lost)] = -1
        arrays = {
            "params": progress.params,
            "best_params": progress.best_params,
            "best": np.array([progress.best_round, progress.best_loss]),
            "took_part": took_part,
            "figures": np.array([[getattr(one, name) for name in _FIGURES] for one in done], np.float64),
        }
        write_arrays(self._folder / f"{len(done):06d}.npz", arrays)
        for stale in self._files()[:-_KEEP]:
            stale.unlink(missing_ok=True)

    def newest(self) -> Progress | None:
        """The newest that is whole; None where nothing was saved.

        Raises:
            CheckpointError: there are some, and none is whole.
        """
        problems = []
        for path in reversed(self._files()):
            try:
                return _progress(read_arrays(path))
            except (CheckpointError, KeyError, ValueError, IndexError) as error:
                problems.append(f"{path}: {error}")
        if problems:
            raise CheckpointError("no round can be read:\n  " + "\n  ".join(problems))
        return None

    def _files(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(path for path in self._folder.iterdir() if re.fullmatch(r"\d{6,}\.npz", path.name))


def _progress(arrays: Mapping[str, np.ndarray]) -> Progress:
    rounds = []
    for row, (took_part, figures) in enumerate(zip(arrays["took_part"], arrays["figures"], strict=True)):
        values = dict(zip(_FIGURES, figures.tolist(), strict=True))
        whole = {name: int(values.pop(name)) for name in _FIGURES[3:]}
        answered, lost = (tuple(np.flatnonzero(took_part == mark).tolist()) for mark in (1, -1))
        rounds.append(Round(number=row + 1, answered=answered, lost=lost, **values, **whole))
    best_round, best_loss = arrays["best"].tolist()
    return Progress(arrays["params"], arrays["best_params"], int(best_round), best_loss, tuple(rounds))
