"""``qfleet benchmark torch``: both backends answer the same jobs, a wrong answer is no figure, and no GPU is said to be none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pipelines import cli

pytest.importorskip("torch")

from actors.backends.torch import TorchSession

SMALL = ["benchmark", "torch", "--qubits", "4", "5", "--samples", "3", "--seconds", "0.01"]


def test_ratios_and_agreement(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cli.main([*SMALL, "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert [(row["qubits"], row["task"]) for row in outcome["rows"]] == [
        (n, task) for n in (4, 5) for task in ("values", "gradient")
    ]
    assert (outcome["gpu"], outcome["devices"]) == (False, [])
    for row in outcome["rows"]:
        assert row["samples"] == 3
        assert row["ideal"]["execution"] == "state vector"
        assert row["cpu"]["ratio"] == row["cpu"]["milliseconds"] / row["ideal"]["milliseconds"]
        assert 0 < row["cpu"]["difference"] <= row["cpu"]["bound"] < 1e-10
        assert "cuda" not in row
    assert cli.main(SMALL) == 0
    printed = capsys.readouterr().out
    assert "no GPU here" in printed
    assert "| 4 | 3 | gradient |" in printed


def test_wrong_numbers_are_no_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TorchSession.run

    def off(self: TorchSession, compiled: Any, job: Any) -> Any:
        result = run(self, compiled, job)
        return replace(result, values=result.values + 1e-11)

    monkeypatch.setattr(TorchSession, "run", off)
    assert cli.main(SMALL) == 1
    assert "differ by 1e-11 in the values of 4 qubits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--qubits", "25"], "--qubits = 25: should be from 2 to 24; did you mean '24'"),
        (["--seconds", "0"], "--seconds"),
        (["--samples", "0"], "--samples"),
        (["--threads", "0"], "--threads"),
    ],
)
def test_refusals(capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
    assert cli.main(["benchmark", "torch", *options]) == 2
    assert words in capsys.readouterr().err
