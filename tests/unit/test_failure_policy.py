"""What follows when jobs fail for good: the estimator over the answered samples, for every rule; a simulator in their place; the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from actors.serial import SerialDispatcher
from orchestrator.config import BackendConfig, GradientConfig, OptimizerConfig, RunConfig, TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.costs.catalogue import Catalogue
from orchestrator.costs.work import PlanPricer
from orchestrator.errors import CapabilityError, CheckpointError, ConfigError, ExecutionError
from orchestrator.gradients.base import GradientEstimate, drive
from orchestrator.jobs import FailedJob, Job, JobResult
from orchestrator.losses.mse import MeanSquaredError
from orchestrator.models.model import Model
from orchestrator.planning.failures import FailurePolicy, GivenUpInMemory
from orchestrator.planning.plan import Evaluation, EvaluationPlan
from orchestrator.protocols import Capabilities
from orchestrator.registry import GRADIENT_RULES, resolve
from orchestrator.training.gradient import batch_gradient, gradient_problem
from orchestrator.training.loop import evaluate_samples, initial_state, train
from orchestrator.training.reports import Samples, StepReport
from orchestrator.training.task import TrainingTask
from pipelines.compose import fallback_config
from pipelines.given_up import GivenUpFile
from pipelines.quote import ionq_gate_counts, settings_of

X, A, B, C = sympy.symbols("x a b c")
Q = cirq.LineQubit.range(2)
CIRCUIT = cirq.Circuit(
    cirq.ry(X)(Q[0]), cirq.rx(A)(Q[1]), cirq.ry(B)(Q[0]), cirq.CNOT(*Q), cirq.rz(C)(Q[0]), cirq.rx(A)(Q[0])
)
RNG = np.random.default_rng(3)
BATCH = Samples(RNG.uniform(-2, 2, (6, 1)), RNG.uniform(-1, 1, 6))
LOST = (1, 4)
PARAMS = np.array([0.3, -0.8, 1.1])


def make_task(
    rule: str = "parameter_shift", shots: int | None = None, settings: dict[str, Any] | None = None
) -> TrainingTask:
    model = Model.from_circuit(
        CIRCUIT, features=["x"], observables=["Z0 + 0.5*X1"], head="none", initial_scale=1.0
    )
    config = GradientConfig(**(settings or {}))
    return TrainingTask(
        model=model,
        loss=MeanSquaredError(),
        rule=resolve("gradient rule", rule)(config),
        train=BATCH,
        validation=BATCH,
        run=RunConfig(epochs=2, batch_size=3, seed=11),
        optimizer=OptimizerConfig(),
        shots=shots,
        has_jacobian=False,
    )


class Failing:
    """The dense dispatcher, whose jobs fail for good where `fails` says so; it remembers what it was asked."""

    def __init__(self, dense: SimpleNamespace, fails: Callable[[Job], bool]) -> None:
        self._inner = dense.Dispatcher(dense.Backend())
        self._fails = fails
        self.asked: list[Job] = []
        self.n_calls = 0
        self.n_workers, self.job_overhead_seconds = 1, 1e-9

    def register(self, circuit: Any) -> None:
        self._inner.register(circuit)

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        for answer in self.run_all(jobs):
            if isinstance(answer, FailedJob):
                raise answer.error
            yield answer

    def run_all(self, jobs: Sequence[Job]) -> Iterator[JobResult | FailedJob]:
        self.n_calls += 1
        self.asked += jobs
        for job in jobs:
            if self._fails(job):
                yield FailedJob(job.job_id, ExecutionError(f"job {job.job_id}: the machine is down"))
            else:
                yield from self._inner.run([job])

    def stats(self) -> Any:
        return self._inner.stats()

    def timeline(self) -> list[Any]:
        return []

    def workers(self) -> list[Any]:
        return []

    def events(self) -> list[Any]:
        return []

    def close(self) -> None:
        pass


ONE_CIRCUIT = Capabilities(
    is_exact=True, has_shots=True, has_jacobian=False, max_qubits=2, circuits_per_job=1
)


def of_samples(*samples: int) -> Callable[[Job], bool]:
    return lambda job: job.sample_start % len(BATCH.targets) in samples


def coordinator(dispatcher: Failing, policy: FailurePolicy | None = None, n_circuits: int = 1) -> Coordinator:
    can = replace(ONE_CIRCUIT, circuits_per_job=n_circuits)
    return Coordinator(
        dispatcher, can, failures=FailurePolicy("skip_samples", 0.5) if policy is None else policy
    )


def gradient(task: TrainingTask, batch: Samples, by: Coordinator) -> GradientEstimate:
    return batch_gradient(task, PARAMS, batch, by, step=2)


def without(batch: Samples, lost: Sequence[int]) -> Samples:
    kept = [i for i in range(len(batch.targets)) if i not in lost]
    return Samples(batch.features[kept], batch.targets[kept])


@pytest.mark.parametrize("rule", sorted(set(GRADIENT_RULES) - {"adjoint", "guided_spsa"}))
def test_estimate_is_that_of_the_answered_samples(rule: str, dense: SimpleNamespace) -> None:
    """For every rule, of one evaluation or many, the estimate is the one of a batch that never had the lost samples."""
    settings = {"metric": "full"} if rule == "natural_gradient" else {}
    task = make_task(rule, settings=settings)
    dispatcher = Failing(dense, of_samples(*LOST))
    found = gradient(task, BATCH, coordinator(dispatcher))
    wanted = gradient(task, without(BATCH, LOST), coordinator(Failing(dense, of_samples())))
    assert found.n_skipped == 2
    assert wanted.n_skipped == 0
    assert found.loss == pytest.approx(wanted.loss, abs=1e-12)
    np.testing.assert_allclose(found.gradient, wanted.gradient, atol=1e-10)
    np.testing.assert_allclose(found.variance, wanted.variance, atol=1e-10)
    assert np.abs(wanted.gradient).max() > 1e-3
    assert len({job.job_id for job in dispatcher.asked}) == len(dispatcher.asked)


def test_block_metric_is_that_of_the_answered_samples(dense: SimpleNamespace) -> None:
    task = make_task("natural_gradient")
    found = gradient(task, BATCH, coordinator(Failing(dense, of_samples(*LOST))))
    wanted = gradient(task, without(BATCH, LOST), coordinator(Failing(dense, of_samples())))
    np.testing.assert_allclose(found.gradient, wanted.gradient, atol=1e-10)


@pytest.mark.parametrize("lost", [(0, 4), (0, 1, 5), (3,)])
def test_guides_and_rest_are_weighted_by_the_samples_answered(
    lost: tuple[int, ...], dense: SimpleNamespace
) -> None:
    """Guided SPSA splits the batch before anything is asked: samples 0 and 1 are guides, also when one or both of them are lost."""
    task = make_task("guided_spsa", settings={"guide_fraction": 1 / 3})
    seen = iter([2, 4])  # samples of its two evaluations

    class OfParts(Failing):
        def run_all(self, jobs: Sequence[Job]) -> Iterator[JobResult | FailedJob]:
            first = 0 if next(seen) == 2 else 2
            self._fails = lambda job: job.sample_start + first in lost
            yield from super().run_all(jobs)

    found = gradient(task, BATCH, coordinator(OfParts(dense, of_samples())))
    problem = gradient_problem(task, PARAMS, BATCH, 2)
    parts = []
    for rule, rows, name in (
        ("parameter_shift", [0, 1], "guides"),
        ("spsa", [2, 3, 4, 5], "rest"),
    ):
        kept = [i for i in rows if i not in lost]
        if kept:
            part = replace(
                problem,
                features=BATCH.features[kept],
                targets=BATCH.targets[kept],
                purpose=f"train/{name}",
            )
            plain = Coordinator(Failing(dense, of_samples()), ONE_CIRCUIT)
            estimate = drive(resolve("gradient rule", rule)().estimate(part), plain.evaluate)
            parts.append((len(kept), estimate))
    n = sum(count for count, _ in parts)
    assert found.loss == pytest.approx(sum(count * part.loss for count, part in parts) / n, abs=1e-12)
    wanted = np.sum([count * part.gradient for count, part in parts], axis=0) / n
    np.testing.assert_allclose(found.gradient, wanted, atol=1e-12)


@pytest.mark.parametrize("rule", ["parameter_shift", "finite_difference", "spsa"])
def test_variance_is_that_of_the_answered_samples(rule: str, dense: SimpleNamespace) -> None:
    """With shots: the same answers, given to the rule for a batch without the lost samples, make the same gradient and variance."""
    task = make_task(rule, shots=200)
    found = gradient(task, BATCH, coordinator(Failing(dense, of_samples(*LOST))))
    kept = np.setdiff1d(np.arange(6), LOST)
    whole = coordinator(Failing(dense, of_samples()))

    def answer(plan: EvaluationPlan) -> Evaluation:
        """Of the reduced batch's plan: what the whole batch's answers hold of it."""
        full = whole.evaluate(full_plan)
        assert plan.n_samples == len(kept)
        return replace(
            full,
            values=full.values[kept],
            variances=full.variances[kept] if full.variances is not None else None,
            rows=full.rows[kept],
            jacobian=None if full.jacobian is None else full.jacobian[kept],
        )

    full_plan = next(task.rule.estimate(gradient_problem(task, PARAMS, BATCH, 2)))
    wanted = drive(task.rule.estimate(gradient_problem(task, PARAMS, without(BATCH, LOST), 2)), answer)
    np.testing.assert_allclose(found.gradient, wanted.gradient, atol=1e-12)
    np.testing.assert_allclose(found.variance, wanted.variance, atol=1e-12)
    assert (wanted.variance[:3] > 0).all()


@pytest.mark.parametrize("n_calls", [1, 2])
def test_allocated_shots_leave_the_lost_samples_out(n_calls: int, dense: SimpleNamespace) -> None:
    """Samples are told by their angles here: an evaluation of some samples of the batch marks these, wherever they stand in its plan."""
    settings = {"shots_per_step": 200_000, "shot_allocation": "variance"}
    task = make_task(shots=200, settings=settings)
    angles = [float(BATCH.features[i, 0]) for i in LOST]
    dispatcher = Failing(dense, lambda job: False)
    dispatcher._fails = lambda job: dispatcher.n_calls >= n_calls and float(job.data_angles[0, 0]) in angles
    found = gradient(task, BATCH, coordinator(dispatcher))
    exact = gradient(make_task(), without(BATCH, LOST), coordinator(Failing(dense, of_samples())))
    whole = gradient(make_task(), BATCH, coordinator(Failing(dense, of_samples())))
    sigma = np.sqrt(found.variance)
    assert found.n_skipped == len(LOST)
    assert (np.abs(found.gradient - exact.gradient) < 5 * sigma + 1e-12).all()
    assert (np.abs(found.gradient - whole.gradient) > 10 * sigma)[:2].any(), "the difference could be seen"


def test_mean_over_all_ways_to_lose_two_samples_is_the_full_gradient(dense: SimpleNamespace) -> None:
    """Unbiased where failures do not look at the data: exactly, since every pair is lost once."""
    task = make_task()
    whole = gradient(task, BATCH, coordinator(Failing(dense, of_samples())))
    some = [
        gradient(task, BATCH, coordinator(Failing(dense, of_samples(*pair))))
        for pair in combinations(range(6), 2)
    ]
    np.testing.assert_allclose(np.mean([one.gradient for one in some], axis=0), whole.gradient, atol=1e-12)
    assert np.mean([one.loss for one in some]) == pytest.approx(whole.loss, abs=1e-12)


def test_nothing_is_asked_twice_and_the_others_keep_their_jobs(dense: SimpleNamespace) -> None:
    task = make_task()
    calm, failing = Failing(dense, of_samples()), Failing(dense, of_samples(*LOST))
    gradient(task, BATCH, coordinator(calm))
    gradient(task, BATCH, coordinator(failing))
    assert [job.job_id for job in failing.asked] == [job.job_id for job in calm.asked]


def test_samples_lost_between_values_and_derivatives(
    dense: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vector-Jacobian product weights every sample by one over the samples that had answered before it."""
    monkeypatch.setattr("orchestrator.gradients.linear.pays_to_contract", lambda circuit, derivative: True)
    task = replace(make_task("adjoint"), has_jacobian=True)
    can = replace(ONE_CIRCUIT, has_jacobian=True)

    def by(dispatcher: Failing) -> Coordinator:
        return Coordinator(dispatcher, can, failures=FailurePolicy("skip_samples"))

    dispatcher = Failing(dense, lambda job: job.cotangents is not None and job.sample_start in LOST)
    found = gradient(task, BATCH, by(dispatcher))
    wanted = gradient(task, without(BATCH, LOST), by(Failing(dense, of_samples())))
    assert dispatcher.n_calls == 2
    assert found.loss == pytest.approx(wanted.loss, abs=1e-12)
    np.testing.assert_allclose(found.gradient, wanted.gradient, atol=1e-12)


