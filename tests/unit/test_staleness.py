"""Stale gradients: the bits of delayed descent, whatever is answered when; what is out is called back, or asked again."""

from __future__ import annotations

import copy
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import cirq
import numpy as np
import pytest
import sympy

from actors.serial import SerialDispatcher
from orchestrator.config import GradientConfig, OptimizerConfig, RunConfig, TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import ConfigError, ExecutionError
from orchestrator.jobs import FailedJob, Job, JobResult
from orchestrator.losses.mse import MeanSquaredError
from orchestrator.models.model import Model
from orchestrator.planning.failures import FailurePolicy
from orchestrator.protocols import Capabilities
from orchestrator.registry import resolve
from orchestrator.training.gradient import batch_gradient
from orchestrator.training.loop import epoch_order, initial_state, train
from orchestrator.training.reports import EpochReport, Samples, StepReport
from orchestrator.training.staleness import check_staleness, stable_rate
from orchestrator.training.state import TrainState
from orchestrator.training.task import TrainingTask
from pipelines.checkpoints import Checkpoints
from pipelines.doctor.staleness import examine_staleness
from pipelines.rehearsal_run import rehearsed_backend
from pipelines.run_setup import prepare_run

A, B, X = sympy.symbols("a b x")
Q = cirq.LineQubit.range(2)
CIRCUIT = cirq.Circuit(
    cirq.ry(X)(Q[0]), cirq.rx(A * X + B)(Q[1]), cirq.CZ(*Q), cirq.ry(B)(Q[0]), cirq.rx(A)(Q[0])
)
FEATURES = np.random.default_rng(5).uniform(-2, 2, (14, 1))
TRAIN = Samples(FEATURES[:11], np.sin(FEATURES[:11, 0]))
VALIDATION = Samples(FEATURES[11:], np.sin(FEATURES[11:, 0]))
N_EPOCHS, N_BATCHES = 2, 6
STALE_RULES = (
    "parameter_shift",
    "spsa",
    "guided_spsa",
    "natural_gradient",
    "stochastic_parameter_shift",
    "random_coordinate",
)


def make_task(
    max_staleness: int,
    rule: str = "parameter_shift",
    *,
    shots: int | None = 20,
    frozen: tuple[int, ...] = (),
    optimizer: dict[str, Any] | None = None,
    **run: Any,
) -> TrainingTask:
    """11 samples in batches of 2, so 6 steps an epoch, the last with one sample."""
    model = Model.from_circuit(
        CIRCUIT, features=["x"], observables=["Z0 + 0.5*X1"], head="linear", initial_scale=1.0, frozen=frozen
    )
    return TrainingTask(
        model=model, loss=MeanSquaredError(), rule=resolve("gradient rule", rule)(), train=TRAIN, validation=VALIDATION,
        run=RunConfig(**{"epochs": N_EPOCHS, "batch_size": 2, "seed": 11, **run}),
        optimizer=OptimizerConfig(**(optimizer or {"name": "sgd", "learning_rate": 0.05, "momentum": 0.0})),
        shots=shots, max_staleness=max_staleness,
    )  # fmt: skip


class Remembering:
    """A session that computes a job once, whoever asks: jobs are content. The tests ask for the same ones again and again."""

    def __init__(self, session: Any) -> None:
        self.compile, self._run, self._found = session.compile, session.run, {}  # type: ignore[var-annotated]

    def run(self, circuit: Any, job: Job) -> JobResult:
        if job.job_id not in self._found:
            self._found[job.job_id] = self._run(circuit, job)
        return self._found[job.job_id]


class Fixed(NamedTuple):
    """The session that all tests share, the capabilities that cut a plan alike every time, and a coordinator of both."""

    session: Remembering
    capabilities: Capabilities
    Dispatcher: Any

    def coordinator(self) -> Coordinator:
        return Coordinator(self.Dispatcher(self.session), self.capabilities)

    def whole(self) -> Capabilities:
        """With a job for each evaluation."""
        return replace(self.capabilities, circuits_per_job=1000)


@pytest.fixture(scope="module")
def fixed(dense: SimpleNamespace) -> Fixed:
    backend = dense.Backend()
    return Fixed(Remembering(backend), replace(backend.capabilities, circuits_per_job=7), dense.Dispatcher)


