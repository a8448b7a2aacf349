"""Layers for PyTorch as torch sees them: derivatives, types, modules, saving, refusals, and what calls cost.

The numbers themselves are checked against cirq in test_model_function.py; here torch's `gradcheck` checks what lies around them.
"""

from __future__ import annotations

import copy
import io
import pickle
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.func import functional_call, grad, jacrev, stack_module_state, vmap  # noqa: E402

from orchestrator.config import ModelConfig  # noqa: E402
from orchestrator.errors import (  # noqa: E402
    CapabilityError,
    CheckpointError,
    ConfigError,
    DataError,
    InputError,
)
from orchestrator.models.model import Model  # noqa: E402
from pipelines.frontends import QuantumConv2d, QuantumLayer, QuantumPool, QuantumPool2d  # noqa: E402
from tests.documents import run_page  # noqa: E402

DOUBLE = torch.float64


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(1)


def inputs(*shape: int, dtype: Any = DOUBLE) -> Any:
    return (torch.rand(*shape, dtype=dtype) * 3 - 1.5).requires_grad_()


def n_run(layer: QuantumLayer) -> int:
    return layer.used.n_circuits


CHECKED = [
    (QuantumLayer, {"n_qubits": 2}, (3, 2)),
    (QuantumLayer, {"n_qubits": 2, "entanglement": "circular", "reuploading": True, "gradient": "parameter_shift"}, (2, 2)),
    (QuantumLayer, {"n_qubits": 2, "encoding": "amplitude", "observables": ["X0*Y1", "0.5*Z0 - Z1"], "depth": 1}, (2, 4)),
    (QuantumLayer, {"n_qubits": 2, "encoding": "zz", "observables": "mean", "ansatz": "hardware_efficient"}, (2, 2)),
    (QuantumLayer, {"n_qubits": 2, "encoding": "iqp", "observables": "parity", "depth": 1}, (2, 2)),
    (QuantumLayer, {"n_qubits": 2, "encoding": "reuploading", "n_features": 5, "ansatz": "strongly_entangling"}, (1, 5)),
    (QuantumLayer, {"model": ModelConfig(n_qubits=2, n_layers=1), "n_outputs": 3}, (2, 2)),
    (QuantumLayer, {"model": ModelConfig(n_qubits=2, n_layers=1, image_shape=(2, 3), patch_shape=(1, 2))}, (2, 6)),
    (QuantumConv2d, {"in_channels": 2, "kernel_size": (1, 2), "padding": (0, 1), "n_qubits": 2, "depth": 1}, (1, 2, 2, 3)),
    (QuantumPool, {"n_qubits": 4, "depth": 2, "before": "convolution"}, (2, 4)),
    (QuantumPool2d, {"kernel_size": 2}, (1, 2, 2, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "shape"), CHECKED)
def test_gradcheck_of_parameters_and_inputs(
    kind: Any, options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    layer = kind(**options, dtype=DOUBLE)
    names, params = zip(*layer.named_parameters(), strict=True)

    def function(features: Any, *params: Any) -> Any:
        return functional_call(layer, dict(zip(names, params, strict=True)), (features,))

    assert torch.autograd.gradcheck(function, (inputs(*shape), *params), fast_mode=len(params) > 2)


def test_types_shapes_and_layouts() -> None:
    layer = QuantumLayer(3, 1)
    wide = inputs(2, 5, 3)
    expected = layer(wide)
    assert expected.shape == (2, 5, 3)
    assert expected.dtype is DOUBLE
    for dtype, rounding in ((torch.float32, 2e-7), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)):
        features = wide.detach().to(dtype).requires_grad_()
        found = layer(features)
        found.sum().backward()
        assert found.dtype is dtype
        assert features.grad.dtype is dtype
        assert torch.allclose(found.double(), layer(features.detach().double()), atol=rounding)
    assert layer.layer0.dtype is torch.float32
    assert layer.layer0.grad.dtype is torch.float32
    turned = wide.detach().permute(1, 0, 2)
    assert not turned.is_contiguous()
    assert torch.equal(layer(turned), expected.permute(1, 0, 2))
    assert torch.equal(layer(wide[0, 0]), expected[0, 0])
    before = n_run(layer)
    nothing = inputs(0, 3)
    layer(nothing).sum().backward()
    assert nothing.grad.shape == (0, 3)
    assert n_run(layer) == before
    assert QuantumLayer(2, dtype=torch.float16).layer0.dtype is torch.float16


def test_circuits_are_those_asked_for_and_quoted() -> None:
    exact, shifted = QuantumLayer(3, 2), QuantumLayer(3, 2, gradient="parameter_shift")
    n_angles = len(shifted.model.differentiated_angles)
    for layer, per_param, per_feature in ((exact, 0, 0), (shifted, 2 * n_angles, 2 * 3)):
        features = inputs(5, 3).float()
        with torch.no_grad():
            layer(features)
        assert n_run(layer) == 5
        with torch.inference_mode():
            layer(features)
        assert n_run(layer) == 10
        for needs_input in (False, True):
            quoted = layer.quote(5, input_gradients=needs_input)
            before = n_run(layer)
            outputs = layer(features.detach().requires_grad_(needs_input))
            assert n_run(layer) - before == quoted.forward.circuits == 5
            outputs.sum().backward()
            expected = (
                5 * (per_param + per_feature * needs_input) or 5
            )  # one sweep where the backend differentiates
            assert n_run(layer) - before - 5 == quoted.backward.circuits == expected
            assert quoted.usd == 0.0
        for param in layer.parameters():
            param.requires_grad_(False)
        before = n_run(layer)
        layer(features.detach().requires_grad_()).sum().backward()
        assert (
            n_run(layer) - before - 5
            == (5 * per_feature or 5)
            == layer.quote(5, input_gradients=True).backward.circuits
        )
        assert layer.quote(5).backward.circuits == 0
    assert exact.used.n_shots == 0
    sampled = QuantumLayer(2, 1, observables=["Z0", "X0"], shots=100)
    assert sampled.quote(3).forward == (6, 600, 0, 0), "one circuit for each basis"
    sampled(inputs(3, 2))
    assert (n_run(sampled), sampled.used.n_shots) == (6, 600)
    assert sampled.quote(0).total == (0, 0, 0, 0)
    with pytest.raises(InputError, match="-1 samples"):
        sampled.quote(-1)
    for mitigation in ({"noise_scales": [1, 3]}, {"readout_mitigation": True, "calibration_shots": 50}):
        mitigated = QuantumLayer(2, 1, backend={"name": "noisy", "shots": 20, **mitigation})
        mitigated(inputs(2, 2).detach()).sum().backward()
        assert mitigated.quote(2).total[:2] == (n_run(mitigated), mitigated.used.n_shots)


def test_the_gradient_of_shots_has_the_predicted_mean_and_variance() -> None:
    """One qubit, RY(x) RX(p): Z has the mean m = cos(x) cos(p) and the variance (1 - m²)/shots; the derivative by an angle is half the
    difference of two such values, at ± π/2. With the loss Z² the chain rule multiplies by twice a value that has noise of its own. Each row
    of the batch is a repetition: its own gradient by x, and the parameters' summed."""
    n, shots, x, p = 4000, 50, 0.4, 0.6
    layer = QuantumLayer(1, 1, shots=shots, dtype=DOUBLE)
    layer.set_params(np.array([p, 0.0, 0.0]))
    features = torch.full((n, 1), x, dtype=DOUBLE, requires_grad=True)
    layer(features).square().sum().backward()

    def variance(mean: float) -> float:
        return (1 - mean**2) / shots

    value = np.cos(x) * np.cos(p)
    for found, slope in ((features.grad.numpy(), -np.sin(x) * np.cos(p)), (None, -np.cos(x) * np.sin(p))):
        of_slope = 2 * variance(slope) / 4  # at ± π/2 the means are ± the slope
        expected = 2 * value * slope
        of_product = 4 * (value**2 * of_slope + slope**2 * variance(value) + variance(value) * of_slope)
        mean = layer.layer0.grad[0].item() / n if found is None else found.mean()
        assert mean == pytest.approx(expected, abs=4 * np.sqrt(of_product / n))
        if found is not None:  # of a nearly normal variable the variance is known to sqrt(2/n), 2.2 %
            assert found.var() == pytest.approx(of_product, rel=4 * np.sqrt(2 / n))


def test_shot_noise_of_the_same_program_is_the_same() -> None:
    def program() -> list[Any]:
        torch.manual_seed(5)
        net = nn.Sequential(QuantumLayer(2, 1, shots=64), QuantumLayer(2, 1, shots=64))
        found = []
        for _ in range(2):
            outputs = net(torch.full((3, 2), 0.5))
            outputs.square().sum().backward()
            found += [outputs.detach(), *(param.grad.clone() for param in net.parameters())]
        return found

    first, second = program(), program()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[3]), "each call sees noise of its own"
    with torch.no_grad():
        net = nn.ModuleList([QuantumLayer(2, 1, shots=64) for _ in range(2)])
        net[1].set_params(net[0].params())
        assert not torch.equal(net[0](torch.ones(4, 2)), net[1](torch.ones(4, 2))), "and each layer"