def test_lost_samples_are_not_asked_for_in_later_evaluations(dense: SimpleNamespace) -> None:
    task = make_task("natural_gradient")
    dispatcher = Failing(dense, lambda job: False)
    dispatcher._fails = lambda job: dispatcher.n_calls == 1 and of_samples(*LOST)(job)
    gradient(task, BATCH, coordinator(dispatcher))
    first = [job for job in dispatcher.asked if not of_samples(*LOST)(job)]
    assert dispatcher.n_calls > 1
    n_of_lost = len(dispatcher.asked) - len(first)
    assert n_of_lost == 2 * 7, (
        "in the first evaluation alone: the circuit itself, and two shifts for each angle"
    )


def test_a_job_of_several_samples_takes_all_of_them(dense: SimpleNamespace) -> None:
    task = make_task("spsa")
    dispatcher = Failing(dense, lambda job: job.sample_start == 2)
    found = gradient(task, BATCH, coordinator(dispatcher, n_circuits=4))
    assert found.n_skipped == 2
    wanted = gradient(task, without(BATCH, (2, 3)), coordinator(Failing(dense, of_samples())))
    np.testing.assert_allclose(found.gradient, wanted.gradient, atol=1e-12)


@pytest.mark.parametrize(
    ("lost", "limit", "refused"), [((0, 1, 2), 0.5, False), ((0, 1, 2, 3), 0.5, True), ((0,), 0.1, True)]
)
def test_too_many_lost_samples_stop_the_run_and_leave_no_record(
    lost: tuple[int, ...], limit: float, refused: bool, dense: SimpleNamespace
) -> None:
    given_up = GivenUpInMemory()
    policy = FailurePolicy("skip_samples", limit, given_up=given_up)
    by = coordinator(Failing(dense, of_samples(*lost)), policy)
    if not refused:
        assert gradient(make_task(), BATCH, by).n_skipped == len(lost)
        return
    with pytest.raises(
        ExecutionError, match=rf"{len(lost)} of the 6 samples.*max_skipped = {limit}.*machine is down"
    ):
        gradient(make_task(), BATCH, by)
    assert len(given_up) == 0, "a resumed run asks again"


