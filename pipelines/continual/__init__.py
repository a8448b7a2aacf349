"""``qfleet continual`` and `ContinualTrainer`: training on a stream of samples, with replay, and what of the past it forgets.

`trainer` is what a Python user holds, `state` what changes in it, `reservoir` a sample of what came by, `settings` what can be asked for;
`streams` cuts data sets into tasks that change, `study` trains with replay and without beside central training, `measures` says what was
forgotten, `report` says it in words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.continual.settings import Replay
    from pipelines.continual.trainer import ContinualTrainer

__all__ = ["ContinualTrainer", "Replay"]


def __getattr__(name: str) -> Any:
    """Public names on first use: options are read without what training needs."""
    if name in __all__:
        from pipelines.continual import trainer

        return getattr(trainer, name)
    raise AttributeError(f"module 'pipelines.continual' has no attribute {name!r}")
