"""The executor of the frontends: settings in, answers out, one open fleet for all of the same settings, and what copies and forks do."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import threading
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.config import BackendConfig, FleetConfig, ModelConfig
from orchestrator.errors import BudgetError, CapabilityError, ConfigError, FleetError, InputError
from orchestrator.gradients.function import Call, forward_plan
from orchestrator.models.model import Model
from orchestrator.planning.derivative import DirectDerivative
from orchestrator.planning.plan import EvaluationPlan
from pipelines.frontends.executor import Executor
from pipelines.frontends.open_fleets import OpenFleet
from pipelines.spending import SpendingNotAllowedError

MODEL = Model.from_config(ModelConfig(n_qubits=2, n_layers=1, head="none"), None)
PAID = {
    "name": "ionq",
    "target": "qpu.aria-1",
    "host": "http://127.0.0.1:9",
    "shots": 100,
    "error_mitigation": False,
}


def plan(shots: int | None = None, number: int = 0, n_samples: int = 3) -> EvaluationPlan:
    features = np.linspace(0, 1, 2 * n_samples).reshape(n_samples, 2)
    return forward_plan(
        MODEL, MODEL.angles(MODEL.initial_params(1), features), Call(shots=shots, number=number)
    )


def opened(executor: Executor) -> Any:
    """The fleet that it holds, or None."""
    return executor._opened


@pytest.fixture(autouse=True)
def _nothing_is_left_open() -> Any:
    before = len(OpenFleet._all)
    yield
    assert len(OpenFleet._all) == before


def test_it_opens_on_first_use_and_counts() -> None:
    executor = Executor()
    assert opened(executor) is None
    assert executor.has_jacobian
    found = executor.evaluate(plan())
    assert found.values.shape == (3, 2)
    assert executor.used.n_circuits == 3
    assert executor.spending() is None
    executor.close()
    np.testing.assert_array_equal(executor.evaluate(plan()).values, found.values)
    assert executor.used.n_circuits == 6


def test_equal_settings_share_a_fleet_until_the_last_lets_go() -> None:
    first, second, other = Executor(shots=10), Executor(shots=10), Executor(shots=20)
    for executor in (first, second, other):
        executor.evaluate(plan(executor.shots))
    shared = opened(first)
    assert opened(second) is shared
    assert opened(other) is not shared
    first.close()
    assert not shared.is_closed
    del second
    assert shared.is_closed
    other.close()


def test_several_plans_at_once_are_what_they_are_alone() -> None:
    with Executor("noisy", shots=50) as executor:
        plans = [plan(50, number) for number in range(70)]
        together = executor.evaluate_all(plans)
        assert executor.used.n_shots == 70 * 3 * 50
        for one, found in list(zip(plans, together, strict=True))[::23]:
            np.testing.assert_array_equal(executor.evaluate(one).values, found.values)
        assert executor.evaluate_all([]) == []


def test_copies_and_pickles() -> None:
    with Executor({"name": "noisy", "noise": "aria-1"}, shots=30, seed=5) as executor:
        assert copy.deepcopy(executor) is executor, "a copy of a layer goes on with the same fleet"
        restored = pickle.loads(pickle.dumps(executor))
        assert (restored.shots, restored.seed, repr(restored)) == (30, 5, repr(executor))
        assert restored.used.n_circuits == 0
        values = executor.evaluate(plan(30)).values
        with restored:
            np.testing.assert_array_equal(restored.evaluate(plan(30)).values, values)


def test_consent_to_spend_does_not_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IONQ_API_KEY", "none")
    with pytest.raises(
        ConfigError, match=r"folder = None: circuits cost money there.*did you mean 'runs/my-model'"
    ):
        Executor(PAID)
    with pytest.raises(SpendingNotAllowedError, match=r"yes_spend_usd"):
        Executor(PAID, folder=tmp_path).evaluate(plan(100))
    allowed = Executor(PAID, folder=tmp_path, yes_spend_usd=5.0)
    stored = pickle.dumps(allowed)
    assert b"yes_spend" not in stored
    with pytest.raises(SpendingNotAllowedError):
        pickle.loads(stored).evaluate(plan(100))


def test_one_folder_has_one_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor with other settings is refused before the lock of the folder says something about another process."""
    monkeypatch.setenv("IONQ_API_KEY", "none")
    first = Executor(PAID, folder=tmp_path, yes_spend_usd=5.0)
    first._open(MODEL.measured)
    try:
        same = Executor(PAID, folder=tmp_path, yes_spend_usd=5.0)
        assert same._open(MODEL.measured) is opened(first)
        other = {**PAID, "target": "qpu.forte-1"}
        for backend, fleet, cap in ((PAID, None, 6.0), (other, None, 5.0), (PAID, 2, 5.0)):
            with pytest.raises(ConfigError, match="open in this process with another backend, fleet or cap"):
                Executor(backend, fleet, folder=tmp_path, yes_spend_usd=cap)._open(MODEL.measured)
        same.close()
    finally:
        first.close()


