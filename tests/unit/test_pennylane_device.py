"""The PennyLane device: values, derivatives and noise beside `default.qubit`, how tapes become plans, and what is refused."""

from __future__ import annotations

import copy
import functools
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

qml = pytest.importorskip("pennylane")
pytest.importorskip("autograd")

import cirq  # noqa: E402
import sympy  # noqa: E402
from pennylane import numpy as pnp  # noqa: E402
from pennylane.exceptions import DeviceError  # noqa: E402
from pennylane.tape import QuantumScript  # noqa: E402

from orchestrator.errors import ConfigError, InputError  # noqa: E402
from orchestrator.planning.plan import EvaluationPlan  # noqa: E402
from pipelines.frontends.pennylane.gates import N_PARAMETERS, PIECES, placed  # noqa: E402
from pipelines.frontends.pennylane.observables import square_of  # noqa: E402
from tests.documents import code_blocks, run_page  # noqa: E402

ROUNDING = 1e-12
"""Of values of order 1 after some fifty gates, in two simulators."""


def random_layer(rng: np.random.Generator, x: Any, w: Any) -> None:
    """Gates of every kind: taken as they are, decomposed, controlled, fixed; numbers shared between them."""
    qml.BasisState(np.array([0, 1, 1]), wires=["b", 1, 2])
    qml.StronglyEntanglingLayers(w[:2], wires=["b", 1, 2])
    qml.QubitUnitary(qml.matrix(qml.Rot(0.3, 1.2, -0.4, 0) @ qml.H(0)), wires=1)
    qml.CRot(x, w[2, 0, 0], 0.3, wires=[1, "b"])
    qml.PauliRot(w[2, 0, 1], "XYZ", wires=[2, "b", 1])
    qml.ctrl(qml.RX(w[2, 0, 2], wires="b"), control=[1, 2], control_values=[1, 0])
    qml.adjoint(qml.IsingXY(x, wires=["b", 2]))
    qml.SingleExcitation(w[2, 1, 0] * x, wires=[1, 2])
    qml.U3(w[2, 1, 1], x, w[2, 1, 2], wires=2)
    qml.GlobalPhase(w[2, 2, 0])
    qml.DoubleExcitation(w[2, 2, 1], wires=["b", 1, 2, 3])
    for wire in rng.permutation([1, 2, 3]):
        qml.SX(wires=int(wire))
        qml.RZ(w[2, 2, 2], wires=int(wire))


HAMILTONIAN = qml.Hamiltonian(
    [0.5, -1.2, 0.3, 0.2, 0.9],
    [qml.Z("b") @ qml.X(1), qml.Y(2), qml.Z(2) @ qml.Z(3), qml.I(1), qml.X(1) @ qml.Y(3)],
)


def circuit(x: Any, w: Any) -> tuple[Any, ...]:
    random_layer(np.random.default_rng(3), x, w)
    return (
        qml.expval(HAMILTONIAN),
        qml.probs(wires=[2, "b"]),
        qml.var(qml.Z("b") @ qml.X(2)),
        qml.expval(qml.Projector([1, 0], wires=[1, 3])),
        qml.expval(qml.H(1) @ qml.Hermitian(np.array([[1, 2 - 1j], [2 + 1j, -0.5]]), wires="b")),
        qml.probs(op=qml.Y(3)),
    )


def parameters() -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    return pnp.array(0.37, requires_grad=True), pnp.array(rng.normal(size=(3, 4, 3)), requires_grad=True)[
        :, :3
    ]


