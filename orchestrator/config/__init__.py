"""TrainingConfig: everything that decides a run, frozen and validated before anything starts.

One object, three ways in: a TOML file, keyword arguments in Python, or ``--set section.key=value``. Whatever the way, an unknown
key, a wrong type or an impossible value raises `ConfigError` naming the key, the value and the nearest valid choice. Validation
imports no simulator, so a bad configuration is refused at once.
"""

from __future__ import annotations

from orchestrator.config.backend import BackendConfig, BudgetConfig, FleetConfig, actor_overrides
from orchestrator.config.data import DataConfig
from orchestrator.config.learning import GradientConfig, LossConfig, OptimizerConfig
from orchestrator.config.model import ModelConfig
from orchestrator.config.run import CheckpointConfig, RunConfig, StepsConfig, TrackingConfig
from orchestrator.config.section import Section, config_error
from orchestrator.config.training import TrainingConfig, apply_overrides, read_toml

__all__ = [
    "BackendConfig",
    "BudgetConfig",
    "CheckpointConfig",
    "DataConfig",
    "FleetConfig",
    "GradientConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "RunConfig",
    "Section",
    "StepsConfig",
    "TrackingConfig",
    "TrainingConfig",
    "actor_overrides",
    "apply_overrides",
    "config_error",
    "read_toml",
]
