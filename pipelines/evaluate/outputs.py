"""A model's outputs for samples, with the uncertainty that finite shots leave in them.

Backends answer with the variance of every expectation value. Values that are read from the same shots are correlated too: with
outcomes ±1 of P and Q, the mean of their product over the same shots is the expectation value of the string PQ, so that
``(<PQ> - <P><Q>) / (shots - 1)`` estimates the covariance of the two means without bias. Where circuits cost nothing these products
are read along, at no further circuit; elsewhere (a paid job's content must stay what it was) correlations are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.coordinator import Coordinator
from orchestrator.models.model import Model
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import EvaluationPlan
from orchestrator.training.loop import used_by
from orchestrator.training.reports import Totals

MAX_STRINGS = 16
"""Of so many strings at most the products are read along: 120 of them."""

Correlations = Literal["none", "measured", "left out"]
"""Between expectation values: there are none that matter, they are in the covariance, or they are missing in it."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """What the model says of S samples.

    Attributes:
        values: float64 [S, C], logits or predicted values.
        covariance: float64 [S, C, C], of `values` by shots; None: they are exact.
        correlations: what of it is known.
        used: circuits, shots and dollars it took.
    """

    values: np.ndarray
    covariance: np.ndarray | None
    correlations: Correlations
    used: Totals

    @property
    def standard_errors(self) -> np.ndarray | None:
        """float64 [S, C], by shots."""
        if self.covariance is None:
            return None
        return np.sqrt(np.einsum("scc->sc", self.covariance))


class Products(NamedTuple):
    """A circuit that reads products of strings along with the strings.

    Attributes:
        circuit: its first M strings are those asked for.
        pairs: int64 [L, 2] of strings read from the same shots. places: int64 [L], of their products in `circuit`.
    """

    circuit: MeasuredCircuit
    pairs: np.ndarray
    places: np.ndarray


def measure_outputs(
    model: Model,
    params: np.ndarray,
    features: np.ndarray,
    coordinator: Coordinator,
    *,
    shots: int | None,
    seed: int,
    purpose: str,
    products: Products | None = None,
) -> Outputs:
    """Run samples through the model; the same values, to the bit, as `training.loop.evaluate_samples` gives.

    Args:
        params: float64 [P]; features: float64 [S, F], prepared.
        purpose: keys the shot noise.
        products: of `with_products`, where they may be read along.

    Raises:
        CapabilityError, ExecutionError, FleetError: see `Coordinator.evaluate`.
    """
    measured = model.measured if products is None else products.circuit
    evaluation = coordinator.evaluate(
        EvaluationPlan(
            circuit=measured,
            angles=model.angles(params, features),
            shots=shots,
            noise_keys=noise_keys(seed, purpose, measured),
            of_batch=np.arange(len(features)).repeat(model.states_per_sample),
        )
    )
    used = Totals().plus(*used_by(evaluation))
    n_strings = len(model.measured.paulis)
    values = evaluation.values[:, :n_strings]
    outputs = model.outputs(params, values)
    if evaluation.variances is None or shots is None:
        return Outputs(outputs, None, "none", used)
    of_values = np.zeros((len(values), n_strings, n_strings))
    of_values[:, np.arange(n_strings), np.arange(n_strings)] = evaluation.variances[:, :n_strings]
    is_measured = products is not None and shots > 1
    if products is not None and is_measured:
        _add_products(of_values, evaluation.values, products, shots)
    slopes = output_slopes(model, params, values)
    covariance = np.einsum(
        "spcm,spmn,spdn->scd", slopes, of_values.reshape(*slopes.shape[:2], n_strings, n_strings), slopes
    )
    known: Correlations = "measured" if is_measured else "left out"
    return Outputs(outputs, covariance, known if shared_pairs(model.measured) else "none", used)


def _add_products(of_values: np.ndarray, values: np.ndarray, products: Products, shots: int) -> None:
    """Fill in the covariances of values [N, M + L] in `of_values` [N, M, M]."""
    first, second = products.pairs.T
    found = values[:, products.places] - values[:, first] * values[:, second]
    of_values[:, first, second] = of_values[:, second, first] = found / (shots - 1)


def output_slopes(model: Model, params: np.ndarray, values: np.ndarray) -> np.ndarray:
    """float64 [S, P, C, M]: derivative of each output by the expectation values [N, M] of its sample's P states."""
    n_samples = len(values) // model.states_per_sample
    slopes = np.empty((n_samples, model.states_per_sample, model.n_outputs, values.shape[1]))
    for c in range(model.n_outputs):
        chosen = np.zeros((n_samples, model.n_outputs))
        chosen[:, c] = 1.0
        of_values, _ = model.backward(params, values, chosen)
        slopes[:, :, c] = of_values.reshape(n_samples, model.states_per_sample, -1)
    return slopes


def shared_pairs(circuit: MeasuredCircuit) -> list[tuple[int, int]]:
    """Pairs of strings, by number, that are read from the same shots and are therefore correlated."""
    constant = "I" * circuit.template.n_qubits
    varying = [[m for m in group.members if circuit.paulis[m] != constant] for group in circuit.groups]
    return [pair for members in varying for pair in combinations(members, 2)]


def with_products(circuit: MeasuredCircuit) -> Products | None:
    """`circuit` with the products of its strings that are read from the same shots.

    None where there are no such pairs, or too many, or where the products would change how the strings themselves are measured.
    """
    pairs = shared_pairs(circuit)
    if not pairs or len(circuit.paulis) > MAX_STRINGS:
        return None
    texts = [_product(circuit.paulis[i], circuit.paulis[j]) for i, j in pairs]
    paulis = tuple(dict.fromkeys([*circuit.paulis, *texts]))
    wide = MeasuredCircuit(circuit.template, paulis)
    n = len(circuit.paulis)
    before = [(group.basis, group.members) for group in circuit.groups]
    if [(group.basis, tuple(m for m in group.members if m < n)) for group in wide.groups] != before:
        return None
    place = {pauli: i for i, pauli in enumerate(paulis)}
    group_of = {m: g for g, group in enumerate(wide.groups) for m in group.members}
    places = [place[text] for text in texts]
    if any(group_of[i] != group_of[k] for (i, _), k in zip(pairs, places, strict=True)):
        return None
    return Products(wide, np.array(pairs, np.int64), np.array(places, np.int64))


def _product(one: str, other: str) -> str:
    """The product of two strings that agree wherever both act."""
    return "".join(b if a == "I" else a if b == "I" else "I" for a, b in zip(one, other, strict=True))
