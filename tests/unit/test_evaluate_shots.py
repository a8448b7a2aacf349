"""What shots leave uncertain, against evaluations repeated with other seeds."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.losses.cross_entropy import BinaryCrossEntropy
from orchestrator.losses.mse import MeanSquaredError
from orchestrator.training.loop import evaluate_samples
from orchestrator.training.reports import Totals
from pipelines.compose import build_backend, build_coordinator
from pipelines.evaluate.measures import Predictions, measures
from pipelines.evaluate.outputs import Outputs, measure_outputs, output_slopes, with_products
from pipelines.evaluate.shot_noise import shot_noise
from pipelines.run_setup import PreparedRun, prepare_run

SHOTS, SEEDS = 1000, 40
MODEL = [
    "data.name=iris", "data.n_components=none", "model.n_qubits=4", "model.n_layers=1", "model.head=linear", "loss.name=cross_entropy",
    "data.test_fraction=0.4", "model.initial_scale=0.6", "fleet.dispatcher=serial",
]  # fmt: skip


def prepared(*overrides: str) -> tuple[PreparedRun, np.ndarray, Coordinator]:
    run = prepare_run(TrainingConfig().with_overrides([*MODEL, *overrides]))
    params = run.task.model.initial_params(3)
    # larger weights, so that outputs differ by more than their noise
    params[run.task.model.n_circuit_params :] *= 3
    return run, params, build_coordinator(run.config.fleet, build_backend(run.config))


@pytest.fixture(scope="module")
def repeated() -> SimpleNamespace:
    """Exact outputs, and those of `SEEDS` evaluations with shots, with and without the products read along."""
    run, params, coordinator = prepared("model.observables=['Z0', 'Z1', 'Z2*Z3', 'X0', 'X1*X2']")
    model, features = run.task.model, run.data.test.features
    exact, _ = evaluate_samples(model, params, features, coordinator, shots=None, seed=0, purpose="test")
    products = with_products(model.measured)
    assert products is not None

    def outputs(seed: int, wide: bool) -> Outputs:
        return measure_outputs(
            model, params, features, coordinator, shots=SHOTS, seed=seed, purpose="test", products=products if wide else None
        )  # fmt: skip

    return SimpleNamespace(
        run=run, params=params, exact=exact, coordinator=coordinator, model=model, features=features,
        wide=[outputs(seed, True) for seed in range(SEEDS)], plain=[outputs(seed, False) for seed in range(3)],
    )  # fmt: skip


def test_reading_products_along_changes_no_bit(repeated: SimpleNamespace) -> None:
    for seed in range(3):
        wanted, used = evaluate_samples(
            repeated.model, repeated.params, repeated.features, repeated.coordinator, shots=SHOTS, seed=seed, purpose="test"
        )  # fmt: skip
        for found in (repeated.wide[seed], repeated.plain[seed]):
            assert np.array_equal(found.values, wanted)
            assert found.used == used
        assert repeated.wide[seed].correlations == "measured"
        assert repeated.plain[seed].correlations == "left out"


def scaled_errors(exact: np.ndarray, found: Outputs) -> np.ndarray:
    """[S]: e V^-1 e of the errors e of each sample's outputs, which has mean C where V is their covariance."""
    error = found.values - exact
    return np.einsum("sc,scd,sd->s", error, np.linalg.pinv(found.covariance, hermitian=True), error)


def test_the_covariance_is_that_of_repeated_evaluations(repeated: SimpleNamespace) -> None:
    """A chi-squared variable of C degrees of freedom has variance 2 C; V being estimated from 1000 shots widens it by some 1/1000."""
    n_outputs = repeated.exact.shape[1]
    found = np.concatenate([scaled_errors(repeated.exact, one) for one in repeated.wide])
    tolerance = 4 * math.sqrt(2 * n_outputs / len(found)) + 10 * n_outputs / SHOTS
    assert found.mean() == pytest.approx(n_outputs, abs=tolerance)
    # without the correlations it is another one: the test would notice
    without = Outputs(repeated.wide[0].values, repeated.plain[0].covariance, "left out", Totals())
    gap = np.abs(without.covariance - repeated.wide[0].covariance).max(axis=(1, 2))
    assert np.median(gap / np.abs(repeated.wide[0].covariance).max(axis=(1, 2))) > 0.1


def test_the_slopes_are_those_of_the_head(repeated: SimpleNamespace) -> None:
    """Outputs are affine in expectation values here: a difference is the derivative."""
    model, params = repeated.model, repeated.params
    rng = np.random.default_rng(0)
    values = rng.uniform(-1, 1, (5, len(model.measured.paulis)))
    step = rng.normal(size=values.shape)
    slopes = output_slopes(model, params, values)
    found = np.einsum("spcm,sm->sc", slopes, step)
    assert np.allclose(
        found, model.outputs(params, values + step) - model.outputs(params, values), atol=1e-12
    )