def test_whatever_shares_parameters_shares_the_count_of_calls() -> None:
    """Replicas are made anew at each step of DataParallel: were the count their own, each step would see the noise of the first."""
    layer, features = QuantumLayer(2, 1, shots=64), torch.ones(4, 2)
    with torch.no_grad():
        found = [layer._replicate_for_data_parallel() for _ in range(2)]
        for replica in found:
            replica.layer0 = layer.layer0.detach()
        found = [one(features) for one in (*found, copy.copy(layer), layer)]
    for i, one in enumerate(found):
        assert not any(torch.equal(one, other) for other in found[:i])


def test_backward_in_another_thread() -> None:
    """Where torch runs it for tensors on CUDA."""
    found = []
    for in_thread in (False, True):
        torch.manual_seed(3)
        layer = QuantumLayer(2, 1, shots=64)
        outputs = layer(torch.ones(4, 2)).sum()
        if in_thread:
            thread = threading.Thread(target=outputs.backward, daemon=True)
            thread.start()
            thread.join(60)
        else:
            outputs.backward()
        found.append(layer.layer0.grad)
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("make", "epochs"),
    [
        (lambda params: torch.optim.SGD(params, lr=0.5, momentum=0.9), 40),
        (lambda params: torch.optim.Adam(params, lr=0.2), 30),
        (lambda params: torch.optim.LBFGS(params, max_iter=20), 2),
    ],
    ids=["SGD", "Adam", "LBFGS"],
)
def test_a_hybrid_learns_with_any_optimizer(make: Any, epochs: int) -> None:
    """Exclusive or, which no linear model learns: a classical layer on each side, so that gradients flow through the circuit's inputs."""
    features = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    targets = torch.tensor([[0.0], [1], [1], [0]])
    net = nn.Sequential(nn.Linear(2, 2), QuantumLayer(2, 2), nn.Linear(2, 1))
    loss_of = nn.BCEWithLogitsLoss()
    optimizer = make(net.parameters())

    def closure() -> Any:
        optimizer.zero_grad()
        loss = loss_of(net(features), targets)
        loss.backward()
        return loss

    for _ in range(epochs):
        optimizer.step(closure)
    assert ((net(features) > 0) == targets.bool()).all()


