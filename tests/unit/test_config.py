"""TrainingConfig: what is accepted, how each refusal reads, and that a configuration survives every journey."""

from __future__ import annotations

import pickle
import tomllib
from pathlib import Path
from typing import Any

import pydantic
import pytest
import tomli_w

from orchestrator.config import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    Section,
    TrainingConfig,
    apply_overrides,
)
from orchestrator.errors import ConfigError
from orchestrator.models.model import Model

SECTIONS: dict[str, type[Section]] = {
    name: field.annotation  # type: ignore[misc]
    for name, field in TrainingConfig.model_fields.items()
}
KEYS = [(section, key) for section, kind in SECTIONS.items() for key in kind.model_fields]

# One value that is valid and not the default, for every key there is.
OTHER: dict[str, Any] = {
    "run.name": "a-run.1", "run.directory": "elsewhere", "run.seed": 2**63 - 1, "run.epochs": 3, "run.batch_size": 5,
    "run.max_steps": 17, "run.early_stopping_patience": 4, "run.early_stopping_min_delta": 1e-3,
    "model.n_qubits": 3, "model.n_layers": 4, "model.feature_map": "my.maps:Map", "model.feature_axis": "z",
    "model.n_features": 5, "model.feature_repeats": 3, "model.layers": ("convolution", "pooling"),
    "model.image_shape": (4, 6), "model.patch_shape": (2, 3), "model.patch_stride": 2,
    "model.reuploading": True, "model.simplify": True, "model.ansatz": "hardware_efficient", "model.entanglement": "full",
    "model.observables": ("Z0", "0.5*X1 - Z2"), "model.head": "none", "model.output_scale": 3.25, "model.initial_scale": 0.0,
    "model.latent_qubits": 3,
    "model.frozen": (0, "p3..p5", "layer-1"), "model.initial_run": "runs/other", "model.circuit": "my.module:make",
    "data.name": "iris", "data.dimension": 6,
    "data.target": "y", "data.features": ("a", "b"), "data.classes": (2, 0), "data.test_fraction": 0.0,
    "data.validation_fraction": 0.3, "data.max_samples": 100, "data.standardize": False, "data.n_components": 2,
    "data.angle_scale": 0.7, "data.angle_limit": 3.0, "data.path": "some/where.csv",
    "data.filter": "a > 1", "data.streaming": True, "data.memory_limit_gb": 0.5, "data.readers": 2, "data.image_size": 8,
    "data.image_fit": "letterbox",
    "gradient.rule": "parameter_shift", "gradient.stencil": "forward", "gradient.step": 0.2, "gradient.fraction": 0.5,
    "gradient.perturbations": 3, "gradient.perturbation_size": 0.2, "gradient.perturbation_decay": 0.0,
    "gradient.guide_fraction": 0.5, "gradient.metric": "full", "gradient.regularization": 0.1,
    "loss.name": "mse",
    "gradient.shots_per_step": 5000, "gradient.shot_allocation": "gradient", "gradient.allocation_rate": 0.1,
    "gradient.shot_levels": (20, 300), "gradient.circuit_overhead": 0.0, "gradient.explore_every": 5, "gradient.coordinates": 3,
    "optimizer.name": "sgd", "optimizer.learning_rate": 1e-7, "optimizer.beta1": 0.8, "optimizer.beta2": 0.99,
    "optimizer.epsilon": 1e-9, "optimizer.momentum": 0.0, "optimizer.nesterov": True, "optimizer.weight_decay": 0.1,
    "optimizer.rates": {"head": 5.0, "layer0": 0.1}, "optimizer.clip_value": 0.1, "optimizer.clip_norm": 2.0,
    "optimizer.schedule": "cosine", "optimizer.schedule_factor": 0.1, "optimizer.schedule_epochs": 3,
    "optimizer.minimum_learning_rate": 1e-8, "training.max_staleness": 2,
    "backend.name": "cirq", "backend.shots": 100, "backend.precision": "single", "backend.threads": 3,
    "backend.device": "cuda:1",
    "backend.noise": "forte-1", "backend.target": "qpu.aria-1", "backend.gateset": "native", "backend.error_mitigation": True,
    "backend.noise_scales": (1.0, 3.0), "backend.extrapolation": "richardson", "backend.noise_folding": "all",
    "backend.readout_mitigation": True, "backend.calibration_shots": 700,
    "backend.circuits_per_job": 97, "backend.lookup_seconds": 0.5, "backend.jobs_in_flight": 3, "backend.request_seconds": 2.0,
    "backend.outage_seconds": 60.0,
    "backend.host": "http://127.0.0.1:8000", "backend.allow_cloud": True,
    "backend.targets": ("qpu.aria-1", "qpu.forte-1"), "backend.share_by": "price", "backend.on_failure": "skip_samples",
    "backend.max_skipped": 0.1, "backend.fallback": "noisy",
    "backend.record": "runs/paid", "backend.then": "noisy",
    "fleet.dispatcher": "serial", "fleet.n_actors": 3, "fleet.cpus_per_actor": 0.5, "fleet.max_in_flight": 1,
    "fleet.address": "auto", "fleet.name": "lab-1", "fleet.job_seconds": 0.5,
    "fleet.wait_for_nodes_seconds": 1.5, "fleet.min_actors": 1, "fleet.max_actors": 4,
    "fleet.resources_per_actor": {"qpu_ionq": 1.0, "GPU": 0.5}, "fleet.placement": "spread",
    "budget.max_usd": 12.5, "budget.prices": "my/prices.toml",
    "checkpoint.every_epochs": 2, "checkpoint.every_seconds": 1.5, "checkpoint.every_steps": 10, "checkpoint.keep": 1,
    "tracking.enabled": False, "tracking.uri": "http://localhost:5000", "tracking.experiment": "other",
    "tracking.registered_model": "tumours", "tracking.interactive_plots": False,
    "tracking.log_model": False, "tracking.circuit_log": True, "tracking.tags": {"owner": "me", "αβ": "γ"},
}  # fmt: skip


