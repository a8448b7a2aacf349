"""``qfleet benchmark gradients``: the problem's known answer, the comparison's figures, the picture, and what is refused."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import cirq
import numpy as np
import pytest

from pipelines import cli
from pipelines.benchmark.gradients import GROUND_ENERGY, N_SPINS, add_steps_to_target, table
from pipelines.plots.gradient_rules import gradient_rules


def test_ground_energy() -> None:
    q = cirq.LineQubit.range(N_SPINS)
    terms = [-cirq.Z(a) * cirq.Z(b) for a, b in itertools.pairwise(q)] + [-cirq.X(a) for a in q]
    matrix = cirq.PauliSum.from_pauli_strings(terms).matrix(q)
    assert np.linalg.eigvalsh(matrix)[0] == pytest.approx(GROUND_ENERGY, abs=1e-12)


def test_natural_gradient_needs_fewer_steps_than_plain_descent(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Each at its best learning rate, both to where plain descent ends: less than half of the steps."""
    code = cli.main(
        ["benchmark", "gradients", "--rule", "adjoint", "natural_gradient_full", "--steps", "40", "--plot", str(tmp_path), "--json"]
    )  # fmt: skip
    assert code == 0
    outcome = json.loads(capsys.readouterr().out)
    plain, natural = outcome["rules"]
    assert plain["steps_to_target"] == 40
    assert natural["steps_to_target"] < 20
    assert min(natural["losses"]) > -1e-9, "no state is below the ground state"
    assert natural["circuits_to_target"] == natural["circuits"][natural["steps_to_target"]]
    assert (tmp_path / "gradient-rules.png").stat().st_size > 10_000


def test_a_rule_that_never_gets_there_or_does_not_apply_is_said_so(tmp_path: Path) -> None:
    outcome = {
        "problem": "energy",
        "shots": 100,
        "steps": 2,
        "rules": [
            {"rule": "parameter_shift", "learning_rate": 0.1, "losses": [3.0, 2.0, 1.0], "circuits": [0, 5, 10], "circuits_per_step": 5},
            {"rule": "spsa", "learning_rate": 0.1, "losses": [3.0, 2.9, 2.8], "circuits": [0, 2, 4], "circuits_per_step": 2},
            {"rule": "rotosolve", "error": "does not hold; use another"},
        ],
    }  # fmt: skip
    outcome["target"] = add_steps_to_target(outcome["rules"])  # type: ignore[arg-type]
    assert outcome["target"] == 1.0
    text = table(outcome)
    assert "| parameter_shift | 0.1 | 5 | 1.0000 | 2 | 10 |" in text
    assert "| spsa | 0.1 | 2 | 2.8000 | not reached | – |" in text
    assert "does not hold" in text
    assert len(gradient_rules(outcome, tmp_path / "a.png").axes) == 2
    assert add_steps_to_target([{"rule": "spsa", "losses": [1.0]}]) is None


@pytest.mark.parametrize(
    ("options", "what"), [(["--rule", "spza"], "did you mean 'spsa'"), (["--steps", "0"], "--steps = 0")]
)
def test_refused(options: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["benchmark", "gradients", *options]) == 2
    assert what in capsys.readouterr().err