def test_frozen_parameters() -> None:
    layer = QuantumLayer(2, 3, gradient="parameter_shift")
    whole = layer.quote(4).backward.circuits
    assert layer.freeze(["layer0", "p7"]) is layer
    assert not layer.layer0.requires_grad
    assert layer.layer1.requires_grad
    assert layer.quote(4).backward.circuits < whole
    before = layer.params()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    used = n_run(layer)
    layer(inputs(4, 2).detach()).sum().backward()
    optimizer.step()
    assert n_run(layer) - used == 4 + layer.quote(4).backward.circuits
    assert layer.layer0.grad is None
    moved = layer.params() != before
    assert not moved[[0, 1, 2, 3, 4, 5, 7]].any()
    assert moved[[6, 8]].all()
    layer.freeze([])
    assert layer.quote(4).backward.circuits == whole
    with pytest.raises(ConfigError, match="layer9"):
        layer.freeze(["layer9"])


def test_state_dicts_copies_pickles_and_folders(tmp_path: Path) -> None:
    layer, features = QuantumLayer(2, 1, shots=32), inputs(3, 2).detach()
    layer(features)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = QuantumLayer(2, 1, shots=32)
    assert list(layer.state_dict()) == ["layer0", "_extra_state"]
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    kept = {name: one.clone() for name, one in other.state_dict().items()}  # as training loops keep the best
    other(features)
    other.load_state_dict(kept)
    with pytest.raises(CheckpointError, match=r"_extra_state is \{\}.*strict=False"):
        other.load_state_dict({"layer0": layer.layer0, "_extra_state": {}})
    later = QuantumLayer(2, 2, shots=32)
    assert later.load_state_dict(kept, strict=False).missing_keys == ["layer1"]
    assert torch.equal(later.layer0, layer.layer0)
    layer.save(tmp_path / "saved")
    again = [
        other,
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        QuantumLayer.load(tmp_path / "saved"),
    ]
    expected = layer(features)
    for one in again:
        assert torch.equal(one(features), expected), "parameters, and the noise of the next call"
    assert not torch.equal(layer(features), expected)
    moved = QuantumLayer.load(tmp_path / "saved", backend="noisy", shots=None, dtype=DOUBLE)
    assert moved.executor.config.backend.name == "noisy"
    assert moved.layer0.dtype is DOUBLE
    np.testing.assert_array_equal(moved.params(), layer.params())
    with pytest.raises(CheckpointError, match=r"holds a QuantumLayer: load it with QuantumLayer\.load"):
        QuantumPool.load(tmp_path / "saved")
    with pytest.raises(CheckpointError, match=r"layer\.json"):
        QuantumLayer.load(tmp_path)
    for kind, options, shape in (
        (
            QuantumConv2d,
            {"in_channels": 1, "kernel_size": 2, "stride": (1, 2), "out_channels": 2},
            (2, 1, 3, 4),
        ),
        (QuantumPool, {"n_qubits": 3, "before": "hardware_efficient"}, (2, 3)),
        (QuantumPool2d, {"kernel_size": (1, 3), "stride": 1}, (2, 2, 2, 4)),
    ):
        made = kind(**options)
        made.save(tmp_path / kind.__name__)
        back, images = kind.load(tmp_path / kind.__name__), inputs(*shape).detach()
        assert torch.equal(back(images), made(images))
        assert repr(back) == repr(made)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pkl", ".pt")]


