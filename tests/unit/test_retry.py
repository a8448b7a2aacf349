"""The retry policy: which failures are tried again, how often, and what the caller is told."""

from __future__ import annotations

import pickle

import pytest

from actors.retry import Decision, RetryPolicy, UnknownCircuitError, WorkerLostError, error_for
from orchestrator.errors import CapabilityError, CircuitError, ExecutionError, FleetError, InputError


@pytest.mark.parametrize(
    "error",
    [
        WorkerLostError("killed"),
        ExecutionError("HTTP 500"),
        UnknownCircuitError("actor-0", "abc"),
        OSError("socket"),
    ],
)
def test_what_may_pass_is_retried_a_bounded_number_of_times(error: Exception):
    policy = RetryPolicy(max_attempts=3)
    decisions = [policy.decide(error, n) for n in (1, 2, 3, 4)]
    assert decisions == [Decision.RETRY, Decision.RETRY, Decision.RAISE, Decision.RAISE]


@pytest.mark.parametrize(
    "error",
    [InputError("no"), CapabilityError("40 qubits"), CircuitError("a qudit"), FleetError("closed")],
)
def test_what_trying_again_cannot_mend_is_raised_at_once_and_as_it_is(error: Exception):
    assert RetryPolicy().decide(error, 1) is Decision.RAISE
    assert error_for("5eed", 1, error) is error


def test_a_job_given_up_is_named_with_its_attempts_and_the_last_failure():
    error = ExecutionError("backend 'x' failed")
    error.add_note("On actor-1:\nTraceback ...")
    told = error_for("5eed", 4, error)
    assert type(told) is ExecutionError
    assert str(told) == "job 5eed failed 4 times and is given up; the last failure: backend 'x' failed"
    assert told.__notes__ == error.__notes__
    assert "once" in str(error_for("5eed", 1, WorkerLostError("killed")))


@pytest.mark.parametrize("error", [WorkerLostError("killed"), UnknownCircuitError("actor-0", "abc")])
def test_errors_cross_process_borders_whole(error: Exception):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
