"""What a simplified circuit would save, in short; ``qfleet simplify`` says it at length."""

from __future__ import annotations

from typing import Any

from pipelines.run_setup import PreparedRun


def examine_simplified(run: PreparedRun) -> dict[str, Any] | None:
    """Gates, moments and circuits a step that ``model.simplify = true`` would save, as plain values.

    None where the model must stay as it is: an autoencoder.
    """
    from pipelines.simplify import both_of, examine_simplification

    model = run.config.model
    if model.latent_qubits is not None:
        return None
    if model.simplify:
        return {"is_on": True}
    found = examine_simplification(both_of(run), target=None)
    before, after = found["before"], found["after"]
    circuits = [each["circuits_a_step_of_parameter_shift"] for each in (before, after)]
    return {
        "is_on": False,
        "gates": before["gates"],
        "saved_gates": before["gates"] - after["gates"],
        "depth": before["depth"],
        "saved_depth": before["depth"] - after["depth"],
        "saved_circuits_a_step": None if None in circuits else circuits[0] - circuits[1],
        "left_out": found["left_out"],
    }
