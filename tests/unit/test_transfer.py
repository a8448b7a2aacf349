"""Parameters by name, layer and part: freezing, learning rates by group, and starting from a trained run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.config import ModelConfig, TrainingConfig
from orchestrator.errors import ConfigError
from orchestrator.models.model import Model
from orchestrator.models.plain import model_from_plain, model_to_plain
from orchestrator.models.selection import ParamNames
from pipelines.report import summary
from pipelines.run_setup import prepare_run
from pipelines.trainer import Trainer
from pipelines.transfer import shared_params

NAMES = ParamNames(("p0", "p1", "p2", "p3", "p4", "p5"), (0, 2, 4, 6), 3)
SMALL = [
    "data.name=iris", "data.classes=[0, 1]", "data.n_components=none", "model.n_qubits=4", "model.n_layers=1", "run.epochs=2",
    "fleet.dispatcher=serial", "tracking.enabled=false",
]  # fmt: skip


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([3, 0], [0, 3]),
        (["p4", "p1..p2", "p1"], [1, 2, 4]),
        (["layer0"], [0, 1]),
        (["layer-1", "head"], [4, 5, 6, 7, 8]),
        (["circuit"], [0, 1, 2, 3, 4, 5]),
        (["head1..head2", 8], [7, 8]),
        (["p5..head0"], [5, 6]),
        ([], []),
    ],
)
def test_selection(entries: list[int | str], expected: list[int]) -> None:
    assert NAMES.select("model.frozen", entries).tolist() == expected


@pytest.mark.parametrize(
    ("entry", "suggestion"),
    [
        (9, "8"),
        (-1, "8"),
        ("layer3", "layer2"),
        ("laier0", "layer0"),
        ("p6", "p5"),
        ("p4..p2", None),
        ("heads", "head"),
    ],
)
def test_what_names_nothing_is_refused(entry: int | str, suggestion: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        NAMES.select("model.frozen", [entry])
    assert caught.value.value == entry
    if suggestion is not None:
        assert caught.value.suggestion is not None
        assert caught.value.suggestion[:-1] == suggestion[:-1]  # of layers and names any near one will do


def test_layers_of_a_configured_model_can_be_frozen_and_survive_a_file() -> None:
    model = Model.from_config(ModelConfig(n_qubits=3, n_layers=2, frozen=("layer0", "head")))
    assert model.frozen.tolist() == [True] * 9 + [False] * 9 + [True] * model.head.n_params
    again = model_from_plain(*model_to_plain(model))
    assert again.layers == model.layers == (0, 9, 18)
    description, arrays = model_to_plain(model)
    del description["layers"]  # as models of version 0.1.0
    assert model_from_plain(description, arrays).layers == ()


def test_frozen_layers_cost_no_circuits_and_the_summary_says_how_many() -> None:
    base = TrainingConfig().with_overrides([*SMALL, "model.n_layers=2", "gradient.rule=parameter_shift"])
    whole = summary(prepare_run(base))
    part = summary(prepare_run(base.with_overrides(["model.frozen=['layer0']"])))
    assert whole["circuits_saved_per_step"] == 0
    assert (
        part["circuits_saved_per_step"]
        == whole["circuits_per_step"] - part["circuits_per_step"]
        == 2 * 12 * 32
    )


def test_learning_rates_by_group(tmp_path: Path) -> None:
    """One step of plain descent: each group moves by its factor times the gradient, a factor of 0 not at all."""
    plain = [
        "optimizer.name=sgd",
        "optimizer.momentum=0",
        "run.max_steps=1",
        f"run.directory='{tmp_path}'",
        *SMALL,
    ]
    moves = {}
    for rates in ("{}", "{head = 3.0, p0 = 0.0}"):
        config = TrainingConfig().with_overrides([*plain, f"optimizer.rates={rates}"])
        start = prepare_run(config).task.model.initial_params(config.run.seed)
        moves[rates] = Trainer(config, progress=False).fit().params - start
    one, other = moves.values()
    factor = np.ones(len(one))
    factor[12:], factor[0] = 3.0, 0.0
    np.testing.assert_allclose(other, factor * one, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("rates", "what"),
    [
        ("{hed = 2.0}", "names no parameter"),
        ("{circuit = 2.0, p1 = 3.0}", "holds p1, which 'circuit' holds already"),
    ],
)
def test_groups_that_cannot_be_are_refused(rates: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        prepare_run(TrainingConfig().with_overrides([*SMALL, f"optimizer.rates={rates}"]))


def test_a_deeper_model_starts_from_a_trained_one(tmp_path: Path) -> None:
    base = TrainingConfig().with_overrides([*SMALL, f"run.directory='{tmp_path}'"])
    first = Trainer(base.with_overrides(["run.name=first"]), progress=False).fit()
    deeper = base.with_overrides(
        ["model.n_layers=2", "model.initial_run=first", "run.name=second", "optimizer.learning_rate=1e-300"]
    )
    second = Trainer(deeper, progress=False).fit()
    fresh = prepare_run(deeper).task.model.initial_params(deeper.run.seed)
    np.testing.assert_array_equal(second.params[:12], first.best_params[:12])
    np.testing.assert_array_equal(second.params[12:24], fresh[12:24])
    np.testing.assert_array_equal(second.params[24:], first.best_params[12:])


def test_nothing_to_start_from_is_refused_and_leaves_no_folder(tmp_path: Path) -> None:
    base = TrainingConfig().with_overrides(
        [*SMALL, f"run.directory='{tmp_path}'", "model.initial_run=nowhere"]
    )
    with pytest.raises(Exception, match="nowhere"):
        Trainer(base, progress=False).fit()
    assert not list(tmp_path.iterdir())


def test_heads_of_another_size_are_not_shared() -> None:
    one = Model.from_config(ModelConfig(n_qubits=2), 1)
    other = Model.from_config(ModelConfig(n_qubits=2), 3)
    own, theirs = shared_params(one, other)
    assert own.tolist() == theirs.tolist() == list(range(one.n_circuit_params))