def test_executors_with_other_shots_or_seeds_share_the_book(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which stays open until the last of them lets go; so does the lock of the folder."""
    monkeypatch.setenv("IONQ_API_KEY", "none")
    mitigated = {**PAID, "readout_mitigation": True}
    for backend in (PAID, mitigated):
        first, second = (
            Executor(backend, folder=tmp_path, yes_spend_usd=5.0, shots=shots, seed=shots)
            for shots in (100, 200)
        )
        fleet, other = first._open(MODEL.measured), second._open(MODEL.measured)
        assert fleet is not other
        assert fleet.book is other.book is not None
        other.book.reserve("ab", 3_000_000)
        spending = first.spending()
        assert spending is not None
        assert (spending.reserved, spending.cap) == (3.0, 5.0)
        first.close()
        assert not fleet.is_closed, "its book is in use"
        with pytest.raises(BudgetError):
            other.book.reserve("cd", 3_000_000)
        other.book.released("ab", "absent")
        second.close()
        assert fleet.is_closed
        assert other.is_closed


def test_a_cap_that_nobody_would_keep_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A named fleet has its own, and no folder here."""
    monkeypatch.setenv("IONQ_API_KEY", "none")
    with pytest.raises(ConfigError, match="was given a cap for all its runs when it was started"):
        Executor(PAID, "shared", yes_spend_usd=5.0).evaluate(plan(100))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "ideall"}, "did you mean 'ideal'"),
        ({"backend": None}, "backend = None: the name of a backend, or its settings"),
        ({"backend": {"name": "ideal", "target": "qpu.aria-1"}}, "target"),
        ({"fleet": 1.5}, "fleet = 1.5: None, a number of actors"),
        ({"fleet": True}, "fleet = True"),
        ({"fleet": 0}, "n_actors"),
        ({"fleet": {"actors": 2}}, "no such key; did you mean 'n_actors'"),
        ({"shots": 0}, "shots"),
    ],
)
def test_refused_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Executor(**settings)


def test_what_the_backend_cannot_do_is_refused() -> None:
    with Executor("cirq") as executor:
        assert not executor.has_jacobian
        assert not Executor(shots=10).has_jacobian
        direct = replace(plan(), wanted=MODEL.differentiated_angles, derivative=DirectDerivative())
        with pytest.raises(CapabilityError, match="cannot differentiate directly"):
            executor.evaluate(direct)


def test_settings_may_be_sections() -> None:
    with Executor(
        BackendConfig(name="noisy", noise="aria-2"), FleetConfig(dispatcher="serial"), shots=7
    ) as executor:
        assert executor.config.backend.noise == "aria-2"
        assert executor.evaluate(plan(7)).n_shots == 21
        assert repr(executor) == "Executor('noisy', this process, 7 shots)"


def test_threads_take_turns() -> None:
    with Executor(shots=20) as executor:
        expected, found = executor.evaluate(plan(20)).values, []
        threads = [
            threading.Thread(target=lambda: found.append(executor.evaluate(plan(20)).values))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        for values in found:
            np.testing.assert_array_equal(values, expected)


def test_what_drives_the_fleet_may_evaluate_though_others_wait() -> None:
    """And closing the executor meanwhile ends nothing that is under way."""
    with Executor(shots=20) as executor:
        expected, found = executor.evaluate(plan(20)).values, []
        fleet = opened(executor)
        waiting = threading.Thread(
            target=lambda: found.append(executor.evaluate(plan(20)).values), daemon=True
        )
        with executor.coordinator(MODEL.measured) as coordinator:
            waiting.start()
            waiting.join(0.05)
            assert waiting.is_alive()
            assert executor._lock.acquire(timeout=30), "held by who waits: neither would ever go on"
            executor._lock.release()
            np.testing.assert_array_equal(executor.evaluate(plan(20)).values, expected)
            executor.close()
            assert not fleet.is_closed
            np.testing.assert_array_equal(coordinator.evaluate(plan(20)).values, expected)
        waiting.join(60)
        np.testing.assert_array_equal(found, [expected])
        assert fleet.is_closed


def _in_a_fork(executor: Executor, connection: Connection) -> None:
    try:
        connection.send(executor.evaluate(plan(20)).values)
    except BaseException as error:
        connection.send(error)
    os._exit(0)  # without what pytest would do at the end


def from_a_fork(executor: Executor) -> Any:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_in_a_fork, args=(executor, there))
    process.start()
    there.close()
    assert here.poll(60)
    answer = here.recv()
    process.join()
    return answer


def test_a_forked_process_opens_its_own() -> None:
    """Though the lock is held where the fork happens, and the parent's fleet goes on."""
    with Executor(shots=20) as executor:
        values = executor.evaluate(plan(20)).values
        holding, done = threading.Event(), threading.Event()

        def hold() -> None:
            with executor._lock:
                holding.set()
                done.wait(60)

        thread = threading.Thread(target=hold)
        thread.start()
        holding.wait(60)
        answer = from_a_fork(executor)
        done.set()
        thread.join()
        np.testing.assert_array_equal(answer, values)
        assert not opened(executor).is_closed
        np.testing.assert_array_equal(executor.evaluate(plan(20)).values, values)


def test_a_forked_process_does_not_reach_for_its_parents_actors() -> None:
    """What a fleet on Ray leaves behind in a forked process is only that it was one."""
    with Executor(shots=20) as executor:
        executor.evaluate(plan(20))
        opened(executor).is_of_ray = True
        answer = from_a_fork(Executor(fleet=2, shots=20))
        assert isinstance(answer, FleetError)
        assert "multiprocessing_context='spawn'" in str(answer)
