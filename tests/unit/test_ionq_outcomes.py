"""Answers to probabilities and expectation values: bit order, refusals, Walsh sums, and shots drawn here."""

from __future__ import annotations

import itertools
import math

import cirq
import numpy as np
import pytest
from cirq_ionq.job import _little_endian_to_big

from actors.backends.cirq_simulator import CirqBackend
from actors.backends.results import mean_variances
from actors.ionq import outcomes as module
from actors.ionq.errors import BadAnswerError
from actors.ionq.outcomes import (
    MAX_DENSE_QUBITS,
    Draws,
    Outcomes,
    expectation_values,
    expectation_values_of,
    group_values,
    outcomes,
    probabilities,
    sample,
    z_masks,
)
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Displacements, Job
from orchestrator.planning.noise_keys import noise_keys


def answer_of(dense: np.ndarray) -> dict[str, float]:
    """What IonQ would answer: bit i of a key is qubit i, outcomes that cannot be are left out."""
    n_qubits = len(dense).bit_length() - 1
    table = {}
    for bits in itertools.product((0, 1), repeat=n_qubits):
        p = float(dense.reshape((2,) * n_qubits)[bits])
        if p > 0:
            table[str(sum(bit << i for i, bit in enumerate(bits)))] = p
    return table


def distribution(rng: np.random.Generator, n_qubits: int) -> np.ndarray:
    weights = rng.exponential(size=2**n_qubits)
    return weights / weights.sum()


class TestProbabilities:
    @pytest.mark.parametrize("n_qubits", [1, 2, 5, 9, MAX_DENSE_QUBITS + 1, 36])
    def test_bits_are_in_the_client_s_order(self, n_qubits) -> None:
        rng = np.random.default_rng(n_qubits)
        keys = np.unique(rng.integers(2**n_qubits, size=40))
        for key in keys.tolist():
            found = outcomes({str(key): 1.0}, n_qubits)
            assert found.rows.tolist() == [_little_endian_to_big(key, n_qubits)]
        assert len(outcomes({str(k): 1 / len(keys) for k in keys}, n_qubits).rows) == len(keys)

    def test_qubit_0_is_the_most_significant_bit(self) -> None:
        """X on qubit 0 of three: IonQ's outcome 1, qfleet's row 4."""
        assert probabilities({"1": 1.0}, 3).tolist() == [0, 0, 0, 0, 1, 0, 0, 0]

    def test_every_outcome_comes_back(self) -> None:
        rng = np.random.default_rng(1)
        for n_qubits in range(1, 8):
            dense = distribution(rng, n_qubits)
            np.testing.assert_allclose(probabilities(answer_of(dense), n_qubits), dense, rtol=1e-15)

    def test_the_order_of_the_keys_means_nothing(self) -> None:
        answer = answer_of(distribution(np.random.default_rng(2), 6))
        turned = dict(sorted(answer.items(), key=lambda item: -item[1]))
        assert list(turned) != list(answer)
        assert np.array_equal(probabilities(answer, 6), probabilities(turned, 6))

    @pytest.mark.parametrize("total", [0.9999, 1.0001, 1 - 1e-12, 0.9991])
    def test_a_small_defect_is_scaled_away(self, total) -> None:
        dense = distribution(np.random.default_rng(3), 3)
        np.testing.assert_allclose(probabilities(answer_of(dense * total), 3), dense, rtol=1e-14)

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            ({}, "no outcome"),
            ({"0": 0.5, "1": 0.49}, r"sum to 0\.99"),
            ({"0": 1.2, "1": 0.0}, r"sum to 1\.2"),
            ({"0": 1.1, "1": -0.1}, r"a probability is -0\.1"),
            ({"0": math.nan, "1": 1.0}, "a probability is nan"),
            ({"0": math.inf}, "a probability is inf"),
            ({"4": 1.0}, "outcome 4 is none of 2 qubits: 0 to 3"),
            ({"-1": 1.0}, "outcome -1 is none"),
            ({"1": 0.5, "01": 0.5}, "twice"),
            ({"a": 1.0}, "no outcome: invalid"),
            ({"1" * 30: 1.0}, "no outcome: "),
            ({"0": None}, "a probability is nan"),
            ({"0": {"0": 1.0}}, "no probability"),
        ],
    )
    def test_what_is_no_distribution_is_refused(self, answer, words) -> None:
        with pytest.raises(BadAnswerError, match=words):
            probabilities(answer, 2)