def with_other(key: str) -> TrainingConfig:
    """The default configuration with one key at its other value."""
    assert key in OTHER, f"{key} is new: give it a valid value in OTHER that is not the default"
    section, name = key.split(".")
    values: dict[str, dict[str, Any]] = {section: {name: OTHER[key]}}
    if key == "data.path":
        values["data"]["target"] = "y"
    elif key in ("data.filter", "data.streaming", "data.readers"):
        values["data"] |= {"path": "some/where.csv", "target": "y"}
    elif key in ("data.image_size", "data.image_fit"):
        values["data"] |= {"path": "some/where", "image_size": OTHER["data.image_size"]}
    elif name in ("image_shape", "patch_shape", "patch_stride"):
        values["model"] = {one: OTHER[f"model.{one}"] for one in ("image_shape", "patch_shape", name)}
    elif key == "model.latent_qubits":
        values["loss"] = {"name": "trash_fidelity"}
    elif key == "backend.fallback":
        values["backend"]["on_failure"] = "simulate"
    elif section == "data" and name != "name":
        values["data"]["name"] = "breast_cancer"
    return TrainingConfig.from_dict(values)


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        TrainingConfig().with_overrides(overrides)
    return str(caught.value)


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_every_key_survives_toml_pickle_and_python(section: str, key: str, tmp_path: Path) -> None:
    config = with_other(f"{section}.{key}")
    value = getattr(getattr(config, section), key)
    assert value == OTHER[f"{section}.{key}"]
    assert value != getattr(getattr(TrainingConfig(), section), key), (
        "the test's value must differ from the default"
    )
    text = tomli_w.dumps(config.to_dict())
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    assert TrainingConfig.from_toml(tmp_path / "config.toml") == config
    assert TrainingConfig.from_dict(tomllib.loads(text)) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert config.with_overrides([]) == config


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_every_key_is_described(section: str, key: str) -> None:
    assert SECTIONS[section].model_fields[key].description
    assert SECTIONS[section].section_name == section


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_every_key_refuses_a_wrong_type_and_a_typo(section: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SECTIONS[section](**{key: object})
    assert caught.value.key == f"{section}.{key}"
    typo = "_target" if key == "target" else f"{key}s_"  # "targets" is a key too
    with pytest.raises(ConfigError) as caught:
        SECTIONS[section](**{typo: 1})
    assert caught.value.key == f"{section}.{typo}"
    assert caught.value.suggestion == key


def test_default_model_can_be_built() -> None:
    config = TrainingConfig()
    model = Model.from_config(config.model)
    assert model.n_circuit_params == 48
    assert model.n_features == config.data.n_components == config.model.n_qubits == 8


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("run.epoch=5", ["run.epoch = 5", "no such key", "'epochs'"]),
        ("rum.epochs=5", ["rum", "no such section", "'run'"]),
        ("run.epochs=0", ["run.epochs = 0", "greater than or equal to 1", "'1'"]),
        ("run.epochs=2.5", ["run.epochs = 2.5", "integer"]),
        ("run.epochs=true", ["run.epochs = True", "integer"]),
        ("run.epochs=many", ["run.epochs = 'many'", "integer"]),
        ("run.seed=-1", ["run.seed = -1", "'0'"]),
        ("run.name=a/b", ["run.name = 'a/b'"]),
        ("run.early_stopping_min_delta=nan", ["run.early_stopping_min_delta = nan"]),
        ("model.n_qubits=61", ["model.n_qubits = 61", "'60'"]),
        (
            "model.ansatz=tree_rotation",
            ["model.ansatz = 'tree_rotation'", "'three_rotation'", "hardware_efficient"],
        ),
        ("model.feature_axis=Y", ["model.feature_axis = 'Y'", "one of x, y, z", "did you mean 'y'"]),
        ("model.frozen=[1.5]", ["model.frozen = 1.5", "integer"]),
        ("model.frozen=3", ["model.frozen = 3", "tuple"]),
        ("data.name=iriss", ["data.name = 'iriss'", "did you mean 'iris'"]),
        ("data.name=none", ["exactly one of data.name and data.path"]),
        ("data.path=x.csv", ["exactly one of data.name and data.path"]),
        ("model.latent_qubits=0", ["model.latent_qubits = 0", "'1'"]),
        ("model.latent_qubits=8", ["model.latent_qubits = 8", "'7'"]),
        ("model.latent_qubits=3", ["model.head = 'linear'", "did you mean 'none'"]),
        ("loss.name=trash_fidelity", ["model.latent_qubits = None", "did you mean '4'"]),
        ("data.test_fraction=1.0", ["data.test_fraction = 1.0", "less than 1"]),
        ("data.max_samples=3", ["data.max_samples = 3", "'8'"]),
        ("data.classes=[1, 'a']", ["data.classes"]),
        ("gradient.rule=adjont", ["gradient.rule = 'adjont'", "'adjoint'"]),
        ("loss.name=msee", ["loss.name = 'msee'", "'mse'"]),
        ("optimizer.learning_rate=0", ["optimizer.learning_rate = 0", "greater than 0"]),
        ("optimizer.learning_rate=inf", ["optimizer.learning_rate = inf", "finite"]),
        ("optimizer.learning_rate='0.1'", ["optimizer.learning_rate = '0.1'", "number"]),
        ("optimizer.beta1=1", ["optimizer.beta1 = 1", "less than 1"]),
        ("optimizer.schedule=cosin", ["optimizer.schedule = 'cosin'", "'cosine'"]),
        ("optimizer.minimum_learning_rate=0.1", ["optimizer.minimum_learning_rate", "learning_rate"]),
        ("backend.shots=0", ["backend.shots = 0", "'1'"]),
        ("backend.name=idael", ["backend.name = 'idael'", "'ideal'"]),
        ("backend.noise=aria1", ["backend.noise = 'aria1'", "did you mean 'aria-1'"]),
        ("backend.precision=singel", ["backend.precision = 'singel'", "did you mean 'single'"]),
        ("backend.threads=0", ["backend.threads = 0", "'auto' or a whole number from 1 on"]),
        ("backend.threads=true", ["backend.threads = True", "'auto' or a whole number"]),
        ("backend.threads=all", ["backend.threads = 'all'", "'auto'"]),
        ("fleet.min_actors=3", ["fleet.min_actors = 3", "is more than fleet.n_actors = 2", "'2'"]),
        ("fleet.max_actors=1", ["fleet.max_actors = 1", "is fewer than fleet.n_actors = 2", "'2'"]),
        ("fleet.resources_per_actor={CPU=2}", ["fleet.resources_per_actor", "fleet.cpus_per_actor = 2"]),
        ("fleet.resources_per_actor={q=0}", ["fleet.resources_per_actor", "q = 0 should be greater than 0"]),
        ("fleet.resources_per_actor={q=2.5}", ["fleet.resources_per_actor", "q = 2.5 should be whole", "2"]),
        ("fleet.name='my lab'", ["fleet.name = 'my lab'", "nearest valid: 'my-lab'"]),
        ("fleet.placement=spred", ["fleet.placement = 'spred'", "'spread'"]),
        ("fleet.dispatcher=rai", ["fleet.dispatcher = 'rai'", "'ray'"]),
        ("tracking.enabled=1", ["tracking.enabled = 1", "bool"]),
        ("tracking.registered_model=a/b", ["tracking.registered_model = 'a/b'"]),
        ("tracking.tags={owner = 1}", ["tracking.tags = 1", "string"]),
    ],
)
def test_refusals_name_key_value_and_remedy(override: str, parts: list[str]) -> None:
    message = refusal(override)
    for part in parts:
        assert part in message


