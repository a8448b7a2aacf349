"""The record of a paid run as a backend: what is served, to the bit; what is drawn from it; what is missing, and its price."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cirq
import numpy as np
import pytest
import sympy

from actors.backends.ideal import IdealBackend
from actors.backends.recorded import RecordedBackend
from actors.ionq.book import SubmissionBook
from actors.ionq.book_file import BookDamagedError, BookError
from actors.ionq.outcomes import Outcomes
from actors.ionq.question import Source, all_angles, places_of, question_text, read_question
from actors.ionq.record import Record
from actors.ionq.recorded_circuits import Place, content_keys
from actors.ionq.subsampling import subsample
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.config import BackendConfig
from orchestrator.errors import CapabilityError, ConfigError, NotRecordedError
from orchestrator.jobs import Displacements, Job, JobResult
from orchestrator.protocols import Backend
from pipelines.artifacts import replay_tags
from pipelines.data.circuit_log import shares

TARGET = "qpu.aria-1"
ARIA = Source(TARGET, None, "qis", False)
PAULIS = ("ZII", "IZZ", "XXI", "IIY", "ZIZ")


def circuit() -> MeasuredCircuit:
    qubits = cirq.LineQubit.range(3)
    t = sympy.symbols("t0:6")
    operations = [
        [cirq.ry(t[0])(qubits[0]), cirq.rx(t[1])(qubits[1]), cirq.ry(t[2])(qubits[2])],
        [cirq.CNOT(qubits[0], qubits[1]), cirq.CNOT(qubits[1], qubits[2])],
        [cirq.rz(t[3])(qubits[0]), cirq.ry(t[4])(qubits[1]), cirq.rx(t[5])(qubits[2])],
    ]
    template, _ = template_from_circuit(cirq.Circuit(operations))
    return MeasuredCircuit(template, PAULIS)


def a_job(measured: MeasuredCircuit, seed: int = 1, n_samples: int = 3, shots: int | None = 400) -> Job:
    rng = np.random.default_rng(seed)
    shared = rng.uniform(-3, 3, 6)
    shared[[0, 2]] = np.nan  # ignored: they come from the data
    return Job(
        circuit_key=measured.key,
        shared_angles=shared,
        data_columns=np.array([0, 2]),
        data_angles=rng.uniform(-3, 3, (n_samples, 2)),
        displacements=Displacements.single(np.array([1, 3, 0]), np.array([np.pi / 2, -np.pi / 2, 0.1])),
        shots=shots,
        step=2,
        sample_start=4,
        displacement_start=1,
        noise_keys=rng.integers(2**63, size=len(measured.groups), dtype=np.uint64),
    )


def probabilities(measured: MeasuredCircuit, basis: str, angles: np.ndarray) -> np.ndarray:
    """Of all outcomes, qubit 0 the most significant bit, by cirq's simulator."""
    qubits = cirq.LineQubit.range(3)
    resolved = cirq.resolve_parameters(
        measured.template.circuit(), {f"a{k}": a for k, a in enumerate(angles)}
    )
    for qubit, letter in zip(qubits, basis, strict=True):
        if letter == "Y":
            resolved.append(cirq.S(qubit) ** -1)
        if letter in "XY":
            resolved.append(cirq.H(qubit))
    state = cirq.Simulator(dtype=np.complex128).simulate(resolved, qubit_order=qubits).final_state_vector
    return np.abs(state) ** 2 / np.sum(np.abs(state) ** 2)


def counts_of(measured: MeasuredCircuit, job: Job, seed: int = 0) -> np.ndarray:
    """Counts of an experiment, int64 [S D, G, 8]."""
    rng = np.random.default_rng(seed)
    assert job.shots is not None
    return np.array(
        [
            [
                rng.multinomial(job.shots, probabilities(measured, group.basis, row))
                for group in measured.groups
            ]
            for row in all_angles(job)
        ]
    )


def answers_of(counts: np.ndarray) -> list[dict[str, float]]:
    """As IonQ writes them: bit i of the number is qubit i."""
    return [
        {str(int(f"{i:03b}"[::-1], 2)): count / row.sum() for i, count in enumerate(row) if count}
        for row in counts.reshape(-1, counts.shape[-1])
    ]