class TestExpectationValues:
    def test_against_signs(self) -> None:
        rng = np.random.default_rng(4)
        for n_qubits in range(1, 7):
            dense = np.array([distribution(rng, n_qubits) for _ in range(5)])
            masks = rng.integers(2**n_qubits, size=9)
            rows = np.arange(2**n_qubits)
            signs = np.array([[(-1) ** bin(row & mask).count("1") for row in rows] for mask in masks])
            found = expectation_values(dense, masks)
            np.testing.assert_allclose(found, dense @ signs.T, rtol=0, atol=1e-14)
            assert np.all(found[:, masks == 0] == 1.0)

    def test_a_circuit_s_bits_do_not_depend_on_its_neighbours(self) -> None:
        rng = np.random.default_rng(5)
        dense, masks = np.array([distribution(rng, 6) for _ in range(7)]), np.arange(64)
        whole = expectation_values(dense, masks)
        for i in range(7):
            assert np.array_equal(expectation_values(dense[i : i + 1], masks[::3]), whole[i : i + 1, ::3])

    def test_large_circuits_by_their_outcomes(self, monkeypatch) -> None:
        rng = np.random.default_rng(6)
        answers = [answer_of(distribution(rng, 5)) for _ in range(4)]
        found, masks = [outcomes(answer, 5) for answer in answers], np.arange(32)
        dense = group_values(found, 5, masks)
        monkeypatch.setattr(module, "MAX_DENSE_QUBITS", 4)
        np.testing.assert_allclose(group_values(found, 5, masks), dense, rtol=0, atol=1e-15)
        one = Outcomes(np.array([0, 2**35 + 1]), np.array([0.25, 0.75]))
        assert expectation_values_of(one, np.array([0, 1, 2**35 + 1, 2**34])).tolist() == [
            1.0,
            -0.5,
            1.0,
            1.0,
        ]

    def test_strings_of_a_measured_circuit(self) -> None:
        """Every group's masks on probabilities in its basis, against expectation values by cirq."""
        qubits = cirq.LineQubit.range(3)
        template, _ = template_from_circuit(
            cirq.Circuit(cirq.testing.random_circuit(qubits, 12, 0.9, random_state=1)), qubits
        )
        circuit = MeasuredCircuit(template, ("ZIX", "IYX", "ZZI", "III", "XYZ", "ZYX"))
        simulator = cirq.Simulator(dtype=np.complex128)
        turns = {"X": cirq.H, "Y": cirq.X**0.5}
        for group in circuit.groups:
            turned = template.circuit() + cirq.Circuit(
                turns[letter](q) for letter, q in zip(group.basis, qubits, strict=True) if letter in turns
            )
            state = simulator.simulate(turned, qubit_order=qubits).final_state_vector
            found = group_values([outcomes(answer_of(np.abs(state) ** 2), 3)], 3, z_masks(circuit, group))
            expected = [
                simulator.simulate_expectation_values(
                    template.circuit(),
                    cirq.DensePauliString(circuit.paulis[m]).on(*qubits),
                    qubit_order=qubits,
                )[0].real
                for m in group.members
            ]
            np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-12)