def test_callers_that_need_every_sample_are_not_given_fewer(dense: SimpleNamespace) -> None:
    task = make_task()
    with pytest.raises(ExecutionError, match="machine is down"):
        evaluate_samples(
            task.model, PARAMS, BATCH.features, coordinator(Failing(dense, of_samples(1))),
            shots=None, seed=1, purpose="x",
        )  # fmt: skip


def test_stop_is_the_default(dense: SimpleNamespace) -> None:
    with pytest.raises(ExecutionError, match="machine is down"):
        gradient(make_task(), BATCH, Coordinator(Failing(dense, of_samples(1)), ONE_CIRCUIT))


def test_a_resumed_run_takes_the_same_decisions(dense: SimpleNamespace, tmp_path: Path) -> None:
    """The second time the machine is well again; the run still ends on the bits of the first, and asks nothing of the lost samples."""
    task = make_task(shots=50)

    def trained(fails: Callable[[Job], bool]) -> tuple[np.ndarray, Failing, list[StepReport]]:
        policy = FailurePolicy("skip_samples", 0.5, given_up=GivenUpFile(tmp_path))
        dispatcher, state = Failing(dense, fails), initial_state(task, PARAMS)
        by = Coordinator(dispatcher, ONE_CIRCUIT, failures=policy)
        reports = [one for one in train(task, state, by) if isinstance(one, StepReport)]
        assert state.totals.samples_skipped == sum(report.samples_skipped for report in reports)
        return state.params, dispatcher, reports

    broken = {1: 0, 3: 1}  # step -> first sample of the job that fails
    first, _, reports = trained(lambda job: broken.get(job.step) == job.sample_start)
    assert [report.samples_skipped for report in reports] == [0, 1, 0, 1]
    n_given_up = len(GivenUpFile(tmp_path))
    assert n_given_up > 0
    again, dispatcher, reports = trained(lambda job: False)
    assert again.tobytes() == first.tobytes()
    assert [report.samples_skipped for report in reports] == [0, 1, 0, 1]
    assert len(GivenUpFile(tmp_path)) == n_given_up
    assert not any(job.job_id in GivenUpFile(tmp_path) for job in dispatcher.asked)


