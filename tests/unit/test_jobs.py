"""Jobs: displacements, parts, content ids; and what `check_result` lets through."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import ExecutionError
from orchestrator.jobs import Displacements, Job, JobResult, check_result


def make_job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "circuit_key": "k" * 32,
        "shared_angles": np.array([0.1, 0.2, 0.3]),
        "data_columns": np.array([1]),
        "data_angles": np.array([[1.0], [2.0], [3.0]]),
        "displacements": Displacements.single(np.array([0, 2, 2]), np.array([0.5, -0.5, 0.25])),
    }
    return Job(**values | changes)


def answer(job: Job, **changes: Any) -> JobResult:
    shape = (job.n_samples, job.n_displacements, 2)
    n_angles = 0 if job.jacobian_angles is None else len(job.jacobian_angles)
    n_rows = 2 if job.cotangents is None else 1
    result = JobResult(
        job.job_id, np.zeros(shape), np.zeros(shape), np.zeros((shape[0], n_rows, n_angles)), 12, 0, 0.0, True, 0.1, 0.0, 0.1, "w", "b"
    )  # fmt: skip
    return replace(result, **changes)


CONTRACTED = make_job(
    displacements=Displacements.none(), jacobian_angles=np.array([0, 1]), cotangents=np.ones((3, 2))
)


def dense(rows: Displacements, n_angles: int) -> np.ndarray:
    """[D, K]: the same changes, written out."""
    table = np.zeros((len(rows), n_angles))
    for d in range(len(rows)):
        part = slice(rows.indptr[d], rows.indptr[d + 1])
        table[d, rows.angles[part]] = rows.deltas[part]
    return table


def test_displacements_by_row() -> None:
    rows = Displacements.single(np.array([0, 2, 2]), np.array([0.5, -0.5, 0.25]))
    expected = [[0, 0, 0], [0.5, 0, 0], [0, 0, -0.5], [0, 0, 0.25]]
    np.testing.assert_array_equal(dense(rows, 3), expected)
    np.testing.assert_array_equal(dense(Displacements.none(), 3), [[0, 0, 0]])
    assert len(Displacements.single(np.empty(0, np.int64), np.empty(0))) == 1
    for start in range(4):
        for stop in range(start, 5):
            np.testing.assert_array_equal(
                dense(rows.rows(start, stop), 3), np.reshape(expected[start:stop], (-1, 3))
            )


def test_rows_of_several_angles() -> None:
    rows = Displacements(np.array([0, 0, 2, 3]), np.array([0, 1, 2]), np.array([0.1, 0.2, 0.3]))
    np.testing.assert_array_equal(dense(rows, 3), [[0, 0, 0], [0.1, 0.2, 0], [0, 0, 0.3]])
    np.testing.assert_array_equal(dense(rows.rows(1, 3), 3), [[0.1, 0.2, 0], [0, 0, 0.3]])


def test_part_of_a_part_is_a_part() -> None:
    whole = make_job(sample_start=10, displacement_start=20)
    twice = whole.part(slice(1, 3), slice(1, 4)).part(slice(1, 2), slice(1, 3))
    once = whole.part(slice(2, 3), slice(2, 4))
    assert twice.job_id == once.job_id
    assert (once.sample_start, once.displacement_start) == (12, 22)
    assert (once.n_samples, once.n_displacements) == (1, 2)
    np.testing.assert_array_equal(once.data_angles, [[3.0]])
    np.testing.assert_array_equal(dense(once.displacements, 3), [[0, 0, -0.5], [0, 0, 0.25]])


def test_a_part_has_its_samples_cotangents() -> None:
    weights = np.arange(6.0).reshape(3, 2)
    whole = make_job(displacements=Displacements.none(), jacobian_angles=np.array([0, 1]), cotangents=weights)
    part = whole.part(slice(1, 3), slice(0, 1))
    np.testing.assert_array_equal(part.cotangents, weights[1:])
    alone = make_job(
        displacements=Displacements.none(), jacobian_angles=np.array([0, 1]), cotangents=weights[1:],
        data_angles=np.array([[2.0], [3.0]]), sample_start=1,
    )  # fmt: skip
    assert part.job_id == alone.job_id


CHANGES: list[dict[str, Any]] = [
    {"circuit_key": "j" * 32},
    {"shared_angles": np.array([0.1, 0.2, np.nextafter(0.3, 1)])},
    {"data_columns": np.array([2])},
    {"data_angles": np.array([[1.0], [2.0], [3.5]])},
    {"data_angles": np.array([[1.0], [2.0]])},
    {"displacements": Displacements.none()},
    {"displacements": Displacements.single(np.array([0, 2, 1]), np.array([0.5, -0.5, 0.25]))},
    {"displacements": Displacements.single(np.array([0, 2, 2]), np.array([0.5, -0.5, 0.26]))},
    {
        "displacements": Displacements(
            np.array([0, 1, 2, 3, 3]), np.array([0, 2, 2]), np.array([0.5, -0.5, 0.25])
        )
    },
    {"jacobian_angles": np.array([0])},
    {"jacobian_angles": np.array([1])},
    {"jacobian_angles": np.array([1]), "cotangents": np.ones((3, 2))},
    {"jacobian_angles": np.array([1]), "cotangents": np.array([[1, 1], [1, 1], [1, 2.0]])},
    {"shots": 100},
    {"shots": 101},
    {"step": 1},
    {"sample_start": 1},
    {"displacement_start": 1},
    {"noise_keys": np.array([1], np.uint64)},
]


def test_id_is_of_content() -> None:
    jobs = [make_job(), *(make_job(**change) for change in CHANGES)]
    assert len({job.job_id for job in jobs}) == len(jobs), "any change of the work changes the id"
    assert make_job().job_id == make_job().job_id
    shuffled = make_job(shared_angles=np.array([0.1, 9, 0.2, 9, 0.3])[::2])
    assert shuffled.job_id == make_job().job_id, "memory layout is not content"


def test_id_survives_pickling() -> None:
    job = make_job(shots=3, noise_keys=np.array([7], np.uint64))
    assert pickle.loads(pickle.dumps(job)).job_id == job.job_id


@pytest.mark.filterwarnings("ignore:overflow")
def test_complete_answer_passes() -> None:
    for job in (
        make_job(),
        make_job(shots=5),
        make_job(displacements=Displacements.none(), jacobian_angles=np.array([0, 1])),
        CONTRACTED,
    ):
        result = answer(job)
        assert check_result(job, result, 2) is result
    job = make_job()
    assert check_result(job, answer(job, variances=None, jacobian=None), 2), (
        "what was not asked for may be missing"
    )
    assert check_result(job, answer(job, values=with_one(1e300)), 2), "finite, though its square is not"


def with_one(value: float) -> np.ndarray:
    """An answer's values, one of them spoilt."""
    values = np.zeros((3, 4, 2))
    values[1, 2, 0] = value
    return values


