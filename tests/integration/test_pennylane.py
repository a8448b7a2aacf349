"""The PennyLane device on what it is for: Ray actors, and a target that costs money."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

qml = pytest.importorskip("pennylane")

from pennylane import numpy as pnp  # noqa: E402

from actors.ionq.emulator import Emulator, EmulatorSettings  # noqa: E402
from orchestrator.errors import BudgetError  # noqa: E402
from pipelines.spending import SpendingNotAllowedError  # noqa: E402


def body(w: Any) -> Any:
    qml.StronglyEntanglingLayers(w, wires=range(2))
    return qml.expval(qml.Z(0) @ qml.X(1) + 0.5 * qml.Z(1))


def trained(device: Any, n_steps: int, shots: int | None, **options: Any) -> list[float]:
    """Weights after some steps of PennyLane's own gradient descent, and the cost there."""
    node = qml.set_shots(qml.QNode(body, device, **options), shots)
    w = pnp.array(np.linspace(0.1, 0.9, 6).reshape(1, 2, 3), requires_grad=True)
    optimizer = qml.GradientDescentOptimizer(0.2)
    for _ in range(n_steps):
        w = optimizer.step(node, w)
    return [*w.ravel().tolist(), float(node(w))]


@pytest.mark.alone
def test_two_actors_give_the_bits_of_one_process(local_ray: None) -> None:
    for shots, method in ((None, "best"), (40, "parameter-shift")):
        with_actors = qml.device("qfleet", wires=2, fleet=2)
        found = trained(with_actors, 2, shots, diff_method=method)
        assert found == trained(qml.device("qfleet", wires=2), 2, shots, diff_method=method)
        assert with_actors.used.n_circuits > 2
        with_actors.close()


def test_a_program_run_again_pays_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IONQ_API_KEY", "key-of-the-emulator")
    with Emulator(EmulatorSettings()) as cloud:
        backend = {
            "name": "ionq", "target": "qpu.aria-1", "shots": 600, "host": cloud.url, "lookup_seconds": 0.3,
        }  # fmt: skip

        def program(folder: str = "book", **options: Any) -> tuple[list[float], Any]:
            device = qml.device("qfleet", wires=2, backend=backend, folder=tmp_path / folder, **options)
            try:
                return trained(device, 1, device.shots.total_shots), device.spending()
            finally:
                device.close()

        with pytest.raises(SpendingNotAllowedError):
            program()
        with pytest.raises(BudgetError):
            program(yes_spend_usd=0.01)
        assert cloud.totals()["billed_micro_usd"] == 0
        first, spent = program(yes_spend_usd=1e4)
        paid = cloud.totals()["billed_micro_usd"]
        assert paid > 0
        assert round(spent.spent * 1e6) == paid
        again, now = program(yes_spend_usd=1e4)
        assert again == first
        assert cloud.totals()["billed_micro_usd"] == paid
        assert round(now.saved * 1e6) == paid
        # Cut short by its cap, and gone on with: what was paid by then is not paid again.
        with pytest.raises(BudgetError):
            program("cut", yes_spend_usd=paid / 2e6)
        assert paid < cloud.totals()["billed_micro_usd"] <= 1.5 * paid
        program("cut", yes_spend_usd=1e4)
        assert cloud.totals()["billed_micro_usd"] == 2 * paid