def flat(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: pnp.hstack([pnp.reshape(part, (-1,)) for part in function(*arguments)])


@pytest.fixture(scope="module")
def expected() -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Values and Jacobian of `circuit` by backpropagation through PennyLane's own simulator."""
    node = flat(qml.QNode(circuit, qml.device("default.qubit"), diff_method="backprop"))
    x, w = parameters()
    return node(x, w), qml.jacobian(node)(x, w)


@pytest.mark.parametrize(
    ("method", "options"),
    [("best", {}), ("adjoint", {"device_vjp": True}), ("parameter-shift", {}), ("adjoint", {"grad_on_execution": False})],
)  # fmt: skip
def test_values_and_gradients_are_those_of_default_qubit(
    expected: tuple[np.ndarray, tuple[np.ndarray, ...]], method: str, options: dict[str, Any]
) -> None:
    device = qml.device("qfleet", wires=[3, 2, 1, "b"])
    node = flat(qml.QNode(circuit, device, diff_method=method, **options))
    x, w = parameters()
    np.testing.assert_allclose(node(x, w), expected[0], atol=ROUNDING)
    for found, wanted in zip(qml.jacobian(node)(x, w), expected[1], strict=True):
        np.testing.assert_allclose(found, wanted, atol=ROUNDING)


def test_every_gate_is_the_one_of_pennylane() -> None:
    for name, pieces in PIECES.items():
        if not pieces:
            continue
        base = getattr(qml, name.removeprefix("Adjoint(").removesuffix(")"))
        angles = [0.7, -1.3, 2.2][: N_PARAMETERS[name]]
        op = base(*angles, wires=range(base.num_wires or 1))
        op = qml.adjoint(op) if name.startswith("Adjoint") else op
        assert op.name == name
        assert len(op.data) == N_PARAMETERS[name]
        symbols = sympy.symbols("d:3")[: len(angles)]
        qubits = cirq.LineQubit.range(len(op.wires))
        resolved = cirq.resolve_parameters(
            cirq.Circuit(placed(name, qubits, symbols)), dict(zip(symbols, angles, strict=True))
        )
        np.testing.assert_allclose(cirq.unitary(resolved), op.matrix(), atol=ROUNDING, err_msg=name)


@pytest.mark.parametrize("options", [{}, {"device_vjp": True}], ids=["rows", "broadcast"])
@pytest.mark.parametrize("inputs_need_gradients", [False, True])
def test_a_broadcast_batch_through_torch(options: dict[str, Any], inputs_need_gradients: bool) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    x = torch.tensor(rng.normal(size=(5, 2)), requires_grad=inputs_need_gradients)
    w = torch.tensor(rng.normal(size=(2, 2, 3)), requires_grad=True)

    def body(x: Any, w: Any) -> tuple[Any, ...]:
        qml.AngleEmbedding(x, wires=[0, 1])
        qml.StronglyEntanglingLayers(w, wires=[0, 1])
        return qml.expval(qml.Z(0)), qml.probs(wires=[1, 0]), qml.var(qml.X(1))

    def gradients(name: str, method: str, **options: Any) -> list[np.ndarray]:
        node = qml.QNode(body, qml.device(name, wires=2), diff_method=method, interface="torch", **options)
        z, p, v = node(x, w)
        loss = (z**2).sum() + (p * torch.arange(4)).sum() + (v**3).sum()
        wanted = (w, x) if inputs_need_gradients else (w,)
        return [loss.detach().numpy(), *(g.numpy() for g in torch.autograd.grad(loss, wanted))]

    ours = gradients("qfleet", "adjoint", **options)
    for found, wanted in zip(ours, gradients("default.qubit", "backprop"), strict=True):
        np.testing.assert_allclose(found, wanted, atol=ROUNDING)


def test_hessians_by_parameter_shift() -> None:
    def body(w: Any) -> Any:
        qml.RX(w[0], 0)
        qml.RY(w[1], 1)
        qml.CNOT([0, 1])
        qml.CRX(w[2], [0, 1])
        return qml.expval(qml.Z(0) @ qml.Z(1))

    w = pnp.array([0.3, 0.7, -0.4], requires_grad=True)
    found, wanted = (
        qml.jacobian(qml.grad(qml.QNode(body, qml.device(name, wires=2), diff_method="best", max_diff=2)))(w)
        for name in ("qfleet", "default.qubit")
    )
    np.testing.assert_allclose(found, wanted, atol=ROUNDING)


def test_weights_of_an_observable_can_be_trained() -> None:
    def body(c: Any, w: Any) -> Any:
        qml.RX(w, 0)
        qml.RY(w, 1)
        return qml.expval(qml.Hamiltonian(c, [qml.Z(0), qml.X(1), qml.Y(0)]))

    c, w = pnp.array([0.3, 0.7, -0.4], requires_grad=True), pnp.array(0.4, requires_grad=True)
    found, wanted = (
        qml.grad(qml.QNode(body, qml.device(name, wires=2)))(c, w) for name in ("qfleet", "default.qubit")
    )
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=ROUNDING)


