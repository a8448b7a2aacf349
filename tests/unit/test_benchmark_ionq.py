"""``qfleet benchmark ionq``: what it sends is what it says, and it sends nothing but to an emulator."""

from __future__ import annotations

import pytest

from actors.backends.ionq import IonQBackend
from orchestrator.planning.batching import jobs_of_at_most
from pipelines import cli
from pipelines.benchmark import ionq


def test_a_sample_is_97_circuits_in_one_job() -> None:
    plan = ionq.gradient_plan(3)
    assert plan.n_circuits == 3 * 97
    assert [job.n_samples for job in jobs_of_at_most(plan, ionq.N_CIRCUITS)] == [1, 1, 1]
    rows = plan.displacements
    assert sorted(set(rows.angles.tolist())) == list(range(8, 56))  # 8 angles of the data, 48 rotations


@pytest.mark.parametrize("gateset", ["qis", "native"])
def test_preparing_is_timed(gateset: str) -> None:
    found = ionq.preparation(IonQBackend(ionq.TARGET, gateset=gateset), ionq.gradient_plan(1))
    assert 0 < found["least"] <= found["median"]
    assert found["first"] > 0


def test_a_latency_of_nothing_is_refused(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["benchmark", "ionq", "--latency", "0"]) == 2
    assert "--latency" in capsys.readouterr().err
