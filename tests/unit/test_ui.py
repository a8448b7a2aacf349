"""``qfleet ui``: which page it opens."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from pipelines import ui


def tracked(folder: Path, run_id: str, uri: str = "http://***@mlflow:5000") -> str:
    """A run called ``one`` that MLflow knows."""
    folder.mkdir(parents=True)
    (folder / "config.toml").touch()
    state = {"run_name": "one", "uri": uri, "run_id": run_id, "experiment_id": "7", "token": "t"}
    (folder / "tracking.json").write_text(json.dumps(state))
    return str(folder)


def opened(*runs: str) -> dict[str, object]:
    return ui.run(Namespace(runs=list(runs), directory="runs", port=5000, json=True))


def test_runs_of_one_name_are_compared_and_a_run_named_twice_is_one(tmp_path: Path) -> None:
    here, there = tracked(tmp_path / "a" / "one", "11"), tracked(tmp_path / "b" / "one", "22")
    both = opened(here, there, here)
    assert (both["run_ids"], both["run_names"]) == (["11", "22"], ["one", "one"])
    assert "/#/compare-runs?runs=%5B%2211%22%2C%2222%22%5D" in str(both["address"])
    assert opened(here, here)["address"] == "http://mlflow:5000/#/experiments/7/runs/11"


def test_runs_of_two_stores_are_refused(tmp_path: Path) -> None:
    here, there = tracked(tmp_path / "a" / "one", "11"), tracked(tmp_path / "b" / "one", "22", "http://other")
    with pytest.raises(InputError, match="two stores"):
        opened(here, there)