class AnyOrder:
    """A dispatcher that takes jobs at the call and, whoever waits, does the next of all that it has at random.

    Attributes:
        most: jobs that it had at the same time. cancelled: jobs of calls that were given up.
    """

    def __init__(self, session: Any, seed: int = 0, fails: Callable[[Job], bool] = lambda job: False) -> None:
        self.n_workers, self.job_overhead_seconds = 3, 1e-9
        self._session, self._rng, self._fails = session, random.Random(seed), fails
        self._circuits: dict[str, Any] = {}
        self._waiting: list[tuple[Job, list[Any]]] = []
        self.most = self.cancelled = 0
        self.sent: list[int] = []

    def register(self, circuit: Any) -> None:
        self._circuits[circuit.key] = self._session.compile(circuit)

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        results: list[Any] = []
        self._waiting += [(job, results) for job in jobs]
        self.sent += sorted({job.step for job in jobs})
        self.most = max(self.most, len(self._waiting))
        answers = self._answers(len(jobs), results)
        next(answers)
        return answers

    run_all = run

    def _answers(self, n: int, results: list[Any]) -> Iterator[Any]:
        try:
            yield None
            for _ in range(n):
                while not results:
                    job, owner = self._waiting.pop(self._rng.randrange(len(self._waiting)))
                    if self._fails(job):
                        owner.append(FailedJob(job.job_id, ExecutionError("it fails")))
                    else:
                        owner.append(self._session.run(self._circuits[job.circuit_key], job))
                yield results.pop()
        finally:
            mine = [each for each in self._waiting if each[1] is results]
            self.cancelled += len(mine)
            self._waiting = [each for each in self._waiting if each[1] is not results]


def trained(
    task: TrainingTask, coordinator: Coordinator, state: TrainState | None = None
) -> tuple[TrainState, list[StepReport]]:
    state = state or initial_state(task)
    return state, [report for report in train(task, state, coordinator) if isinstance(report, StepReport)]


def bits(state: TrainState) -> tuple[Any, ...]:
    """All that counts; times are not part of it."""
    arrays = [state.params, state.best_params, *(state.optimizer[key] for key in sorted(state.optimizer))]
    history = [(r.epoch, r.step, r.metrics, r.best_value, r.totals, r.stop_reason) for r in state.history]
    return (
        tuple(a.tobytes() for a in arrays),
        history,
        state.step_losses,
        state.totals,
        state.epoch,
        state.cursor,
        state.step,
    )


def delayed_descent(
    task: TrainingTask, coordinator: Coordinator, delay: int
) -> tuple[list[float], np.ndarray]:
    """Losses and final parameters of ``x(t+1) = x(t) - rate g(x(max(t - delay, first of the epoch)))``, written down as it is said."""
    points = [task.model.initial_params(task.run.seed)]
    losses = []
    for epoch in range(N_EPOCHS):
        order = epoch_order(task.run.seed, epoch, len(TRAIN.targets))
        begin = epoch * N_BATCHES
        for t in range(begin, begin + N_BATCHES):
            rows = order[2 * (t - begin) : 2 * (t - begin) + 2]
            stale = points[max(t - delay, begin)]
            found = batch_gradient(
                task, stale, Samples(TRAIN.features[rows], TRAIN.targets[rows]), coordinator, step=t
            )
            losses.append(found.loss)
            points.append(points[-1] - task.optimizer.learning_rate * found.gradient)
    return losses, points[-1]


@pytest.mark.parametrize("rule", STALE_RULES)
@pytest.mark.parametrize("delay", [0, 1, 2, 5])
def test_is_delayed_descent_to_the_bit_in_whatever_order_answers_come(
    delay: int, rule: str, fixed: Fixed
) -> None:
    task = make_task(delay, rule)
    losses, params = delayed_descent(task, fixed.coordinator(), delay)
    for seed in range(3):
        dispatcher = AnyOrder(fixed.session, seed)
        state, steps = trained(task, Coordinator(dispatcher, fixed.capabilities))
        assert state.step_losses == losses
        assert state.params.tobytes() == params.tobytes()
        assert [report.staleness for report in steps] == (
            N_EPOCHS * [min(t, delay) for t in range(N_BATCHES)] if delay else [None] * 12
        )
    assert (
        delay == 0 or params.tobytes() != delayed_descent(task, fixed.coordinator(), delay - 1)[1].tobytes()
    )