class TestSample:
    def draws(self, n: int, shots: int, start: int = 0, **place: int) -> Draws:
        return Draws(
            shots, place.get("key", 99), place.get("step", 3), np.arange(start, start + n), np.full(n, 7)
        )

    def test_frequencies_scatter_as_predicted(self) -> None:
        """2000 draws of 50 shots of one distribution: means and variances of all values within 5 standard errors."""
        rng = np.random.default_rng(7)
        exact, n, shots = distribution(rng, 3), 2000, 50
        masks = np.arange(1, 8)
        drawn = sample([outcomes(answer_of(exact), 3)] * n, self.draws(n, shots))
        values = group_values(drawn, 3, masks)
        expected = expectation_values(exact[None], masks)[0]
        variance = (1 - expected**2) / shots
        assert np.all(np.abs(values.mean(axis=0) - expected) < 5 * np.sqrt(variance / n))
        assert np.all(np.abs(values.var(axis=0, ddof=1) / variance - 1) < 5 * np.sqrt(2 / n))
        template, _ = template_from_circuit(cirq.Circuit(cirq.I.on_each(*cirq.LineQubit.range(3))))
        circuit = MeasuredCircuit(template, ("IIZ", "IZI", "IZZ", "ZII", "ZIZ", "ZZI", "ZZZ"))
        estimated = mean_variances(circuit, values[:, None], shots)
        np.testing.assert_allclose(estimated.mean(axis=(0, 1)), variance, rtol=0.05)

    def test_bits_depend_on_the_place_in_the_run_alone(self) -> None:
        rng = np.random.default_rng(8)
        found = [outcomes(answer_of(distribution(rng, 4)), 4) for _ in range(6)]
        whole = sample(found, self.draws(6, 100))
        for i in range(6):
            (alone,) = sample(found[i : i + 1], self.draws(1, 100, start=i))
            assert np.array_equal(alone.probabilities, whole[i].probabilities)
        for change in ({"key": 98}, {"step": 4}, {"start": 1}):
            (other,) = sample(found[:1], self.draws(1, 100, **change))
            assert not np.array_equal(other.probabilities, whole[0].probabilities)

    def test_impossible_outcomes_do_not_matter(self) -> None:
        """A zero that is listed draws nothing, so both forms of one answer give the same shots."""
        rng = np.random.default_rng(9)
        dense = distribution(rng, 4)
        dense[::3] = 0
        dense /= dense.sum()
        answer = answer_of(dense)
        full = {str(k): answer.get(str(k), 0.0) for k in range(16)}
        frequencies = []
        for form in (answer, full):
            (drawn,) = sample([outcomes(form, 4)], self.draws(1, 1000))
            frequencies.append(np.zeros(16))
            frequencies[-1][drawn.rows] = drawn.probabilities
        assert np.array_equal(*frequencies)

    def test_the_shots_are_those_of_the_backend_cirq(self) -> None:
        q = cirq.LineQubit.range(3)
        template, _ = template_from_circuit(
            cirq.Circuit(cirq.ry(1.1)(q[0]), cirq.CNOT(q[0], q[1]), cirq.rx(0.4)(q[1]), cirq.CNOT(q[1], q[2]))
        )
        circuit = MeasuredCircuit(template, ("ZZI", "IZZ", "ZII", "ZZZ"))
        (group,) = circuit.groups
        keys = noise_keys(11, "train", circuit)
        job = Job(circuit.key, np.empty(0), np.empty(0, np.int64), np.empty((4, 0)), Displacements.none(), shots=333,
                  step=2, sample_start=5, displacement_start=9, noise_keys=keys)  # fmt: skip
        session = CirqBackend().open_session()
        expected = session.run(session.compile(circuit), job).values[:, 0]
        state = cirq.Simulator(dtype=np.complex128).simulate(template.circuit()).final_state_vector
        answer = outcomes(answer_of(np.abs(state) ** 2), 3)
        draws = Draws(333, int(keys[0]), 2, np.arange(5, 9), np.full(4, 9))
        found = group_values(sample([answer] * 4, draws), 3, z_masks(circuit, group))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)

    def test_one_shot_is_one_outcome(self) -> None:
        exact = outcomes(answer_of(distribution(np.random.default_rng(10), 3)), 3)
        values = group_values(sample([exact] * 50, self.draws(50, 1)), 3, np.arange(8))
        assert set(np.unique(values)) == {-1.0, 1.0}
        assert np.all(values[:, 0] == 1.0)