def test_scores_move_by_shots_as_predicted(repeated: SimpleNamespace) -> None:
    """The log loss is smooth, and its standard deviation over 40 seeds known to one part in sqrt(80)."""
    loss, actual = repeated.run.task.loss, repeated.run.data.test.targets
    told = [Predictions.of(loss, one.values, actual) for one in repeated.wide]
    measured = np.std([measures(one)["log_loss"][0] for one in told], ddof=1)
    noises = [shot_noise(loss, one, actual, 0) for one in repeated.wide]
    predicted = np.mean([one.errors["log_loss"] for one in noises])
    assert measured / predicted == pytest.approx(1, abs=4 / math.sqrt(2 * SEEDS))
    exact = Predictions.of(loss, repeated.exact, actual)
    changed = np.array([np.sum(one.predicted != exact.predicted) for one in told])
    expected = np.mean([one.flips[0] for one in noises])
    # the flat prior holds on average over samples: a prior of its own for these 60 may shift it by what one sample in doubt counts
    assert abs(changed.mean() - expected) < 4 * changed.std(ddof=1) / math.sqrt(SEEDS) + 1.0
    assert expected > 0.3


def test_flips_where_margins_are_spread_evenly() -> None:
    """The prior that is assumed, made true: margins uniform far beyond the noise, which differs from sample to sample."""
    rng = np.random.default_rng(4)
    n = 20_000
    truth, error = rng.uniform(-4, 4, n), rng.uniform(0.2, 0.8, n)
    first, second = (truth + error * rng.normal(size=n) for _ in range(2))
    outputs = Outputs(first[:, None], (error**2)[:, None, None], "none", Totals())
    found = shot_noise(BinaryCrossEntropy(), outputs, None, 0)
    drawn = math.sqrt(1 + 1 / found.n_draws)  # the prediction is itself drawn
    for wrong, (expected, deviation) in (
        (np.sum((first > 0) != (truth > 0)), found.flips),
        (np.sum((first > 0) != (second > 0)), found.repeat_flips),
    ):
        assert abs(wrong - expected) < 4 * deviation * drawn
        assert expected > 500
    again = shot_noise(BinaryCrossEntropy(), outputs, None, 0)
    assert np.array_equal(found.flip_probability, again.flip_probability)


def test_of_values_the_error_is_that_of_their_score() -> None:
    rng = np.random.default_rng(5)
    actual = rng.normal(size=500)
    outputs = Outputs((actual + rng.normal(size=500))[:, None], np.full((500, 1, 1), 0.04), "none", Totals())
    found = shot_noise(MeanSquaredError(), outputs, actual, 0)
    assert found.flips is None
    # rmse = sqrt(mean e²): its deviation is 0.2 sqrt(mean e²) / (rmse sqrt(S))
    assert found.errors["rmse"] == pytest.approx(
        0.2 / math.sqrt(500), rel=4 / math.sqrt(2 * found.n_draws) + 0.02
    )


def test_exact_outputs_leave_nothing_uncertain(repeated: SimpleNamespace) -> None:
    found = measure_outputs(
        repeated.model,
        repeated.params,
        repeated.features,
        repeated.coordinator,
        shots=None,
        seed=0,
        purpose="test",
    )
    assert np.array_equal(found.values, repeated.exact)
    assert found.covariance is None
    assert found.standard_errors is None
    assert shot_noise(repeated.run.task.loss, found, repeated.run.data.test.targets, 0) is None


@pytest.mark.parametrize(
    ("paulis", "pairs", "products"),
    [
        (("ZII", "IZI", "IIZ"), 3, {"ZZI", "ZIZ", "IZZ"}),
        (("ZII", "XII"), 0, set()),
        (("ZII", "ZZI", "IXI"), 1, {"IZI"}),
        (("ZZI", "IZZ", "ZIZ"), 3, set()),
        (("ZII", "III"), 0, set()),
    ],
)
def test_products_of_strings(
    repeated: SimpleNamespace, paulis: tuple[str, ...], pairs: int, products: set[str]
) -> None:
    template = repeated.model.template
    circuit = MeasuredCircuit(template, tuple(pauli + "I" for pauli in paulis))
    found = with_products(circuit)
    if found is None:
        assert pairs == 0 or products - set(paulis)
        return
    assert len(found.pairs) == pairs
    assert set(found.circuit.paulis) == {pauli + "I" for pauli in {*paulis, *products}}
    for (i, j), place in zip(found.pairs, found.places, strict=True):
        letters = zip(circuit.paulis[i], circuit.paulis[j], found.circuit.paulis[place], strict=True)
        assert all(c == ("I" if a == b else a if b == "I" else b) for a, b, c in letters)
    groups = [group.basis for group in circuit.groups]
    assert [group.basis for group in found.circuit.groups] == groups


def test_patches_add_up() -> None:
    """Each of a sample's states has its own shots: the variance of the output is the sum over them."""
    run, params, coordinator = prepared(
        "data.name=bars_and_stripes", "data.dimension=16", "data.standardize=false", "data.test_fraction=0.2", "model.image_shape=[4, 4]",
        "model.patch_shape=[2, 2]", "model.patch_stride=2", "loss.name=binary_cross_entropy",
    )  # fmt: skip
    model, features = run.task.model, run.data.test.features[:60]
    assert model.states_per_sample == 4
    exact, _ = evaluate_samples(model, params, features, coordinator, shots=None, seed=0, purpose="test")
    products = with_products(model.measured)
    found = [
        measure_outputs(
            model, params, features, coordinator, shots=SHOTS, seed=seed, purpose="test", products=products
        )
        for seed in range(30)
    ]
    errors = np.concatenate([scaled_errors(exact, one) for one in found])
    assert errors.mean() == pytest.approx(1, abs=4 * math.sqrt(2 / len(errors)) + 10 / SHOTS)
