"""Heads: what each computes, beyond what the contract suite asks of all of them."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.errors import ConfigError
from orchestrator.models.heads import LinearHead, NoHead


def test_no_head_scales() -> None:
    observables = np.array([[0.5, -1.0], [0.25, 0.0]])
    np.testing.assert_array_equal(NoHead(2, 2, 3.0).forward(np.empty(0), observables), 3 * observables)


def test_no_head_wants_one_observable_per_output() -> None:
    with pytest.raises(ConfigError, match=r"model\.observables = 8.*1 wanted.*model\.head = 'linear'"):
        NoHead(8, 1, 1.0)


def test_linear_head_is_affine() -> None:
    head = LinearHead(n_observables=3, n_outputs=2, scale=1.0)
    matrix, bias = np.arange(6.0).reshape(2, 3), np.array([10.0, 20.0])
    observables = np.random.default_rng(1).normal(size=(5, 3))
    outputs = head.forward(np.concatenate([matrix.ravel(), bias]), observables)
    np.testing.assert_allclose(outputs, observables @ matrix.T + bias, rtol=1e-14)


def test_linear_head_starts_with_the_scale_asked_for() -> None:
    head = LinearHead(n_observables=400, n_outputs=50, scale=2.0)
    params = head.initial(np.random.default_rng(1))
    matrix, bias = params[:-50], params[-50:]
    np.testing.assert_array_equal(bias, 0)
    # standard deviation of a sample deviation of n values is sigma / sqrt(2 n); 5 of them
    assert matrix.std() == pytest.approx(2.0 / 20, rel=5 / np.sqrt(2 * 20000))