def by_hand(measured: MeasuredCircuit, job: Job, counts: np.ndarray) -> np.ndarray:
    """Expectation values [S, D, M]: shots with an even number of ones among the read qubits, less the others."""
    values = np.empty((job.n_samples * job.n_displacements, len(PAULIS)))
    for g, group in enumerate(measured.groups):
        for m in group.members:
            read = [q for q, letter in enumerate(PAULIS[m]) if letter != "I"]
            signs = np.array([(-1) ** sum(int(f"{i:03b}"[q]) for q in read) for i in range(8)])
            values[:, m] = counts[:, g] @ signs / counts[:, g].sum(axis=-1)
    return values.reshape(job.n_samples, job.n_displacements, -1)


def keep(
    folder: Path,
    measured: MeasuredCircuit,
    job: Job,
    counts: np.ndarray,
    cuts: Sequence[int] = (),
    source: Source = ARIA,
) -> None:
    """Put what was measured into the book of `folder`, as submissions that end at the circuits `cuts`."""
    answers = answers_of(counts)
    bounds = [0, *cuts, len(answers)]
    with SubmissionBook(folder) as book:
        for first, end in itertools.pairwise(bounds):
            token = f"{book.totals().n_completed:02x}"
            book.reserve(token, 1000, end - first, job.shots, source.target)
            book.submitted(token, f"job-{token}")
            text = question_text(source, False, measured, job, first, end - first)
            book.completed(token, 1000, answers[first:end], text)


def keep_part(folder: Path, measured: MeasuredCircuit, job: Job, counts: np.ndarray) -> None:
    """The first circuits of a job."""
    with SubmissionBook(folder) as book:
        book.reserve("aa", 1000, len(counts))
        book.submitted("aa", "job-aa")
        text = question_text(ARIA, False, measured, job, 0, len(counts))
        book.completed("aa", 1000, answers_of(counts), text)


def run(backend: Backend, measured: MeasuredCircuit, job: Job) -> JobResult:
    session = pickle.loads(pickle.dumps(backend)).open_session()
    try:
        return session.run(session.compile(measured), job)
    finally:
        session.close()


def on(folder: Path, then: str | None = None) -> RecordedBackend:
    return RecordedBackend(record=str(folder), then=then, target=TARGET, error_mitigation=False)


