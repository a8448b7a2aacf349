"""``qfleet finetune``: pre-train on a simulator, freeze a part, finish on another backend; and what that loses, wins back and saves.

::

    from orchestrator import TrainingConfig
    from pipelines.finetune import finetune, stages_of

    config = TrainingConfig.from_toml("pipelines/configs/breast_cancer.toml")
    stages = stages_of(config, "noisy", ["backend.noise=aria-1", "backend.shots=500"], freeze=["layer0"], epochs=2)
    print(finetune(stages)["answer"])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.finetune.recipe import finetune
    from pipelines.finetune.stages import Stages, stages_of

__all__ = ["Stages", "finetune", "stages_of"]

_HOMES = {
    "Stages": "pipelines.finetune.stages",
    "finetune": "pipelines.finetune.recipe",
    "stages_of": "pipelines.finetune.stages",
}


def __getattr__(name: str) -> Any:
    """Public names on first use: the command reads its options without them."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pipelines.finetune' has no attribute {name!r}")
