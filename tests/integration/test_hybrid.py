"""``qfleet hybrid`` with real things around it: Ray actors, an MLflow server, a target that costs money."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import ray

torch = pytest.importorskip("torch")

from actors.ionq.emulator import Emulator  # noqa: E402
from pipelines import cli  # noqa: E402
from pipelines.hybrid import trained_network  # noqa: E402
from pipelines.spending import SpendingNotAllowedError  # noqa: E402
from tests.integration.mlflow_server import MlflowServer  # noqa: E402

IMAGES = [
    "hybrid", "images", "--samples", "10", "--test-samples", "4", "--size", "32", "--qubits", "2", "--depth", "1",
    "--batch-size", "3", "--epochs", "1", "--json",
]  # fmt: skip


def asked(capsys: pytest.CaptureFixture[str], *arguments: str, expect: int = 0) -> dict[str, Any]:
    code = cli.main([*arguments])
    printed = capsys.readouterr()
    assert code == expect, printed.err[-2000:]
    found: dict[str, Any] = json.loads(printed.out.splitlines()[-1])
    return found


@pytest.mark.alone
def test_two_actors_and_mlflow(
    local_ray: None,
    mlflow_server: MlflowServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    noisy = [*IMAGES, "--shots", "20"]
    calm = asked(capsys, *noisy, "--no-tracking", "--name", "calm")
    found = asked(
        capsys, *noisy, "--actors", "2", "--set", f"tracking.uri={mlflow_server.uri}", "--name", "a"
    )
    for arm in ("hybrid", "twin", "none"):
        ours, theirs = (one["seeds"][0]["arms"][arm] for one in (found, calm))
        assert ours["weights_sha256"] == theirs["weights_sha256"]
    client = mlflow.MlflowClient(tracking_uri=mlflow_server.uri)
    run = client.get_run(found["run_id"])
    assert run.info.status == "FINISHED"
    assert (run.data.params["fleet.n_actors"], run.data.params["hybrid.qubits"]) == ("2", "2")
    assert run.data.metrics["twin/val_accuracy"] == calm["arms"]["twin"]["val_accuracy"]
    assert run.data.metrics["final/hybrid_test_accuracy"] == calm["arms"]["hybrid"]["test_accuracy"]
    assert {"report.md", "hybrid.png", "hybrid-7.npz", "twin-7.npz"} <= {
        file.path for file in client.list_artifacts(run.info.run_id)
    }


def test_where_circuits_cost_money(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bill is what the dry run said, of both seeds together; and predictions of the network need consent of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IONQ_API_KEY", "key-of-the-emulator")
    with Emulator() as emulator:
        paid = [
            *IMAGES,
            "--seeds",
            "2",
            "--backend",
            "ionq",
            "--shots",
            "100",
            "--no-tracking",
            "--name",
            "p",
        ]
        for setting in ("target=qpu.aria-1", "error_mitigation=false", f"host={emulator.url}"):
            paid += ["--set", f"backend.{setting}"]
        cost = asked(capsys, *paid, "--dry-run")["cost_usd"]
        refused = asked(capsys, *paid, "--yes-spend", f"{cost - 0.01:.2f}", expect=2)
        assert "would be spent before the end" in refused["error"]["message"]
        assert not (tmp_path / "runs").exists()
        found = asked(capsys, *paid, "--yes-spend", f"{cost + 0.01:.2f}")
        bill = emulator.totals()["billed_micro_usd"]
        assert bill > 0
        assert found["arms"]["hybrid"]["cost_usd"] == pytest.approx(bill / 1e6) == pytest.approx(cost)
        image = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
        with torch.no_grad():
            with pytest.raises(SpendingNotAllowedError):
                trained_network("runs/p", seed=8)(image)
            allowed = trained_network("runs/p", seed=8, yes_spend_usd=cost)
            assert allowed(image).shape == (1, 2)
            assert allowed.circuit is not None
            allowed.circuit.executor.close()
        assert emulator.totals()["billed_micro_usd"] > bill