def test_models_of_ones_own(tmp_path: Path) -> None:
    model = Model.from_config(ModelConfig(n_qubits=2, n_layers=1, frozen=("layer0",)), 2)
    layer = QuantumLayer(model=model)
    assert {name: (len(param), param.requires_grad) for name, param in layer.named_parameters()} == {
        "layer0": (6, False),
        "head": (6, True),
    }
    layer.save(tmp_path)
    assert not QuantumLayer.load(tmp_path).layer0.requires_grad
    qubit, angle = cirq.q(0), sympy.Symbol("p")
    constant = QuantumLayer(
        model=Model.from_circuit(cirq.Circuit(cirq.rx(angle)(qubit)), features=[]), dtype=DOUBLE
    )
    constant.set_params(np.array([0.3]))
    nothing = torch.empty(3, 0, dtype=DOUBLE, requires_grad=True)
    outputs = constant(nothing)
    outputs.sum().backward()
    assert torch.allclose(outputs, torch.full((3, 1), np.cos(0.3), dtype=DOUBLE), atol=1e-15)
    assert nothing.grad.shape == (3, 0)
    params = np.arange(12.0)
    layer.set_params(params)
    np.testing.assert_array_equal(layer.params(), params)
    with pytest.raises(DataError, match=r"\(3,\) given; the layer has 12"):
        layer.set_params(np.ones(3))