def test_steps_are_out_together(fixed: Fixed) -> None:
    """One job a step until speed is known: so many steps as may be stale, and one."""
    most = {}
    for delay in (0, 1, 3):
        dispatcher = AnyOrder(fixed.session)
        trained(make_task(delay), Coordinator(dispatcher, fixed.whole()))
        most[delay] = dispatcher.most
    assert most == {0: 1, 1: 2, 3: 4}


def test_what_was_sent_first_is_waited_for_first(fixed: Fixed) -> None:
    """A rule with two evaluations a step: the second ones of two steps overlap as the first ones did."""
    dispatcher = AnyOrder(fixed.session)
    trained(
        make_task(1, "guided_spsa", epochs=1),
        Coordinator(dispatcher, fixed.whole()),
    )
    # the last step has one sample, which is a guide: no second evaluation; the 6 at the end is the validation's
    assert dispatcher.sent == [0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 6]


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ("parameter_shift", {}),
        ("guided_spsa", {"max_steps": 8}),
        ("parameter_shift", {"early_stopping_patience": 1}),
        (
            "guided_spsa",
            {"optimizer": {"name": "adam", "schedule": "plateau", "weight_decay": 0.01}, "frozen": (1,)},
        ),
    ],
)
def test_resumed_at_every_report_it_comes_to_the_same_bits(
    rule: str, options: dict[str, Any], fixed: Fixed, tmp_path: Path
) -> None:
    task = make_task(3, rule, **options)
    checkpoints = Checkpoints(tmp_path, 100, "fingerprint")
    state = initial_state(task)
    copies = [copy.deepcopy(state)]
    copies += [checkpoints.load(checkpoints.save(state)) for _ in train(task, state, fixed.coordinator())]
    assert max(len(saved.past) for saved in copies) == 3
    assert all(len(saved.past) == min(3, saved.cursor) for saved in copies)
    undisturbed = bits(state)
    for number, saved in enumerate(copies):
        resumed, _ = trained(
            make_task(3, rule, **options),
            Coordinator(AnyOrder(fixed.session, number), fixed.capabilities),
            saved,
        )
        assert bits(resumed) == undisturbed


def test_resuming_asks_for_the_same_jobs_again(fixed: Fixed) -> None:
    """Tokens of paid submissions follow from a job's content: what was out when a run stopped must be asked for alike."""
    task = make_task(2)

    class Eager(fixed.Dispatcher):  # type: ignore[name-defined, misc]
        def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
            return iter(list(super().run(jobs)))

    def asked(state: TrainState, n_reports: int) -> dict[str, int]:
        """Steps by the ids of jobs."""
        dispatcher = Eager(fixed.session)
        coordinator = Coordinator(dispatcher, fixed.capabilities)
        list(itertools.islice(train(task, state, coordinator), n_reports))
        return {job.job_id: job.step for job in dispatcher.jobs}

    whole = asked(initial_state(task), 100)
    for n_steps in range(N_BATCHES + 1):
        state = initial_state(task)
        before = asked(state, n_steps)
        after = asked(state, 100)
        assert before | after == whole
        again = {before[job_id] for job_id in before.keys() & after.keys()}
        assert again == (set(range(n_steps, min(n_steps + 2, N_BATCHES))) if n_steps else set())


def test_nothing_is_out_between_epochs_or_after_the_last_step(fixed: Fixed) -> None:
    for options in ({}, {"max_steps": 8}):
        dispatcher = AnyOrder(fixed.session)
        task = make_task(4, **options)
        state = initial_state(task)
        for report in train(task, state, Coordinator(dispatcher, fixed.capabilities)):
            if isinstance(report, EpochReport):
                assert dispatcher._waiting == []
                assert len(state.past) == 0
        assert max(dispatcher.sent) == state.step
        assert dispatcher.cancelled == 0


def test_closing_the_loop_calls_back_what_is_out(fixed: Fixed) -> None:
    dispatcher = AnyOrder(fixed.session)
    coordinator = Coordinator(dispatcher, fixed.whole())
    reports = train(make_task(3), initial_state(make_task(3)), coordinator)
    next(reports)
    reports.close()
    assert dispatcher._waiting == []
    assert dispatcher.cancelled > 0
    assert coordinator._n_under_way == 0