@pytest.mark.parametrize("override", ["run", "run=5", "run.epochs", "=5", ".=5", "run.=5"])
def test_malformed_override(override: str) -> None:
    assert "section.key=value" in refusal(override)


def test_overrides_are_read_as_toml_else_as_text() -> None:
    config = TrainingConfig().with_overrides(
        [
            " run.epochs = 3", "run.name=plain", 'run.directory="with space"', "optimizer.learning_rate=1e-3",
            "model.observables=['Z0', 'X1*X2']", "model.reuploading=true", "data.n_components=none", "tracking.tags={a = 'b=c'}",
            "run.epochs=4",
        ]
    )  # fmt: skip
    assert (config.run.epochs, config.run.name, config.run.directory) == (4, "plain", "with space")
    assert config.optimizer.learning_rate == 1e-3
    assert config.model.observables == ("Z0", "X1*X2")
    assert config.model.reuploading
    assert config.data.n_components is None
    assert config.tracking.tags == {"a": "b=c"}


def test_none_of_an_unknown_key_is_refused() -> None:
    assert "did you mean 'epochs'" in refusal("run.epoch=none")
    assert "did you mean 'run'" in refusal("rum.epochs=none")


def test_overrides_leave_their_input_alone() -> None:
    values = {"run": {"epochs": 1}}
    assert apply_overrides(values, ["run.epochs=2", "model.n_qubits=3"]) == {
        "run": {"epochs": 2},
        "model": {"n_qubits": 3},
    }
    assert values == {"run": {"epochs": 1}}
    with pytest.raises(ConfigError, match="is a value, not a section"):
        apply_overrides({"run": 5}, ["run.epochs=2"])


