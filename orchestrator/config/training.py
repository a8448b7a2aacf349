"""TrainingConfig: all sections as one, from TOML, keyword arguments or overrides."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from orchestrator.config.backend import BackendConfig, BudgetConfig, FleetConfig
from orchestrator.config.data import DataConfig
from orchestrator.config.learning import GradientConfig, LossConfig, OptimizerConfig
from orchestrator.config.model import ModelConfig
from orchestrator.config.run import CheckpointConfig, RunConfig, StepsConfig, TrackingConfig
from orchestrator.config.section import Section
from orchestrator.errors import ConfigError, nearest


class TrainingConfig(Section):
    """All sections of a training run.

    >>> TrainingConfig(data=DataConfig(name="iris"), run=RunConfig(epochs=5)).run.epochs
    5
    """

    run: RunConfig = Field(default_factory=RunConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    data: DataConfig = Field(default_factory=lambda: DataConfig(name="breast_cancer", n_components=8))
    gradient: GradientConfig = Field(default_factory=GradientConfig)
    loss: LossConfig = Field(default_factory=LossConfig)
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    training: StepsConfig = Field(default_factory=StepsConfig)
    backend: BackendConfig = Field(default_factory=BackendConfig)
    fleet: FleetConfig = Field(default_factory=FleetConfig)
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        is_autoencoder = self.loss.name == "trash_fidelity"
        if is_autoencoder and self.model.latent_qubits is None:
            problem = "the loss trash_fidelity needs the number of qubits to compress to"
            near = str(self.model.n_qubits // 2) if self.model.n_qubits > 1 else None
            raise ConfigError("model.latent_qubits", None, problem, near)
        if self.model.latent_qubits is not None and not is_autoencoder:
            raise ConfigError(
                "loss.name", self.loss.name, "model.latent_qubits makes an autoencoder", "trash_fidelity"
            )
        has_labels = self.data.target is not None or self.data.image_size is not None
        if self.data.path is not None and not has_labels and not is_autoencoder:
            raise ConfigError(
                "data.target", None, f"data.path needs the column to learn; {self.loss.name} learns one"
            )
        return self

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """From nested plain values, as TOML gives them."""
        return cls(**_sections(values))

    @classmethod
    def from_toml(cls, path: str | Path, overrides: Iterable[str] = ()) -> TrainingConfig:
        """From a TOML file and ``section.key=value`` overrides.

        Raises:
            ConfigError: the file is missing or not TOML, or a key or value is refused.
        """
        return cls.from_dict(apply_overrides(read_toml(path), overrides))

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values; absent optional values are left out, so that it can be written as TOML."""
        return self.model_dump(mode="json", exclude_none=True)

    def with_overrides(self, overrides: Iterable[str]) -> TrainingConfig:
        """A copy with ``section.key=value`` overrides applied."""
        return self.from_dict(apply_overrides(self.to_dict(), overrides))

    def flattened(self) -> dict[str, Any]:
        """``{"section.key": value}`` of every key, None included."""
        dump = self.model_dump(mode="json")
        return {f"{section}.{key}": value for section, keys in dump.items() for key, value in keys.items()}


def read_toml(path: str | Path) -> dict[str, Any]:
    """The file's tables.

    Raises:
        ConfigError: no such file, or not TOML; the text says where.
    """
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        siblings = [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        close = nearest(path.name, siblings)
        raise ConfigError(
            "config",
            str(path),
            "no such file",
            str(path.with_name(close)) if close else None,
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError("config", str(path), f"cannot be read as TOML: {error}") from None


def apply_overrides(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """`values` with each ``section.key=value`` set; a value is read as TOML, else as a string; ``none`` removes the key."""
    result = {section: dict(keys) if isinstance(keys, Mapping) else keys for section, keys in values.items()}
    for override in overrides:
        path, equals, text = override.partition("=")
        section, dot, key = path.strip().partition(".")
        if not equals or not dot or not key:
            raise ConfigError("--set", override, "expected section.key=value, e.g. run.epochs=5")
        if not isinstance(result.setdefault(section, {}), dict):
            raise ConfigError(section, result[section], "is a value, not a section")
        if text.strip().lower() == "none":
            _check_key(section, key)
            result[section].pop(key, None)
        else:
            result[section][key] = _toml_value(text.strip())
    return result


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _check_key(section: str, key: str) -> None:
    field = TrainingConfig.model_fields.get(section)
    if field is None:
        raise ConfigError(
            section,
            key,
            "no such section",
            nearest(section, TrainingConfig.model_fields),
        )
    names = _section_type(section).model_fields
    if key not in names:
        raise ConfigError(f"{section}.{key}", "none", "no such key", nearest(key, names))


def _section_type(section: str) -> type[Section]:
    annotation = TrainingConfig.model_fields[section].annotation
    assert isinstance(annotation, type)
    assert issubclass(annotation, Section)
    return annotation


def _sections(values: Mapping[str, Any]) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for section, keys in values.items():
        if section not in TrainingConfig.model_fields:
            raise ConfigError(
                section,
                keys,
                "no such section",
                nearest(section, TrainingConfig.model_fields),
            )
        if not isinstance(keys, Mapping):
            raise ConfigError(section, keys, f"is a section: write [{section}] and its keys below it")
        built[section] = _section_type(section)(**keys)
    return built
