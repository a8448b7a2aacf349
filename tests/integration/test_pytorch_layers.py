"""Layers for PyTorch with real things around them: Ray actors, forked workers of a DataLoader, MLflow, a target that costs money."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

from actors.ionq.emulator import Emulator, EmulatorSettings  # noqa: E402
from orchestrator.errors import FleetError  # noqa: E402
from pipelines.frontends import QuantumConv2d, QuantumLayer  # noqa: E402
from tests.integration.mlflow_server import MlflowServer  # noqa: E402

FEATURES = torch.linspace(-1, 1, 12).reshape(6, 2)
TARGETS = (FEATURES.sum(1) > 0).float()


def network(**options: Any) -> Any:
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(2, 2), QuantumLayer(2, 1, **options), nn.Linear(2, 1))


def train(net: Any, n_steps: int) -> list[float]:
    """Losses of some steps, and then the parameters, flat."""
    optimizer, found = torch.optim.Adam(net.parameters(), lr=0.1), []
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(net(FEATURES)[:, 0], TARGETS)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return [*found, *torch.cat([param.detach().flatten() for param in net.parameters()]).tolist()]


class Answers(Dataset):
    """Rows that are computed where the DataLoader's workers are."""

    def __init__(self, layer: QuantumLayer) -> None:
        self._layer = layer

    def __len__(self) -> int:
        return len(FEATURES)

    def __getitem__(self, i: int) -> Any:
        with torch.no_grad():
            return self._layer(FEATURES[i])


@pytest.mark.alone
@pytest.mark.parametrize("shots", [None, 40])
def test_two_actors_give_the_bits_of_one_process(local_ray: None, shots: int | None) -> None:
    there = network(fleet=2, shots=shots)
    assert train(there, 2) == train(network(shots=shots), 2)
    layer = there[1]
    if (
        shots is None
    ):  # workers are forked from here: what they need of the actors is refused in words, what they need not goes on
        loader = DataLoader(Answers(layer), batch_size=3, num_workers=1, multiprocessing_context="fork")
        with pytest.raises(FleetError, match="multiprocessing_context='spawn'"):
            list(loader)
        mine = QuantumLayer(2, 1)
        mine.set_params(layer.params())
        loader = DataLoader(Answers(mine), batch_size=3, num_workers=2, multiprocessing_context="fork")
        with torch.no_grad():
            assert torch.equal(torch.cat(list(loader)), layer(FEATURES))
    layer.executor.close()


@pytest.mark.alone
def test_mlflow_keeps_a_hybrid(mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv(
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true"
    )  # a torch module is pickled, unlike our own models
    mlflow.set_tracking_uri(mlflow_server.uri)
    try:
        torch.manual_seed(2)
        net = nn.Sequential(
            QuantumConv2d(1, 2, stride=2, out_channels=2, depth=1),
            nn.Flatten(),
            QuantumLayer(8, 1),
            nn.Linear(8, 3),
        )
        images = torch.rand(2, 1, 4, 4)
        with mlflow.start_run(experiment_id=mlflow.create_experiment("hybrid")):
            logged = mlflow.pytorch.log_model(
                net, name="net", pip_requirements=["torch"], serialization_format="pickle"
            )
        loaded = mlflow.pytorch.load_model(logged.model_uri)
        assert torch.equal(loaded(images), net(images))
        loaded(images).sum().backward()
        assert loaded[2].layer0.grad.abs().sum() > 0
    finally:
        mlflow.set_tracking_uri(None)


def _paid(url: str, folder: Path) -> Any:
    backend = {
        "name": "ionq", "target": "qpu.aria-1", "shots": 500, "error_mitigation": False, "host": url, "circuits_per_job": 20,
    }  # fmt: skip
    return network(backend=backend, folder=folder, yes_spend_usd=1e5)


def _pay(url: str, folder: Path) -> None:
    torch.set_num_threads(1)  # OpenMP's threads do not outlive the fork
    train(_paid(url, folder), 2)


def test_a_killed_program_run_again_pays_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IONQ_API_KEY", "key-of-the-emulator")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Emulator(EmulatorSettings(queue_seconds=0.05)) as emulator:
        calm = _paid(emulator.url, tmp_path / "calm")
        layer = calm[1]
        quoted = layer.quote(len(FEATURES), input_gradients=True)
        expected = train(calm, 2)
        bill = emulator.totals()["billed_micro_usd"]
        assert bill == 2 * quoted.total.micro
        assert (layer.used.n_circuits, layer.used.n_shots) == (
            2 * quoted.total.circuits,
            2 * quoted.total.shots,
        )
        assert layer.used.cost_usd == pytest.approx(2 * quoted.usd, abs=1e-9)
        spending = layer.executor.spending()
        assert spending is not None
        assert (spending.spent, spending.cap) == (pytest.approx(bill / 1e6), 1e5)
        layer.executor.close()

        first = emulator.totals()["jobs_accepted"]
        process = multiprocessing.get_context("fork").Process(
            target=_pay, args=(emulator.url, tmp_path / "killed")
        )
        process.start()
        try:
            deadline = time.monotonic() + 60
            while emulator.totals()["jobs_accepted"] < first + first // 2:
                assert process.is_alive()
                assert time.monotonic() < deadline
                time.sleep(0.002)
        finally:
            process.kill()
            process.join()
        again = _paid(emulator.url, tmp_path / "killed")
        found = train(again, 2)
        again[1].executor.close()
        np.testing.assert_array_equal(found, expected)
        assert emulator.totals()["billed_micro_usd"] == 2 * bill
        assert emulator.totals()["duplicates"] == 0