@pytest.mark.parametrize(
    ("job", "changes", "message"),
    [
        (make_job(), {"job_id": "other"}, "answered for job other"),
        (make_job(), {"values": np.zeros((3, 4, 3))}, r"values is float64 \(3, 4, 3\)"),
        (make_job(), {"values": np.zeros((3, 4))}, "values"),
        (make_job(), {"values": np.zeros((3, 4, 2), np.float32)}, "float32"),
        (make_job(), {"values": np.zeros((3, 4, 2)).tolist()}, "values is list"),
        (make_job(), {"values": None}, "values is NoneType"),
        (make_job(), {"values": with_one(np.nan)}, "not finite"),
        (make_job(), {"values": with_one(-np.inf)}, "not finite"),
        (make_job(shots=5), {"variances": None}, "variances is NoneType"),
        (make_job(shots=5), {"variances": np.zeros((3, 4, 1))}, "variances"),
        (
            make_job(displacements=Displacements.none(), jacobian_angles=np.array([0])),
            {"jacobian": None},
            "jacobian is NoneType",
        ),
        (
            make_job(displacements=Displacements.none(), jacobian_angles=np.array([0])),
            {"jacobian": np.zeros((3, 2, 2))},
            "jacobian",
        ),
        (
            CONTRACTED,
            {"jacobian": np.zeros((3, 2, 2))},
            r"jacobian is float64 \(3, 2, 2\), expected float64 \(3, 1, 2\)",
        ),
    ],
)
def test_wrong_answer_is_refused(job: Job, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ExecutionError, match=message):
        check_result(job, answer(job, **changes), 2)


@pytest.mark.parametrize("junk", [None, {}, np.zeros(3), ValueError("x")])
def test_answer_of_another_type_is_refused(junk: object) -> None:
    with pytest.raises(ExecutionError, match="not a JobResult"):
        check_result(make_job(), junk, 2)