def test_validation_is_over_the_answered_samples(dense: SimpleNamespace) -> None:
    task = make_task()
    lost = np.zeros(6, bool)
    outputs, used = evaluate_samples(
        task.model, PARAMS, BATCH.features, coordinator(Failing(dense, of_samples(*LOST))),
        shots=None, seed=1, purpose="x", lost=lost,
    )  # fmt: skip
    assert np.flatnonzero(lost).tolist() == list(LOST)
    assert used.samples_skipped == 2
    plain, _ = evaluate_samples(
        task.model, PARAMS, BATCH.features, Coordinator(Failing(dense, of_samples()), ONE_CIRCUIT),
        shots=None, seed=1, purpose="x",
    )  # fmt: skip
    np.testing.assert_array_equal(outputs[~lost], plain[~lost])


def test_simulated_jobs_are_tagged_counted_and_remembered(dense: SimpleNamespace, tmp_path: Path) -> None:
    task = make_task()

    def run(fails: Callable[[Job], bool]) -> tuple[GradientEstimate, Failing]:
        policy = FailurePolicy(
            "simulate",
            fallback=SerialDispatcher(dense.Backend()),
            fallback_name="noisy:aria-1",
            given_up=GivenUpFile(tmp_path),
        )
        dispatcher = Failing(dense, fails)
        return gradient(task, BATCH, coordinator(dispatcher, policy)), dispatcher

    found, dispatcher = run(of_samples(*LOST))
    (evaluation,) = found.evaluations
    n_failed = sum(of_samples(*LOST)(job) for job in dispatcher.asked)
    assert evaluation.n_simulated == n_failed > 0
    name = dense.Backend().name
    assert evaluation.jobs_by_target == {
        name: len(dispatcher.asked) - n_failed,
        "fallback:noisy:aria-1": n_failed,
    }
    assert found.n_skipped == 0
    calm = gradient(task, BATCH, coordinator(Failing(dense, of_samples())))
    assert found.gradient.tobytes() == calm.gradient.tobytes()
    _, well = run(lambda job: False)
    assert len(well.asked) == len(dispatcher.asked) - n_failed, "what was simulated once is not asked again"