def test_sections_are_frozen_and_closed() -> None:
    config = TrainingConfig()
    with pytest.raises(pydantic.ValidationError):
        config.run.epochs = 5  # type: ignore[misc]
    with pytest.raises(pydantic.ValidationError):
        config.run = RunConfig()  # type: ignore[misc]
    with pytest.raises(ConfigError, match="no such key"):
        TrainingConfig(runn=RunConfig())
    with pytest.raises(ConfigError, match=r"run\.epochs = 0"):
        TrainingConfig(run={"epochs": 0})  # type: ignore[arg-type]


def test_section_that_is_no_table() -> None:
    with pytest.raises(ConfigError, match=r"write \[run\]"):
        TrainingConfig.from_dict({"run": 5})


def test_file_that_is_not_there_or_not_toml(tmp_path: Path) -> None:
    (tmp_path / "breast_cancer.toml").write_text("[run]\nepochs = 3\n")
    with pytest.raises(ConfigError, match=r"no such file; did you mean '.*breast_cancer\.toml'"):
        TrainingConfig.from_toml(tmp_path / "breast_cancr.toml")
    with pytest.raises(ConfigError, match="no such file"):
        TrainingConfig.from_toml(tmp_path / "no" / "folder.toml")
    (tmp_path / "bad.toml").write_text("[run\n")
    with pytest.raises(ConfigError, match=r"bad\.toml.*line 1"):
        TrainingConfig.from_toml(tmp_path / "bad.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xff\n")
    with pytest.raises(ConfigError, match=r"latin\.toml"):
        TrainingConfig.from_toml(tmp_path / "latin.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        TrainingConfig.from_toml(tmp_path)
    assert TrainingConfig.from_toml(tmp_path / "breast_cancer.toml", ["run.seed=1"]).run == RunConfig(
        epochs=3, seed=1
    )


def test_flattened_has_every_key_once() -> None:
    flat = TrainingConfig().flattened()
    assert list(flat) == [f"{section}.{key}" for section, key in KEYS]
    assert flat["run.name"] is None
    assert flat["model.n_qubits"] == 8


def test_numbers_are_not_coerced_from_text_or_rounded() -> None:
    assert OptimizerConfig(learning_rate=1).learning_rate == 1.0
    assert DataConfig(name="iris", classes=["1", "0"]).classes == ("1", "0")
    assert DataConfig(name="iris", classes=[1, 0]).classes == (1, 0)
    for wrong in ({"frozen": [1.5]}, {"frozen": [True]}, {"n_qubits": "8"}):
        with pytest.raises(ConfigError):
            ModelConfig(**wrong)
