"""``python -m pipelines.config_reference``: the Markdown of docs/configuration.md, written from the configuration itself."""

from __future__ import annotations

import inspect
from typing import Any

from orchestrator.config import Section, TrainingConfig

_HEAD = """# Configuration

Written by `python -m pipelines.config_reference` from `orchestrator/config/`; a test keeps the two equal.

Every key can be set in a TOML file, as a keyword in Python (`TrainingConfig(run=RunConfig(epochs=5))`), or on the command line
(`--set run.epochs=5`; `--set backend.shots=none` goes back to the default). An unknown key, a wrong type or an impossible value is
refused before anything starts, with the nearest valid choice.
"""


def reference() -> str:
    """The whole page."""
    defaults = TrainingConfig()
    parts = [_HEAD]
    for name in TrainingConfig.model_fields:
        section: Section = getattr(defaults, name)
        parts.append(
            f"\n## [{name}]\n\n{inspect.getdoc(type(section))}\n\n| key | default | |\n|---|---|---|\n"
        )
        for key, field in type(section).model_fields.items():
            default = field.get_default(call_default_factory=True)
            text = (field.description or "").replace("|", "\\|")
            parts.append(f"| `{key}` | {_shown(default)} | {text} |\n")
    return "".join(parts)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value in ((), {}):
        return "empty"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


if __name__ == "__main__":
    print(reference(), end="")