def test_measurements_in_the_middle_are_deferred() -> None:
    def body(x: float, y: float) -> tuple[Any, ...]:
        qml.RY(x, wires=0)
        qml.CNOT([0, 1])
        first = qml.measure(1, reset=True)
        qml.cond(first, qml.RY)(y, wires=0)
        qml.RX(0.3, 1)
        second = qml.measure(0)
        return (
            qml.probs(wires=[0, 1]),
            qml.expval(first),
            qml.var(first + 2 * second),
            qml.probs(op=[first, second]),
        )

    found = qml.QNode(body, qml.device("qfleet"))(0.6, 0.2)
    wanted = qml.QNode(body, qml.device("default.qubit"))(0.6, 0.2)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=ROUNDING)


def test_estimates_spread_as_predicted_and_probabilities_are_whole_counts() -> None:
    shots, n_repeats = 50, 2000
    device = qml.device("qfleet", wires=2, seed=11)

    @qml.set_shots(shots)
    @qml.qnode(device)
    def node(x: Any) -> tuple[Any, ...]:
        qml.RY(x, 0)
        qml.IsingXX(0.8, [0, 1])
        return qml.expval(qml.X(0)), qml.probs(wires=[1, 0]), qml.expval(qml.Z(0) @ qml.Z(1))

    x, p, zz = node(np.full(n_repeats, 0.7))
    exact = qml.set_shots(node, None)(0.7)
    for estimates, value in ((x, exact[0]), (zz, exact[2])):
        variance = (1 - value**2) / shots
        assert abs(estimates.mean() - value) < 4 * np.sqrt(variance / n_repeats)
        # The estimates are nearly normal, so that their variance has the standard error sqrt(2 / n) of itself.
        assert abs(estimates.var() / variance - 1) < 4 * np.sqrt(2 / n_repeats)
    np.testing.assert_allclose(p.mean(axis=0), exact[1], atol=4 * np.sqrt(0.25 / shots / n_repeats))
    np.testing.assert_allclose(p * shots, np.round(p * shots), atol=1e-9)
    assert p.min() >= 0
    np.testing.assert_allclose(p @ [1, -1, -1, 1], zz, atol=1e-12)  # from the same shots


def test_one_program_one_sequence_of_shots() -> None:
    def program(seed: int) -> list[Any]:
        device = qml.device("qfleet", wires=1, seed=seed)
        node = qml.set_shots(
            qml.QNode(lambda x: (qml.RX(x, 0), qml.expval(qml.Z(0)))[1], device), shots=(100, (1000, 2))
        )
        return [node(1.1), node(1.1), node(np.array([1.1, 1.1]))]

    first = program(3)
    assert repr(first) == repr(program(3))
    assert repr(first) != repr(program(4))
    assert first[0] != first[1]
    assert [np.shape(part) for part in first[2]] == [(2,), (2,), (2,)]
    assert len({float(value) for result in first for part in result for value in np.atleast_1d(part)}) > 8


def test_a_call_that_failed_is_made_of_the_same_jobs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    device = qml.device("qfleet", wires=2)
    seen: list[list[str]] = []
    evaluate_all = device._executor.evaluate_all
    fails = [False, True, False, False]

    def flaky(plans: list[EvaluationPlan]) -> Any:
        seen.append([plan.job().job_id for plan in plans])
        if fails.pop(0):
            raise KeyboardInterrupt
        return evaluate_all(plans)

    monkeypatch.setattr(device._executor, "evaluate_all", flaky)
    tapes = [QuantumScript([kind(0.3, 0)], [qml.expval(qml.Z(0))], shots=10) for kind in (qml.RX, qml.RY)]
    device.execute(tapes)
    with pytest.raises(KeyboardInterrupt):
        device.execute(tapes)
    device.execute(tapes)
    device.execute(tapes)
    assert seen[1] == seen[2]  # what was paid of the second call is found in the book
    assert len({job_id for call in seen for job_id in call}) == 6


