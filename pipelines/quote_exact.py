"""What a target would charge for a run that is trained exactly: as if its circuits were sent with so many shots."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.run_setup import PreparedRun

DEFAULT_SHOTS = 1024
"""Priced where a configuration has none."""


def charged_as(
    run: PreparedRun, target: str, rule: str, shots: int | None = None, *, is_mitigated: bool | None = None
) -> dict[str, Any] | None:
    """`run` priced on `target`, as ``qfleet quote`` has it: ``step``, ``training``, ``run`` ... with ``usd`` and ``circuits``.

    Args:
        shots: of each circuit; None: those of the run, or `DEFAULT_SHOTS`. is_mitigated: IonQ's own error mitigation; None: as configured.

    Returns:
        None where the target or the rule refuses.

    Raises:
        InputError: an unknown target or rule.
    """
    from pipelines.quote import quote

    shots = shots or run.config.backend.shots or DEFAULT_SHOTS
    changes: dict[str, Any] = {"shots": shots}
    if is_mitigated is not None:
        changes["error_mitigation"] = is_mitigated
    backend = run.config.backend.model_copy(update=changes)
    config = run.config.model_copy(update={"backend": backend})
    priced = replace(run, config=config, task=replace(run.task, shots=shots, has_jacobian=False))
    (found,) = quote(priced, [target], [rule])["targets"]
    (row,) = (row for row in found["rules"] if row["rule"] == rule)
    return None if "refused" in row else row