def test_record_survives_a_torn_line_and_refuses_a_damaged_one(tmp_path: Path) -> None:
    record = GivenUpFile(tmp_path)
    record.add(
        [FailedJob("aa", ExecutionError("x")), FailedJob("bb", ExecutionError("y"))], "skip_samples", 4
    )
    path = tmp_path / "given_up.jsonl"
    with path.open("a") as file:
        file.write('{"job": "cc", "st')
    again = GivenUpFile(tmp_path)
    assert len(again) == 2
    assert "aa" in again
    assert "cc" not in again
    again.add([FailedJob("dd", ExecutionError("z"))], "simulate", 5)
    assert len(GivenUpFile(tmp_path)) == 3
    path.write_text("[1]\n" + path.read_text())
    with pytest.raises(CheckpointError, match="line 1"):
        GivenUpFile(tmp_path)


def test_memory_and_file_keep_the_same(tmp_path: Path) -> None:
    for record in (GivenUpInMemory(), GivenUpFile(tmp_path)):
        record.add([FailedJob("aa", ExecutionError("x"))], "skip_samples", 1)
        assert "aa" in record
        assert "bb" not in record


@pytest.mark.parametrize(
    ("backend", "name", "noise"),
    [
        ({"name": "ionq", "target": "qpu.aria-1", "shots": 500}, "noisy", "aria-1"),
        ({"name": "ionq", "target": "qpu.forte-enterprise-1", "shots": 500}, "noisy", "forte-1"),
        ({"name": "ionq", "targets": ("qpu.forte-1", "qpu.aria-1"), "shots": 500}, "noisy", "forte-1"),
        ({"name": "ionq", "noise": "aria-2", "shots": 500}, "noisy", "aria-2"),
        ({"name": "ionq"}, "ideal", None),
        ({"name": "ionq", "target": "qpu.aria-1", "shots": 500, "fallback": "ideal"}, "ideal", None),
        ({"name": "noisy", "noise": "forte-1"}, "noisy", "forte-1"),
    ],
)
def test_fallback_has_the_noise_of_the_target(backend: dict[str, Any], name: str, noise: str | None) -> None:
    config = TrainingConfig(backend=BackendConfig(**backend, on_failure="simulate"))
    found = fallback_config(config).backend
    assert (found.name, found.noise, found.shots) == (name, noise, config.backend.shots)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fallback": "ideal"}, "set it to 'simulate'"),
        ({"fallback": "ionq", "on_failure": "simulate"}, "simulator of this machine"),
        ({"targets": ("qpu.aria-1",)}, "two different targets"),
        ({"targets": ("qpu.aria-1", "qpu.aria-1")}, "two different targets"),
        ({"max_skipped": 1.0}, "less than 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BackendConfig(**settings)


@pytest.mark.parametrize("n_together", [1, 3])
def test_serial_dispatcher_delivers_failures_and_goes_on(dense: SimpleNamespace, n_together: int) -> None:
    """Failures of one job are delivered; what stands in the way of every job is raised as ever."""
    plain = dense.Backend()

    class Backend:
        name = "flaky"
        capabilities = replace(plain.capabilities, jobs_in_flight=n_together)

        def __init__(self, error: Exception) -> None:
            self.error = error

        def open_session(self) -> Any:
            error = self.error

            class Session:
                compile = staticmethod(plain.compile)

                def run(self, compiled: Any, job: Job) -> JobResult:
                    if job.sample_start == 1:
                        raise error
                    return plain.run(compiled, job)

                def close(self) -> None:
                    pass

            return Session()

    plan = EvaluationPlan(make_task().model.measured, make_task().model.angles(PARAMS, BATCH.features))
    jobs = [plan.job().part(slice(i, i + 1), slice(0, 1)) for i in range(4)]
    dispatcher = SerialDispatcher(Backend(ExecutionError("HTTP 500")))
    dispatcher.register(plan.circuit)
    answers = list(dispatcher.run_all(jobs))
    failed = [answer for answer in answers if isinstance(answer, FailedJob)]
    assert [one.job_id for one in failed] == [jobs[1].job_id]
    assert "given up" in str(failed[0].error)
    assert {a.job_id for a in answers} == {job.job_id for job in jobs}
    dispatcher.close()
    dispatcher = SerialDispatcher(Backend(CapabilityError("no such gate")))
    dispatcher.register(plan.circuit)
    with pytest.raises(CapabilityError):
        list(dispatcher.run_all(jobs))
    dispatcher.close()


@pytest.mark.parametrize(("on_failure", "n_jobs"), [("stop", 7), ("skip_samples", 12)])
def test_the_quote_knows_how_jobs_are_cut(on_failure: str, n_jobs: int, dense: SimpleNamespace) -> None:
    """Six samples of seven circuits, six in a job: a job of all samples, or two jobs for each."""
    backend = BackendConfig(
        name="ionq", target="qpu.aria-1", shots=600, circuits_per_job=6, on_failure=on_failure
    )
    dispatcher, policy = Failing(dense, of_samples()), FailurePolicy(backend.on_failure)
    task = make_task(shots=600)
    estimate = gradient(task, BATCH, coordinator(dispatcher, policy, n_circuits=6))
    (plan,) = [next(task.rule.estimate(gradient_problem(task, PARAMS, BATCH, 2)))]
    pricer = PlanPricer(
        Catalogue.default().entry("qpu.aria-1"), settings_of(backend), ionq_gate_counts("qpu.aria-1")
    )
    assert estimate.evaluations[0].n_jobs == len(dispatcher.asked) == n_jobs
    assert pricer.work(plan).jobs == n_jobs