def test_calls_from_many_threads_have_steps_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    device = qml.device("qfleet", wires=1)
    steps: list[int] = []
    evaluate_all = device._executor.evaluate_all
    monkeypatch.setattr(
        device._executor, "evaluate_all", lambda plans: steps.append(plans[0].step) or evaluate_all(plans)
    )
    tape = QuantumScript([qml.RX(0.3, 0)], [qml.expval(qml.Z(0))], shots=10)
    threads = [threading.Thread(target=device.execute, args=([tape],)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(steps) == list(range(16))


def test_a_variance_is_that_of_shots_wherever_one_setting_can_do() -> None:
    shots, n_repeats = 20, 500

    @qml.set_shots(shots)
    @qml.qnode(qml.device("qfleet", wires=3))
    def node(x: Any) -> tuple[Any, ...]:
        qml.RY(x, 0)
        qml.RY(0.7, 1)
        # Alone, the first would put Z0 into a setting without Z1.
        return qml.expval(qml.Z(0) @ qml.X(1)), qml.var(qml.Z(0) + qml.Z(1)), qml.probs(wires=[2])

    found = node(np.full(n_repeats, 1.1))[1]
    # Of whole shots, whose outcomes are -2, 0 and 2: the variance of a sample, which is never negative and has the bias (n - 1) / n.
    assert found.min() >= 0
    np.testing.assert_allclose(found * shots**2 / 4, np.round(found * shots**2 / 4), atol=1e-9)
    exact = (np.sin(1.1) ** 2 + np.sin(0.7) ** 2) * (shots - 1) / shots
    assert abs(found.mean() - exact) < 4 * found.std() / np.sqrt(n_repeats)


def test_small_matrices_are_observables_like_others() -> None:
    def values(matrix: np.ndarray) -> list[float]:
        def body() -> Any:
            qml.RY(0.4, 0)
            qml.IsingXY(0.9, [0, 1])
            return qml.expval(qml.Hermitian(matrix, wires=[1, 0])), qml.var(qml.Hermitian(matrix, [1, 0]))

        return [
            float(x)
            for name in ("qfleet", "default.qubit")
            for x in qml.QNode(body, qml.device(name, wires=2))()
        ]

    rng = np.random.default_rng(4)
    matrix = rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4))
    matrix += matrix.conj().T
    for scale in (1.0, 1e-9):  # of the largest entry, or of all but one
        mean, variance, *wanted = values(scale * matrix)
        np.testing.assert_allclose(
            [mean / scale, variance / scale**2], np.array(wanted) / [scale, scale**2], atol=1e-9
        )
        mixed = np.diag([1.0, 0, 0, 0]) + scale * matrix
        mean, _, wanted_mean, _ = values(mixed)
        assert abs(mean - wanted_mean) < 1e-14
    assert values(np.zeros((4, 4)))[0] == 0


@pytest.mark.timeout(30)  # as a product of 4,096 words with themselves it took minutes
def test_the_square_of_the_largest_matrix() -> None:
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(64, 64)) + 1j * rng.normal(size=(64, 64))
    matrix += matrix.conj().T
    square = matrix @ matrix
    found = qml.pauli.PauliSentence(square_of(qml.Hermitian(matrix, range(6)))).to_mat(range(6))
    np.testing.assert_allclose(found, square, rtol=0, atol=1e-14 * np.abs(square).max())


