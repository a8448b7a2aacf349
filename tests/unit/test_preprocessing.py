"""Preprocessing: standardisation, PCA against scikit-learn, angles, storage, refusals."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from orchestrator.config import DataConfig
from orchestrator.errors import CheckpointError, ConfigError, DataError
from pipelines.data.preprocessing import Preprocessing


def config(**keys: Any) -> DataConfig:
    return DataConfig(name="iris", **keys)


def correlated(n_samples: int = 60, n_columns: int = 7, seed: int = 0) -> np.ndarray:
    """Columns of unlike size and offset that share directions."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n_samples, n_columns)) @ rng.normal(size=(n_columns, n_columns))
    return mixed * 10.0 ** rng.integers(-3, 4, n_columns) + rng.normal(size=n_columns) * 50


def test_standardisation_gives_zero_mean_and_unit_variance_on_the_training_rows() -> None:
    raw = correlated()
    features = Preprocessing.fit(raw, config()).transform(raw)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(features.std(axis=0), 1, rtol=1e-9)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("shape", [(60, 7), (5, 12)])
def test_pca_agrees_with_scikit_learn_up_to_sign(standardize: bool, shape: tuple[int, int]) -> None:
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    raw, n_components = correlated(*shape), 4
    fitted = Preprocessing.fit(raw, config(standardize=standardize, n_components=n_components))
    scaled = StandardScaler().fit_transform(raw) if standardize else raw
    reference = PCA(n_components, svd_solver="full").fit(scaled)
    assert fitted.components is not None
    assert fitted.explained_variance_ratio is not None
    signs = np.sign((fitted.components * reference.components_).sum(axis=1))
    np.testing.assert_allclose(fitted.components, signs[:, None] * reference.components_, atol=1e-9)
    np.testing.assert_allclose(
        fitted.explained_variance_ratio, reference.explained_variance_ratio_, rtol=1e-9
    )
    unit = np.sqrt(reference.explained_variance_[0] * (len(raw) - 1) / len(raw))
    np.testing.assert_allclose(fitted.transform(raw), signs * reference.transform(scaled) / unit, atol=1e-9)


def test_pca_features_are_in_units_of_the_first_component() -> None:
    raw = correlated()
    fitted = Preprocessing.fit(raw, config(n_components=3, angle_scale=0.5))
    deviation = fitted.transform(raw).std(axis=0)
    ratio = fitted.explained_variance_ratio
    assert ratio is not None
    np.testing.assert_allclose(deviation, 0.5 * np.sqrt(ratio / ratio[0]), rtol=1e-9)


def test_sign_convention_survives_reflection_and_ties() -> None:
    raw = correlated(40, 2)  # two standardised columns: both entries of a component have the size 1/sqrt(2)
    fitted = Preprocessing.fit(raw, config(n_components=2))
    assert fitted.components is not None
    assert (fitted.components[:, 0] > 0).all()
    again = Preprocessing.fit(raw[::-1], config(n_components=2))
    assert again.components is not None
    np.testing.assert_allclose(fitted.components, again.components, atol=1e-12)


def test_angle_limit_is_smooth_and_keeps_small_features() -> None:
    raw = correlated(200, 3)
    raw[0] = 1e9
    plain = Preprocessing.fit(raw[1:], config(angle_scale=2.0)).transform(raw)
    limited = Preprocessing.fit(raw[1:], config(angle_scale=2.0, angle_limit=1.5)).transform(raw)
    assert (np.abs(limited) <= 1.5).all()
    np.testing.assert_allclose(limited, 1.5 * np.tanh(plain / 1.5), rtol=1e-15)


def test_columns_as_they_are_without_standardisation_and_pca() -> None:
    raw = correlated()
    raw[:, 2] = 0.25
    fitted = Preprocessing.fit(raw, config(standardize=False))
    assert np.array_equal(fitted.transform(raw), raw)
    assert fitted.constant == ()


@pytest.mark.parametrize("value", [0.0, 0.1, -1e12])
def test_constant_column_becomes_zero_whatever_it_holds_later(value: float) -> None:
    raw = correlated()
    raw[:, 4] = value
    fitted = Preprocessing.fit(raw, config())
    assert fitted.constant == (4,)
    later = raw.copy()
    later[:, 4] = 1e6
    assert (fitted.transform(later)[:, 4] == 0).all()
    assert np.array_equal(fitted.transform(later), fitted.transform(raw))