def test_windows_are_those_of_torch() -> None:
    """Each window alone through a plain layer with the same parameters, taken as `torch.nn.Unfold` takes them."""
    conv = QuantumConv2d(
        2, (2, 3), stride=(1, 2), padding=(1, 0), n_qubits=2, depth=1, out_channels=1, dtype=DOUBLE
    )
    plain = QuantumLayer(2, 1, encoding="reuploading", n_features=12, observables=["Z0"], dtype=DOUBLE)
    plain.set_params(conv.params())
    images = inputs(2, 2, 3, 5)
    found = conv(images)
    windows = nn.functional.unfold(images, (2, 3), stride=(1, 2), padding=(1, 0)).transpose(1, 2)
    assert found.shape == (2, 1, 4, 2)
    assert torch.equal(found, plain(windows).transpose(1, 2).reshape(2, 1, 4, 2))
    assert torch.equal(conv(images[1]), found[1])
    assert conv.n_windows(3, 5) == 8
    assert n_run(conv) == 3 * 8
    pool = QuantumPool2d(2, dtype=DOUBLE)
    assert pool(images).shape == (2, 2, 1, 2)
    assert pool.n_windows(3, 5) == 2
    assert {name: len(param) for name, param in pool.named_parameters()} == {"layer0": 2, "layer1": 2}


def test_pooling_measures_and_controls() -> None:
    """Against the formula of one pair: the neighbour is turned about x by p1 if 0 was measured, so
    <Z> = P(0) cos(p1) cos(x0) + P(1) cos(x0), P(0) = cos²(x1/2); about z by p0 if 1 was, which Z does not feel."""
    pool = QuantumPool(2, dtype=DOUBLE)
    pool.set_params(np.array([0.7, 1.1]))
    features = inputs(4, 2)
    zero = torch.cos(features[:, 1] / 2) ** 2
    expected = torch.cos(features[:, 0]) * (zero * np.cos(1.1) + 1 - zero)
    assert torch.allclose(pool(features)[:, 0], expected, atol=1e-14)
    assert [QuantumPool(8, depth).n_outputs for depth in (1, 2, 3)] == [4, 2, 1]


def test_functional_transforms() -> None:
    layer = QuantumLayer(2, 1, dtype=DOUBLE)
    features = inputs(3, 2).detach()
    params = {name: param.detach() for name, param in layer.named_parameters()}

    def loss(params: Any, features: Any) -> Any:
        return functional_call(layer, params, (features,)).square().sum()

    whole = grad(loss)(params, features)["layer0"]
    by_sample = vmap(grad(loss), in_dims=(None, 0))(params, features)["layer0"]
    assert torch.allclose(by_sample.sum(0), whole, atol=1e-13)
    jacobian = torch.autograd.functional.jacobian(layer, features)
    assert torch.allclose(jacrev(layer)(features), jacobian, atol=1e-13)
    sampled = QuantumLayer(2, 1, shots=16, dtype=DOUBLE)
    number = sampled.get_extra_state()
    one_by_one = torch.autograd.functional.jacobian(sampled, features)
    sampled.set_extra_state(number)
    at_once = jacrev(sampled)(features)
    assert torch.allclose(at_once, one_by_one, atol=1e-13), (
        "all rows from the same circuits, paid once where they cost money"
    )
    before = n_run(layer)
    assert torch.equal(vmap(layer)(features.reshape(3, 1, 2)), layer(features).reshape(3, 1, 2))
    assert n_run(layer) == before + 6
    ensemble = [QuantumLayer(2, 1, dtype=DOUBLE) for _ in range(3)]
    stacked, _ = stack_module_state(ensemble)
    together = vmap(lambda own: functional_call(layer, own, (features,)))(stacked)
    assert torch.equal(together, torch.stack([one(features) for one in ensemble]))