def test_tapes_of_one_structure_are_one_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    device = qml.device("qfleet", wires=2)
    seen: list[list[EvaluationPlan]] = []
    evaluate_all = device._executor.evaluate_all
    monkeypatch.setattr(
        device._executor, "evaluate_all", lambda plans: seen.append(plans) or evaluate_all(plans)
    )

    def tape(angle: float, kind: Any, weights: tuple[float, float] = (1.0, 2.0)) -> QuantumScript:
        observable = qml.Hamiltonian(weights, [qml.Z(0), qml.X(0) @ qml.Z(1)])
        return QuantumScript([kind(angle, 0), qml.RY(0.3, 1), qml.CNOT([0, 1])], [qml.expval(observable)])

    found = device.execute([tape(0.1, qml.RX), tape(0.2, qml.RZ), tape(0.3, qml.RX), tape(0.4, qml.RX)])
    assert [[plan.n_samples for plan in plans] for plans in seen] == [[3, 1]]
    assert seen[0][0].angles.data.shape == (3, 1)  # the second angle is the same in all of them
    alone = [
        device.execute(tape(a, k)) for a, k in ((0.1, qml.RX), (0.2, qml.RZ), (0.3, qml.RX), (0.4, qml.RX))
    ]
    assert list(found) == alone
    seen.clear()
    jacobian = device.compute_derivatives([tape(0.1, qml.RX), tape(0.3, qml.RX)])
    [[plan]] = seen
    assert plan.cotangents is not None  # one sweep for the sum of two strings
    np.testing.assert_array_equal(plan.cotangents, [[1, 2], [1, 2]])
    exact = device.compute_derivatives(tape(0.1, qml.RX))
    assert [float(x) for x in jacobian[0]] == [float(x) for x in exact]


def test_what_it_took_is_told() -> None:
    with qml.device("qfleet", wires=2).tracker as tracker:
        pass
    device = qml.device("qfleet", wires=2)
    node = qml.set_shots(
        qml.QNode(lambda: (qml.H(0), qml.expval(qml.X(0)), qml.expval(qml.Z(0)))[1:], device), 10
    )
    with device.tracker:
        node()
    assert tracker.totals == {}
    assert device.tracker.totals["circuits"] == device.used.n_circuits == 2  # two settings
    assert device.tracker.totals["shots"] == device.used.n_shots == 20
    assert device.used.cost_usd == 0
    assert device.spending() is None
    assert qml.execute([QuantumScript([], [qml.expval(qml.I(0))])], device) == (1.0,)
    assert device.used.n_circuits == 2  # nothing need be run for the identity
    for other in (copy.deepcopy(device), pickle.loads(pickle.dumps(device))):
        assert np.isfinite(qml.execute([QuantumScript([qml.H(0)], [qml.expval(qml.Z(0))])], other)).all()
    device.close()


def node_of(*operations: Callable[[], Any], measures: Callable[[], Any], **options: Any) -> Callable[[], Any]:
    def body() -> Any:
        for operation in operations:
            operation()
        return measures()

    return qml.QNode(body, qml.device("qfleet", wires=options.pop("wires", 12)), **options)


def many(n: int) -> Any:
    for wire in range(n):
        qml.X(wire)


Z0 = functools.partial(qml.expval, qml.Z(0))
NOT_HERMITIAN = np.array([[0, 1], [0, 0]])