@pytest.mark.parametrize("error", [ExecutionError("it ends here"), KeyboardInterrupt("it ends here")])
def test_a_failure_or_an_interrupt_leaves_the_state_between_two_steps(
    error: BaseException, fixed: Fixed
) -> None:
    """Step 4 ends it while 5 and 6 are out: what comes after is called back, and the run goes on from the state to the same bits."""
    task = make_task(2)
    undisturbed = bits(trained(task, fixed.coordinator())[0])

    class Ending(AnyOrder):
        def _answers(self, n: int, results: list[Any]) -> Iterator[Any]:
            for result in super()._answers(n, results):
                assert coordinator.is_evaluating, "an interrupt is raised here and now"
                if isinstance(result, FailedJob):
                    raise error
                yield result

    dispatcher = Ending(fixed.session, fails=lambda job: job.step == 3)
    coordinator = Coordinator(dispatcher, fixed.capabilities)
    state = initial_state(task)
    reports = train(task, state, coordinator)
    for _ in range(3):
        next(reports)
        assert not coordinator.is_evaluating, "an interrupt waits"
    with pytest.raises(type(error), match="it ends here"):
        next(reports)
    assert state.step == 3
    assert dispatcher._waiting == []
    assert not coordinator.is_evaluating
    assert bits(trained(task, fixed.coordinator(), state)[0]) == undisturbed


def test_samples_left_out_are_those_of_their_own_step(fixed: Fixed) -> None:
    """Half of step 2's samples and none of the steps beside it: as if the steps had gone one by one."""
    task = make_task(3, optimizer={"name": "sgd", "learning_rate": 0.05, "momentum": 0.0})
    fails = lambda job: job.step == 2 and job.sample_start == 1  # noqa: E731
    capabilities = replace(fixed.capabilities, circuits_per_job=11)

    def coordinator() -> Coordinator:
        return Coordinator(
            AnyOrder(fixed.session, 3, fails), capabilities, failures=FailurePolicy("skip_samples")
        )

    losses, params = delayed_descent(task, coordinator(), 3)
    state, steps = trained(task, coordinator())
    assert [report.samples_skipped for report in steps] == [int(t == 2) for t in range(12)]
    assert state.step_losses == losses
    assert state.params.tobytes() == params.tobytes()


@pytest.mark.parametrize("rule", ["qn_spsa", "rotosolve", "adaptive"])
def test_rules_that_need_the_step_before_are_refused(rule: str) -> None:
    model = Model.from_circuit(
        cirq.Circuit(cirq.ry(X)(Q[0]), cirq.ry(A)(Q[1]), cirq.CZ(*Q)),
        features=["x"],
        observables=["X1"],
        head="none",
    )
    task = replace(make_task(1, rule, shots=30), model=model)
    check_staleness(replace(task, max_staleness=0))
    with pytest.raises(ConfigError, match=f"training.max_staleness.*{rule}") as caught:
        check_staleness(task)
    assert caught.value.suggestion == "0"


def test_allocated_shots_are_refused() -> None:
    rule = resolve("gradient rule", "parameter_shift")(GradientConfig(shots_per_step=5000))
    with pytest.raises(ConfigError, match="learns from step to step"):
        check_staleness(replace(make_task(1, shots=100), rule=rule))


def test_a_rule_that_shows_its_state_late_is_refused_too(fixed: Fixed) -> None:
    task = make_task(1)
    inner = task.rule

    class Late:
        name, needs_jacobian = "late", False

        def estimate(self, problem: Any) -> Any:
            found = yield from inner.estimate(problem)
            return replace(found, state={"seen": np.ones(1)} if problem.step == 2 else {})

    task = replace(task, rule=Late())
    check_staleness(task)
    state = initial_state(task)
    with pytest.raises(ConfigError, match="seen"):
        trained(task, fixed.coordinator(), state)
    assert state.step == 2


@pytest.mark.parametrize("rule", STALE_RULES)
def test_other_rules_pass(rule: str) -> None:
    check_staleness(make_task(N_BATCHES - 1, rule))


