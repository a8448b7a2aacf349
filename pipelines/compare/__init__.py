"""``qfleet compare``: the same training with several settings and seeds, as one study, and whether what won did so by more than chance.

::

    from orchestrator import TrainingConfig
    from pipelines.compare import compare, settings_of

    config = TrainingConfig.from_toml("pipelines/configs/breast_cancer.toml")
    outcome = compare(config, settings_of(config, {"model.ansatz": ["three_rotation", "hardware_efficient"]}), n_seeds=5)
    print(outcome["answer"])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.compare.settings import Setting, settings_of
    from pipelines.compare.sweep import compare

__all__ = ["Setting", "compare", "settings_of"]

_HOMES = {
    "Setting": "pipelines.compare.settings",
    "compare": "pipelines.compare.sweep",
    "settings_of": "pipelines.compare.settings",
}


def __getattr__(name: str) -> Any:
    """Public names on first use: the command reads its options without them."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pipelines.compare' has no attribute {name!r}")