@pytest.mark.parametrize(
    ("node", "error", "text"),
    [
        (node_of(lambda: qml.RX(np.nan, 3), measures=Z0), DeviceError, "parameter 0 of RX on wires [3] of tape 0 is nan"),
        (node_of(lambda: qml.Displacement(0.1, 0.2, wires=0), measures=Z0), DeviceError, "Displacement"),
        (node_of(measures=lambda: qml.counts(wires=0)), DeviceError, "qml.probs"),
        (node_of(measures=lambda: qml.sample(wires=0)), DeviceError, "qml.expval"),
        (node_of(measures=lambda: qml.state()), DeviceError, "answers expectation values"),
        (node_of(measures=lambda: qml.probs()), DeviceError, "at most 10 wires"),
        (node_of(lambda: many(61), measures=Z0, wires=None), DeviceError, "61 wires; the backend 'ideal' takes at most 60"),
        (node_of(measures=lambda: qml.expval(qml.Hermitian(np.eye(128), range(7)))), DeviceError, "at most 6 wires"),
        (node_of(measures=lambda: qml.expval(qml.Hermitian(NOT_HERMITIAN, 0))), InputError, "not Hermitian"),
        (node_of(measures=lambda: qml.expval(qml.Hermitian(np.diag([1, np.inf]), 0))), InputError, "every entry must be finite"),
        (node_of(measures=lambda: qml.expval(np.nan * qml.Z(0) + qml.X(0))), InputError, "the weight of Z(0)"),
        (node_of(measures=Z0, mcm_method="tree-traversal"), DeviceError, "deferred"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(node: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as raised:
        node()
    assert text in str(raised.value)


@pytest.mark.parametrize(
    ("operations", "measurement", "text"),
    [
        ([qml.U3(0.1, 0.2, 0.3, 0)], qml.expval(qml.Z(0)), "must be decomposed first"),
        ([qml.RX(0.1, 5)], qml.expval(qml.Z(0)), r"the wires \[5\] are not among the device's: \[0\]"),
        ([qml.RX(0.1 + 1j, 0)], qml.expval(qml.Z(0)), "the parameters of tape 0 must be real numbers"),
        ([qml.RX([0.1, 0.2], 0), qml.RX([0.1, 0.2, 0.3], 0)], qml.expval(qml.Z(0)), "of one length"),
        ([], qml.counts(wires=0), "no expectation value"),
    ],
)
def test_tapes_that_were_not_prepared_are_refused(operations: list[Any], measurement: Any, text: str) -> None:
    with pytest.raises(DeviceError, match=text):
        qml.device("qfleet", wires=1).execute(QuantumScript(operations, [measurement]))


def test_a_target_that_only_samples_wants_shots_and_one_that_costs_a_folder(tmp_path: Path) -> None:
    paid = {"name": "ionq", "target": "qpu.aria-1"}
    with pytest.raises(ConfigError, match="folder"):
        qml.device("qfleet", wires=1, backend=paid)
    device = qml.device("qfleet", wires=1, backend=paid, folder=tmp_path)
    with pytest.raises(DeviceError, match="only samples: give shots"):
        qml.QNode(lambda: (qml.H(0), qml.expval(qml.Z(0)))[1], device)()
    assert not list(tmp_path.iterdir())
    device = qml.device("qfleet", wires=1, backend={**paid, "shots": 100}, folder=tmp_path)
    assert device.shots.total_shots == 100


def test_derivatives_that_the_backend_does_not_give() -> None:
    tape = QuantumScript([qml.RX(0.3, 0)], [qml.expval(qml.Z(0))])
    with pytest.raises(DeviceError, match="the backend 'cirq' has no direct derivative"):
        qml.device("qfleet", wires=1, backend="cirq").compute_derivatives(tape)
    with pytest.raises(DeviceError, match="a tape with shots has no direct derivative"):
        qml.device("qfleet", wires=1).compute_vjp(tape.copy(shots=10), 1.0)
    with pytest.raises(DeviceError, match="is broadcast"):
        qml.device("qfleet", wires=1).compute_derivatives(
            QuantumScript([qml.RX([0.3, 0.4], 0)], tape.measurements)
        )
    with pytest.raises(DeviceError, match=r"cotangents of shape \(2,\) do not fit"):
        qml.device("qfleet", wires=1).compute_vjp(
            QuantumScript([qml.RX([0.3, 0.4, 0.5], 0)], tape.measurements), [1.0, 2.0]
        )


def test_a_plan_that_fails_leaves_the_others_and_the_executor_usable() -> None:
    device = qml.device("qfleet", wires=2)
    tape = QuantumScript([qml.RX(0.3, 0)], [qml.expval(qml.Z(0))])
    batch = device._read([tape])
    plan = device._plan(batch.groups[0])
    bad = EvaluationPlan(plan.circuit, plan.angles._replace(shared=np.array([np.nan])))
    with pytest.raises(Exception, match=r"finite|nan"):
        device._executor.evaluate_all([plan, bad, plan])
    assert device.execute(tape) == np.cos(0.3)


def test_the_page_prints_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "docs" / "pennylane.md"
    run_page(page, tmp_path)
    assert capsys.readouterr().out == "".join(block.code for block in code_blocks(page, "text"))