def test_more_than_an_epoch_has_is_refused_with_the_nearest_value() -> None:
    with pytest.raises(ConfigError, match=r"an epoch has 6 steps.*5"):
        check_staleness(make_task(6))
    base = [
        "data.name=iris",
        "data.n_components=2",
        "model.n_qubits=2",
        "loss.name=mse",
        "fleet.dispatcher=serial",
    ]
    config = TrainingConfig().with_overrides([*base, "run.batch_size=1000", "training.max_staleness=1"])
    with pytest.raises(ConfigError, match="an epoch has 1 step,"):
        prepare_run(config)
    assert prepare_run(config.with_overrides(["run.batch_size=20"])).task.max_staleness == 1


@pytest.mark.parametrize("delay", range(9))
def test_stable_rate_is_where_the_characteristic_roots_leave_the_unit_circle(delay: int) -> None:
    """``z**(s+1) - z**s + a``: a double root costs half of the digits, so 1e-6 either way is told from the bound."""

    def largest_root(a: float) -> float:
        polynomial = np.zeros(delay + 2)
        polynomial[0] += 1.0
        polynomial[1] -= 1.0
        polynomial[-1] += a
        return float(np.abs(np.roots(polynomial)).max())

    assert largest_root(stable_rate(delay) * (1 - 1e-6)) < 1 < largest_root(stable_rate(delay) * (1 + 1e-6))
    assert largest_root(stable_rate(delay) * 0.5) < 1 < largest_root(stable_rate(delay) * 2)


@pytest.mark.parametrize(("jobs_in_flight", "delay", "most"), [(8, 0, 1), (1, 3, 1), (8, 3, 4)])
def test_phases_are_all_of_the_time_and_steps_wait_together(
    jobs_in_flight: int, delay: int, most: int, dense: SimpleNamespace
) -> None:
    """A backend that waits 30 ms a job: four steps wait together where there is room; with one job at a time nothing is gained."""
    lock, inside, seen = threading.Lock(), [0], [0]

    class Slow(dense.Backend):  # type: ignore[name-defined, misc]
        def run(self, circuit: Any, job: Job) -> JobResult:
            began = time.time()
            with lock:
                inside[0] += 1
                seen[0] = max(seen[0], inside[0])
            time.sleep(0.03)
            with lock:
                inside[0] -= 1
            seconds = time.time() - began
            return replace(
                super().run(circuit, job), compute_seconds=seconds, started_at=began, finished_at=time.time()
            )

    capabilities = replace(dense.Backend.capabilities, jobs_in_flight=jobs_in_flight, circuits_per_job=1000)
    dispatcher = SerialDispatcher(Slow(capabilities=capabilities))
    task = make_task(delay, epochs=1)
    started = time.perf_counter()
    reports = list(train(task, initial_state(task), Coordinator(dispatcher, capabilities)))
    wall = time.perf_counter() - started
    dispatcher.close()
    assert seen[0] == most
    [epoch] = [report for report in reports if isinstance(report, EpochReport)]
    assert min(epoch.phases.values()) >= 0
    assert 0.8 * wall <= epoch.seconds == sum(epoch.phases.values()) <= wall
    assert (
        epoch.phases["compute"] + epoch.phases["queue"] >= 0.03 * (7 if most == 1 else 3) * 0.9
    )  # validation too


def test_doctor_says_what_it_asks_of_the_learning_rate() -> None:
    assert examine_staleness(make_task(0)) is None
    found = examine_staleness(make_task(2))
    assert found is not None
    assert found["rate_share"] == pytest.approx((np.sqrt(5) - 1) / 4, rel=1e-14)  # sin(pi / 10)
    assert (found["max_staleness"], found["waits"], found["steps"]) == (2, 2, 6)


def test_a_rehearsal_refuses_it() -> None:
    overrides = [
        "data.name=iris", "data.n_components=2", "model.n_qubits=2", "loss.name=mse", "run.batch_size=8", "fleet.dispatcher=serial",
        "backend.name=ionq", "backend.target=qpu.aria-1", "backend.shots=100", "training.max_staleness=1",
    ]  # fmt: skip
    prepared = prepare_run(TrainingConfig().with_overrides(overrides))
    with pytest.raises(ConfigError, match=r"training.max_staleness = 1: .*qfleet benchmark staleness.*'0'"):
        rehearsed_backend(prepared)
