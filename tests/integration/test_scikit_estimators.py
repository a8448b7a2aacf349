"""Estimators on real Ray actors, and on a target that costs money, by the emulator of IonQ's cloud."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import make_moons
from sklearn.model_selection import GridSearchCV

from actors.ionq.emulator import Emulator
from orchestrator.errors import BudgetError
from pipelines.frontends import QuantumClassifier, QuantumKernelClassifier
from pipelines.frontends.scikit.running import close_fleet, executor_for

pytestmark = pytest.mark.alone

X, Y = make_moons(24, noise=0.1, random_state=0)


@pytest.fixture(autouse=True)
def _own_fleet() -> Iterator[None]:
    close_fleet()
    yield
    close_fleet()


@pytest.mark.usefixtures("local_ray")
def test_two_actors_give_the_bits_of_one_process_and_serve_a_whole_search() -> None:
    made = QuantumClassifier(2, 1, epochs=2, shots=40, random_state=0)
    alone = made.fit(X, Y)
    kernel = QuantumKernelClassifier(2, shots=40, random_state=0).fit(X, Y).decision_function(X)
    fleet = {"n_actors": 2, "cpus_per_actor": 0.5}
    together = QuantumClassifier(**{**made.get_params(), "fleet": fleet}).fit(X, Y)
    with executor_for("ideal", fleet, 40, None, None) as opened:
        pass
    np.testing.assert_array_equal(together.params_, alone.params_)
    np.testing.assert_array_equal(together.predict_proba(X), alone.predict_proba(X))
    of_actors = QuantumKernelClassifier(2, shots=40, random_state=0, fleet=fleet).fit(X, Y)
    np.testing.assert_array_equal(of_actors.decision_function(X), kernel)
    search = GridSearchCV(together, {"n_layers": [1, 2]}, cv=2, error_score="raise").fit(X, Y)
    assert search.best_params_["n_layers"] in (1, 2)
    with executor_for("ideal", fleet, 40, None, None) as still:
        assert still is opened


def test_a_fit_done_again_in_its_folder_pays_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a search cannot spend its cap once for each of its fits, and all that is paid is said."""
    monkeypatch.setenv("IONQ_API_KEY", "key-of-the-emulator")
    rows = np.argsort(Y, kind="stable")[10:14]
    with Emulator() as emulator:
        backend = {"name": "ionq", "target": "qpu.aria-1", "host": emulator.url, "error_mitigation": False}
        made = QuantumClassifier(
            1, 1, feature_map="angle", ansatz="hardware_efficient", epochs=1, batch_size=2, shots=100, random_state=0,
            backend=backend, folder=tmp_path / "book", n_components=1,
        )  # fmt: skip
        poor = QuantumClassifier(**{**made.get_params(), "yes_spend_usd": 0.5})
        with pytest.raises(BudgetError, match=r"cap of \$0\.5"):
            poor.fit(X[rows], Y[rows])
        made.yes_spend_usd = 1e4
        made.fit(X[rows], Y[rows])
        once = emulator.totals()["billed_micro_usd"]
        assert once > 0
        spending = made.spending()
        assert spending is not None
        assert round(1e6 * spending.spent) == once == round(1e6 * made.used_.usd)
        assert f"QuantumClassifier: fit: ${once / 1e6:.2f} paid" in capsys.readouterr().err
        made.predict(X[rows])
        after = emulator.totals()["billed_micro_usd"]
        assert f"rows evaluated: ${(after - once) / 1e6:.2f} paid" in capsys.readouterr().err
        close_fleet()  # as if by another process
        assert made.spending() == spending._replace(spent=after / 1e6, saved=0.0)  # read from the folder
        again = QuantumClassifier(**made.get_params()).fit(X[rows], Y[rows])
        assert emulator.totals()["billed_micro_usd"] == after
        assert "paid" not in capsys.readouterr().err
        np.testing.assert_array_equal(again.params_, made.params_)
        cap = (after + 1.2 * once) / 1e6  # enough for one fit more, of the five of a search
        made.set_params(yes_spend_usd=cap)
        search = GridSearchCV(made, {"learning_rate": [0.1, 0.2]}, cv=2, error_score="raise")
        with pytest.raises(BudgetError, match="cap of"):
            search.fit(X[rows], Y[rows])
        assert after < emulator.totals()["billed_micro_usd"] <= 1e6 * cap