def test_constant_column_adds_nothing_to_the_components() -> None:
    raw = correlated()
    raw[:, 4] = 3.3
    with_it = Preprocessing.fit(raw, config(n_components=3)).transform(raw)
    without = np.delete(raw, 4, axis=1)
    np.testing.assert_allclose(
        np.abs(with_it),
        np.abs(Preprocessing.fit(without, config(n_components=3)).transform(without)),
        atol=1e-9,
    )


def test_small_variation_about_a_large_offset_is_not_constant() -> None:
    raw = correlated()
    raw[:, 1] = 1.7e9 + np.arange(len(raw)) * 1e-3
    assert Preprocessing.fit(raw, config()).constant == ()


@pytest.mark.parametrize("n_components", [None, 5])
def test_features_of_a_row_do_not_depend_on_its_company(n_components: int | None) -> None:
    raw = correlated(101, 9)
    fitted = Preprocessing.fit(raw, config(n_components=n_components, angle_limit=2.0))
    whole = fitted.transform(raw)
    for rows in (slice(0, 1), slice(3, 10), slice(7, 101, 3)):
        assert np.array_equal(fitted.transform(raw[rows]), whole[rows])
    assert np.array_equal(fitted.transform(np.asfortranarray(raw)), whole)
    assert fitted.transform(raw[:0]).shape == (0, fitted.n_features)


@pytest.mark.parametrize("keys", [{}, {"n_components": 3, "angle_limit": 1.0, "angle_scale": 0.3}])
def test_storage_round_trip_without_pickle(keys: dict[str, Any]) -> None:
    raw = correlated()
    fitted = Preprocessing.fit(raw, config(**keys))
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **fitted.to_arrays())
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as stored:
        loaded = Preprocessing.from_arrays(stored)
    assert np.array_equal(loaded.transform(raw), fitted.transform(raw))
    assert loaded.n_features == fitted.n_features
    assert loaded.to_arrays().keys() == fitted.to_arrays().keys()


def test_damaged_storage_is_refused_by_the_name_of_the_array() -> None:
    arrays = Preprocessing.fit(correlated(), config(n_components=3)).to_arrays()
    for name in arrays:
        with pytest.raises(CheckpointError, match=name):
            Preprocessing.from_arrays({key: array for key, array in arrays.items() if key != name})
    with pytest.raises(CheckpointError, match="components"):
        Preprocessing.from_arrays(arrays | {"components": arrays["components"].T})
    with pytest.raises(CheckpointError, match="mean"):
        Preprocessing.from_arrays(arrays | {"mean": arrays["mean"] * np.nan})
    with pytest.raises(CheckpointError, match="colour"):
        Preprocessing.from_arrays(arrays | {"colour": arrays["mean"]})


def test_arrays_are_read_only_copies() -> None:
    fitted = Preprocessing.fit(correlated(), config())
    with pytest.raises(ValueError, match="read-only"):
        fitted.mean[0] = 1.0


def test_too_many_components_are_refused_with_the_largest_possible() -> None:
    with pytest.raises(ConfigError, match=r"data\.n_components = 9.*60 samples of 7 features.*'7'"):
        Preprocessing.fit(correlated(60, 7), config(n_components=9))
    with pytest.raises(ConfigError, match=r"data\.n_components = 6.*5 samples of 7 features.*'5'"):
        Preprocessing.fit(correlated(5, 7), config(n_components=6))
    dependent = correlated(60, 3)[:, [0, 1, 2, 0, 1]]
    with pytest.raises(ConfigError, match=r"3 independent directions.*'3'"):
        Preprocessing.fit(dependent, config(n_components=4))


def test_impossible_values_are_refused_by_row_and_column() -> None:
    raw = correlated()
    fitted = Preprocessing.fit(raw, config())
    with pytest.raises(DataError, match=r"5 feature columns.*prepared for 7"):
        fitted.transform(raw[:, :5])
    with pytest.raises(DataError, match=r"shape \[7\]"):
        fitted.transform(raw[0])
    raw[11, 2] = np.nan
    with pytest.raises(DataError, match="feature column 3 is nan in row 12"):
        fitted.transform(raw)
    with pytest.raises(DataError, match="'size' is nan in row 12"):
        Preprocessing.fit(raw, config(), ["a", "b", "size", "d", "e", "f", "g"])
    raw[11, 2] = 1e200
    with pytest.raises(DataError, match="feature column 3 has values too large"):
        Preprocessing.fit(raw, config())
    with pytest.raises(DataError, match="every feature column is constant"):
        Preprocessing.fit(np.ones((5, 2)), config())
    with pytest.raises(DataError, match="0 training samples"):
        Preprocessing.fit(np.ones((0, 2)), config())