def test_second_derivatives_are_refused_in_words() -> None:
    layer, features = QuantumLayer(2, 1, dtype=DOUBLE), inputs(2, 2)
    (gradient,) = torch.autograd.grad(layer(features).sum(), features, create_graph=True)
    with pytest.raises(CapabilityError, match=r"differentiated once.*difference of two gradients"):
        gradient.sum().backward()


REFUSED = [
    ({}, "n_qubits = None: say how many qubits"),
    ({"n_qubits": 2, "ansatz": "three_rotations"}, "did you mean 'three_rotation'"),
    ({"n_qubits": 2, "model": ModelConfig()}, "leave one of the two out"),
    ({"model": Model.from_config(ModelConfig(n_qubits=2)), "n_outputs": 2}, "the model that is given has 1"),
    ({"n_qubits": 2, "depth": 1, "layers": ["pooling"]}, "depth = 1: layers says how many there are"),
    ({"n_qubits": 2, "backend": "ideall"}, "did you mean 'ideal'"),
    ({"n_qubits": 2, "gradient": "spsa"}, "gradient of a whole training step.*did you mean 'parameter_shift'"),
    ({"n_qubits": 2, "gradient": "adjoint", "shots": 10}, "nearest valid: gradient.rule = 'parameter_shift'"),
    ({"n_qubits": 2, "gradient": {"shots_per_step": 9}, "shots": 10}, "gives every circuit the same shots"),
    ({"n_qubits": 2, "encoding": "angle", "n_features": 3}, "takes 2 features on 2 qubits"),
    ({"model": {"n_qubits": 2}}, "a Model, or the settings of one"),
    ({"n_qubits": 2, "gradient": None}, "gradient = None: the name of a rule"),
    ({"n_qubits": 2, "dtype": torch.complex64}, "torch.complex64.*floating-point"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_refused_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        QuantumLayer(**options)


def test_refused_shapes_of_images() -> None:
    for kind, options, message in (
        (QuantumConv2d, {"in_channels": 1, "kernel_size": 0}, "kernel_size = 0: one whole number from 1 on"),
        (QuantumConv2d, {"in_channels": 1, "kernel_size": None}, "kernel_size = None: one whole number"),
        (QuantumConv2d, {"in_channels": 0, "kernel_size": 2}, "in_channels = 0"),
        (
            QuantumConv2d,
            {"in_channels": 1, "kernel_size": 2, "out_channels": 5},
            "out_channels = 5.*did you mean '4'",
        ),
        (QuantumPool2d, {"kernel_size": 1}, "leaves nothing to pool"),
        (QuantumPool, {"n_qubits": 2, "depth": 0}, "depth = 0"),
        (QuantumPool, {"n_qubits": 2, "depth": 2}, "pooling would leave no qubit"),
    ):
        with pytest.raises(ConfigError, match=message):
            kind(**options)
    conv = QuantumConv2d(3, 2, n_qubits=2, depth=1)
    with pytest.raises(DataError, match=r"\(1, 2, 4, 4\) given; the layer takes \[B, 3, height, width\]"):
        conv(torch.ones(1, 2, 4, 4))
    with pytest.raises(DataError, match="no window of 2 x 2 fits into an image of 1 x 4"):
        conv(torch.ones(1, 3, 1, 4))
    with pytest.raises(DataError, match="window 1, feature 2: nan"):
        conv(torch.tensor([1.0, float("nan"), 1, 1]).expand(1, 3, 2, 4))


def test_refused_inputs() -> None:
    layer = QuantumLayer(2, 1)
    with pytest.raises(DataError, match="features of list given; the layer takes a tensor"):
        layer([[0.0, 1.0]])
    with pytest.raises(DataError, match=r"\(4, 3\) given; the layer takes 2"):
        layer(torch.ones(4, 3))
    with pytest.raises(DataError, match=r"torch\.int64 given.*x\.float\(\)"):
        layer(torch.ones(4, 2, dtype=torch.int64))
    with pytest.raises(DataError, match="row 3, feature 2: nan is not a finite number"):
        layer(torch.tensor([[0.0, 0], [1, 1], [2, float("nan")]]))
    bits = QuantumLayer(2, 1, encoding="basis")
    bits(torch.ones(1, 2)).sum().backward()
    with pytest.raises(CapabilityError, match="'basis' has no derivative by its features"):
        bits(torch.ones(1, 2, requires_grad=True))
    with pytest.raises(CapabilityError, match="'basis' has no derivative by its features"):
        bits.quote(1, input_gradients=True)
    with torch.no_grad():
        layer.layer0[1] = float("inf")
    with pytest.raises(DataError, match="parameter 1 is inf: the training has diverged"):
        layer(torch.ones(1, 2))


def test_initial_parameters_are_the_models_and_torchs() -> None:
    torch.manual_seed(3)
    first = QuantumLayer(4, 2, initial_scale=0.5)
    second = QuantumLayer(4, 2, initial_scale=0.5)
    torch.manual_seed(3)
    third = QuantumLayer(4, 2, initial_scale=0.5, seed=99)
    assert torch.equal(first.layer0, third.layer0)
    assert not torch.equal(first.layer0, second.layer0)
    together = np.concatenate([first.params(), second.params()])
    # 48 normal numbers: their standard deviation is known to 1 / sqrt(96), 10 %
    assert together.std() == pytest.approx(0.5, rel=0.35)


def test_compiled_networks_go_around_the_layer() -> None:
    net = nn.Sequential(nn.Linear(3, 2), QuantumLayer(2, 1), nn.Linear(2, 1))
    features = inputs(4, 3).detach().float()
    expected = net(features)
    found = torch.compile(net, backend="eager")(features)
    assert torch.allclose(found, expected, atol=1e-6)
    found.sum().backward()
    assert net[1].layer0.grad.abs().sum() > 0


def test_backend_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert QuantumLayer(2, backend="auto").executor.config.backend.name == "ideal"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with_cuda = QuantumLayer(2, backend="auto")
    assert with_cuda.executor.config.backend.name == "torch"


def test_the_torch_engine_gives_what_the_ideal_backend_gives() -> None:
    """Its processor side, exact: rounding of some hundred gates apart; derivatives by vector-Jacobian products on both."""
    found = []
    for backend in ("ideal", "torch"):
        torch.manual_seed(2)
        layer, features = QuantumLayer(3, 2, backend=backend, dtype=DOUBLE), inputs(4, 3)
        outputs = layer(features)
        outputs.square().sum().backward()
        found.append((outputs, features.grad, *(param.grad for param in layer.parameters())))
        assert layer.used.n_circuits == layer.quote(4, input_gradients=True).total.circuits == 8
    for ideal, engine in zip(*found, strict=True):
        assert torch.allclose(ideal, engine, rtol=0, atol=1e-12)


def test_the_page_runs_and_prints_what_it_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "docs" / "pytorch.md"
    run_page(page, tmp_path)
    shown = page.read_text(encoding="utf-8")
    first, *others = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"(0\.9\d\d|1\.000) after 16,200 circuits", first)
    assert len(others) == 6
    for line in others:
        assert f"\n{line}\n" in shown, line


def test_torch_is_imported_by_its_own_frontend_alone() -> None:
    code = "import sys, pipelines.frontends as f; f.Executor; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