def test_a_question_keeps_every_bit(tmp_path: Path) -> None:
    measured = circuit()
    job = a_job(measured)
    content = json.loads(question_text(ARIA, False, measured, job, 5, 9))
    question = read_question(content)
    where = places_of(question)
    n_groups = len(measured.groups)
    assert question.source == ARIA
    assert question.bases == tuple(group.basis for group in measured.groups)
    assert question.structure == measured.template.key
    assert (question.job.noise_keys == job.noise_keys).all()
    for i, number in enumerate(range(5, 14)):
        sample, row = divmod(number // n_groups, job.n_displacements)
        assert where.groups[i] == number % n_groups
        assert (where.samples[i], where.displacements[i]) == (4 + sample, 1 + row)
        angles = np.nan_to_num(job.shared_angles)
        angles[job.data_columns] = job.data_angles[sample]
        rows = job.displacements
        for entry in range(rows.indptr[row], rows.indptr[row + 1]):
            angles[rows.angles[entry]] += rows.deltas[entry]
        assert where.angles[i].tobytes() == angles.tobytes()


def test_recorded_circuits_are_served_to_the_bit_whatever_the_cut(tmp_path: Path) -> None:
    measured = circuit()
    job = a_job(measured)
    counts = counts_of(measured, job)
    keep(tmp_path, measured, job, counts, cuts=(1, 7, 20))
    result = run(on(tmp_path), measured, job)
    values = by_hand(measured, job, counts)
    np.testing.assert_allclose(result.values, values, rtol=0, atol=1e-14)
    assert result.variances is not None
    np.testing.assert_allclose(result.variances, (1 - values**2) / 399, rtol=0, atol=1e-14)
    assert (result.cost_usd, result.n_circuits) == (0.0, 12 * len(measured.groups))
    assert result.backend == f"recorded:{TARGET}"
    part = run(on(tmp_path), measured, job.part(slice(1, 3), slice(2, 4)))
    assert part.values.tobytes() == np.ascontiguousarray(result.values[1:3, 2:4]).tobytes()


def test_a_circuit_that_was_run_twice_is_served_from_the_place_that_asks(tmp_path: Path) -> None:
    measured = circuit()
    first = a_job(measured)
    again = replace(first, step=9)
    elsewhere = replace(first, step=5)
    one, two = counts_of(measured, first, 1), counts_of(measured, first, 2)
    keep(tmp_path, measured, again, two)
    keep(tmp_path, measured, first, one)
    assert np.allclose(run(on(tmp_path), measured, first).values, by_hand(measured, first, one), atol=1e-14)
    assert np.allclose(run(on(tmp_path), measured, again).values, by_hand(measured, first, two), atol=1e-14)
    # Of others the first in the order of the run, not of the book
    assert np.allclose(
        run(on(tmp_path), measured, elsewhere).values, by_hand(measured, first, one), atol=1e-14
    )


def test_what_is_missing_is_counted_and_priced(tmp_path: Path) -> None:
    measured = circuit()
    job = a_job(measured, n_samples=3)
    known = job.part(slice(0, 2), slice(0, 4))
    keep(tmp_path, measured, known, counts_of(measured, known))
    backend = on(tmp_path)
    n_groups = len(measured.groups)
    with pytest.raises(NotRecordedError) as caught:
        run(backend, measured, job)
    error = caught.value
    assert (error.n_missing, error.n_asked, error.n_short) == (4 * n_groups, 12 * n_groups, 0)
    # 400 shots of 6 one-qubit gates (9 where qubits are turned) at $0.00022 and 2 two-qubit gates at $0.000975, and $12.4166 a circuit
    assert error.micro_dollars == 4 * (1_308_000 + 1_572_000 + 2 * 12_416_600)
    with pytest.raises(NotRecordedError) as caught:
        run(backend, measured, replace(known, shots=401))
    assert caught.value.n_short == caught.value.n_missing == 8 * n_groups
    for other in (
        replace(backend, target="qpu.forte-1"),
        replace(backend, gateset="native"),
        replace(backend, error_mitigation=True),
    ):
        with pytest.raises(NotRecordedError):
            run(other, measured, known)


def test_the_rest_is_simulated_where_a_simulator_is_named(tmp_path: Path) -> None:
    measured = circuit()
    job = a_job(measured)
    known = job.part(slice(1, 2), slice(1, 3))
    counts = counts_of(measured, known)
    # one circuit of the second point is lacking, so the point is simulated whole
    keep_part(tmp_path, measured, known, counts.reshape(-1, 8)[:-1])
    result = run(on(tmp_path, then="ideal"), measured, job)
    simulated = run(IdealBackend(), measured, job)
    assert result.variances is not None
    assert simulated.variances is not None
    served = np.zeros((3, 4), bool)
    served[1, 1] = True
    assert result.values[~served].tobytes() == simulated.values[~served].tobytes()
    assert result.variances[~served].tobytes() == simulated.variances[~served].tobytes()
    expected = by_hand(measured, known, counts)[0, 0]
    np.testing.assert_allclose(result.values[1, 1], expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(result.variances[1, 1], (1 - expected**2) / 399, rtol=0, atol=1e-14)
    assert result.backend == f"recorded:{TARGET}+ideal"


def test_fewer_shots_are_drawn_by_place_and_seed(tmp_path: Path) -> None:
    measured = circuit()
    job = a_job(measured)
    keep(tmp_path, measured, job, counts_of(measured, job))
    fewer = replace(job, shots=50)
    result = run(on(tmp_path), measured, fewer)
    assert result.values.tobytes() == run(on(tmp_path), measured, fewer).values.tobytes()
    assert np.allclose(result.values * 25, np.rint(result.values * 25))  # differences of counts of 50 shots
    part = run(on(tmp_path), measured, fewer.part(slice(2, 3), slice(1, 4)))
    assert part.values.tobytes() == np.ascontiguousarray(result.values[2:3, 1:4]).tobytes()
    other = run(on(tmp_path), measured, replace(fewer, noise_keys=job.noise_keys + np.uint64(1)))
    assert not np.array_equal(other.values, result.values)


def test_subsampling_has_the_mean_and_variance_of_theory() -> None:
    """Given the record: hypergeometric. Over records as well: binomial, as of a measurement with so many shots."""
    n, wanted, n_draws, p = 200, 60, 4000, np.array([0.2, 0.5, 0.3])
    rng = np.random.default_rng(5)
    rows = np.array([0, 3, 6])
    counts = np.array([37, 106, 57])
    record = Outcomes(rows, counts / n)
    given = np.array([subsample(record, n, wanted, Place(7, 1, 2, i)).probabilities for i in range(n_draws)])
    assert np.allclose(given * wanted, np.rint(given * wanted))
    assert (given * wanted <= counts + 1e-9).all()
    spread = record.probabilities * (1 - record.probabilities) / wanted * (n - wanted) / (n - 1)
    assert (np.abs(given.mean(axis=0) - record.probabilities) < 4 * np.sqrt(spread / n_draws)).all()
    # a sample variance of K nearly normal draws has the relative standard error sqrt(2 / K)
    np.testing.assert_allclose(given.var(axis=0, ddof=1), spread, rtol=4 * np.sqrt(2 / n_draws))
    anew = np.array(
        [
            subsample(Outcomes(rows, rng.multinomial(n, p) / n), n, wanted, Place(7, 1, 3, i)).probabilities
            for i in range(n_draws)
        ]
    )
    spread = p * (1 - p) / wanted
    assert (np.abs(anew.mean(axis=0) - p) < 4 * np.sqrt(spread / n_draws)).all()
    np.testing.assert_allclose(anew.var(axis=0, ddof=1), spread, rtol=4 * np.sqrt(2 / n_draws))


def test_subsampling_refuses_what_is_no_count() -> None:
    mitigated = Outcomes(np.array([0, 1]), np.array([0.7034, 0.2966]))
    with pytest.raises(CapabilityError, match=r"no count of 1000 shots.*nearest valid: --shots 1000"):
        subsample(mitigated, 1000, 100, Place(1, 0, 0, 0))
    assert subsample(mitigated, 1000, 1000, Place(1, 0, 0, 0)) is mitigated
    with pytest.raises(CapabilityError, match="20 shots cannot be drawn from 10"):
        subsample(Outcomes(np.array([0]), np.array([1.0])), 10, 20, Place(1, 0, 0, 0))


def test_exact_answers_give_any_number_of_shots(tmp_path: Path) -> None:
    """A simulator that has a price answers probabilities: shots are drawn here, as its session does."""
    measured = circuit()
    job = a_job(measured, shots=None)
    source = Source("simulator", None, "qis", False)
    exact = np.array(
        [[probabilities(measured, g.basis, row) for g in measured.groups] for row in all_angles(job)]
    )
    with SubmissionBook(tmp_path) as book:
        book.reserve("aa", 10)
        book.submitted("aa", "job-aa")
        n = exact.shape[0] * exact.shape[1]
        text = question_text(source, True, measured, replace(job, noise_keys=np.zeros(0, np.uint64)), 0, n)
        book.completed("aa", 10, answers_of(exact), text)
    backend = RecordedBackend(record=str(tmp_path))
    result = run(backend, measured, job)
    np.testing.assert_allclose(result.values, by_hand(measured, job, exact), rtol=0, atol=1e-12)
    assert result.variances is None
    sampled = run(backend, measured, replace(job, shots=1000))
    assert sampled.variances is not None
    deviation = (sampled.values - result.values) / np.sqrt((1 - result.values**2) / 1000)
    assert np.abs(deviation).max() < 4.5  # 60 values
    assert deviation.std() > 0.5


def test_a_record_says_what_it_lacks(tmp_path: Path) -> None:
    measured = circuit()
    job = a_job(measured)
    keep(tmp_path, measured, job, counts_of(measured, job), cuts=(4, 9))
    with SubmissionBook(tmp_path) as book:
        for token, answer in (("e0", [{"0": 1.0}]), ("e1", [])):  # without a question; paid in vain
            book.reserve(token, 7)
            book.submitted(token, f"job-{token}")
            book.completed(token, 7, answer)
        book.reserve("e2", 5)  # under way
        (tmp_path / "answers" / "00.json").unlink()
        record = Record(tmp_path)  # while another holds the book
        assert [each.entry.token for each in record.submissions()] == ["01", "02"]
    assert (record.n_lost, record.n_untold, record.spent) == (1, 1, 3 * 1000 + 14)
    with pytest.raises(BookError, match="cannot be read"):
        Record(tmp_path / "nothing")


def test_a_question_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    measured = circuit()
    job = a_job(measured)
    with SubmissionBook(tmp_path) as book:
        book.reserve("aa", 7)
        book.submitted("aa", "job-aa")
        book.completed("aa", 7, [{"0": 1.0}], question_text(ARIA, False, measured, job, 0, 2))
    with pytest.raises(BookDamagedError, match="1 answers for 2 circuits"):
        list(Record(tmp_path).submissions())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "name the run"),
        ({"record": "x", "then": "ionq"}, "sends nothing.*noisy"),
        ({"record": "x", "then": "recorded"}, "the record itself.*noisy"),
        ({"record": "x", "target": "qpu.aria-9"}, "qpu.aria"),
    ],
)
def test_refusals(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        _ = RecordedBackend(**settings).capabilities  # type: ignore[arg-type]
    assert caught.value.key.startswith("backend.")


def test_a_run_of_several_targets_is_served_from_all_of_them(tmp_path: Path) -> None:
    measured = circuit()
    job = a_job(measured)
    parts = [job.part(slice(0, 1), slice(0, 4)), job.part(slice(1, 3), slice(0, 4))]
    sources = [ARIA, ARIA._replace(target="qpu.forte-1")]
    counts = [counts_of(measured, part, seed) for seed, part in enumerate(parts)]
    for part, source, found in zip(parts, sources, counts, strict=True):
        keep(tmp_path, measured, part, found, source=source)
    both = replace(on(tmp_path), target="simulator", targets=(TARGET, "qpu.forte-1"))
    result = run(both, measured, job)
    expected = np.concatenate([by_hand(measured, *each) for each in zip(parts, counts, strict=True)])
    np.testing.assert_allclose(result.values, expected, rtol=0, atol=1e-14)
    assert result.backend == "recorded:qpu.aria-1+qpu.forte-1"
    with pytest.raises(NotRecordedError, match=r"on qpu\.aria-1 they would cost"):
        run(on(tmp_path), measured, job)


def test_a_key_is_of_content_alone() -> None:
    angles = np.array([[0.0, 1.0], [-0.0, 1.0], [np.nextafter(0.0, 1.0), 1.0]])
    same, also, other = content_keys("s", "ZZ", ARIA, angles)
    assert same == also != other
    assert content_keys("s", "ZX", ARIA, angles[:1]) != [same]
    assert content_keys("t", "ZZ", ARIA, angles[:1]) != [same]
    for changed in (
        ARIA._replace(target="qpu.aria-2"),
        ARIA._replace(noise="aria-1"),
        ARIA._replace(gateset="native"),
        ARIA._replace(is_mitigated=True),
    ):
        assert content_keys("s", "ZZ", changed, angles[:1]) != [same]


def test_a_replay_is_tagged() -> None:
    assert replay_tags(BackendConfig()) == {}
    backend = BackendConfig(name="recorded", record="/somewhere/runs/paid")
    assert replay_tags(backend) == {"replay_of": "paid"}
    backend = backend.model_copy(update={"then": "noisy"})
    assert replay_tags(backend) == {"replay_of": "paid", "replay_then": "noisy"}


def test_it_is_free_and_samples_like_its_target(tmp_path: Path) -> None:
    can = on(tmp_path).capabilities
    assert (can.is_paid, can.is_exact, can.has_shots, can.has_jacobian) == (False, False, True, False)


@pytest.mark.parametrize(("total", "n"), [(0, 3), (7, 3), (97_920_001, 7), (5, 5), (3, 4)])
def test_shares_sum_to_the_bill(total: int, n: int) -> None:
    found = shares(total, n)
    assert found.sum() == total
    assert found.max() - found.min() <= 1
