"""The command: whatever a pipeline ends with, an exit code, words on stderr, and with --json one object on stdout."""

from __future__ import annotations

import argparse
import io
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError, FleetError
from pipelines import cli

EXAMPLE = Path(__file__).parents[2] / "pipelines" / "configs" / "breast_cancer.toml"


def _ends_with(error: BaseException | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(options: argparse.Namespace) -> dict[str, Any]:
        if error is not None:
            raise error
        return {"answer": 42}

    monkeypatch.setattr(cli.importlib, "import_module", lambda name: types.SimpleNamespace(run=run))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (ConfigError("run.epochs", 0, "too few"), 2),
        (FleetError("no worker is left"), 1),
        (OSError(28, "No space left on device", "somewhere"), 1),
        (RuntimeError("a defect"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_end_is_one_json_object_and_words(
    error: BaseException | None, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    _ends_with(error, monkeypatch)
    assert cli.main(["evaluate", "latest", "--json"]) == code
    printed = capsys.readouterr()
    outcome = json.loads(printed.out)
    if error is None:
        assert outcome == {"answer": 42}
        return
    assert outcome["exit_code"] == code
    assert outcome["error"]["type"] == type(error).__name__
    assert outcome["error"]["message"] in printed.err
    # The traceback is for defects only.
    assert ("Traceback" in printed.err) == isinstance(error, RuntimeError)


def test_json_has_no_word_for_what_is_not_finite(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = {"loss": float("nan"), "rows": [(1.5, float("-inf"))], "n": 3, "ok": True, "none": None}
    monkeypatch.setattr(
        cli.importlib, "import_module", lambda name: types.SimpleNamespace(run=lambda options: figures)
    )
    assert cli.main(["status", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert printed == {"loss": None, "rows": [[1.5, None]], "n": 3, "ok": True, "none": None}


def test_a_reader_that_went_away_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    _ends_with(BrokenPipeError(), monkeypatch)
    monkeypatch.setattr(cli.sys, "stderr", io.StringIO())  # main closes it
    assert cli.main(["evaluate", "latest"]) == 1


def test_modules_of_the_working_directory_can_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "own_circuit_of_cwd.py").write_text("def make():\n    return 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    code = cli.main(
        ["train", str(EXAMPLE), "--dry-run", "--json", "--set", "model.circuit=own_circuit_of_cwd:make"]
    )
    assert code == 2
    assert "returned int" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_benchmark_of_overhead_counts_training_circuits_only(capsys: pytest.CaptureFixture) -> None:
    serial = ["--json", "--set", "fleet.dispatcher=serial", "--set", "run.early_stopping_patience=1"]
    assert cli.main(["benchmark", "overhead", "--steps", "30", *serial]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["steps"], figures["circuits_per_step"]) == (30, 32)
    assert cli.main(["benchmark", "overhead", "--steps", "0", *serial]) == 2
    assert "--steps = 0" in json.loads(capsys.readouterr().out)["error"]["message"]
