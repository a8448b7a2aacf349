"""The torch engine: the same bits for every block and thread, the draws of "ideal", memory, and what operations it is made of."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import cirq
import numpy as np
import pytest
import sympy

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from actors.simulation.state_vector.execution import StateVector  # noqa: E402
from actors.simulation.torch_engine import device as devices  # noqa: E402
from actors.simulation.torch_engine import forward, sizing  # noqa: E402
from actors.simulation.torch_engine.device import Blocks  # noqa: E402
from actors.simulation.torch_engine.engine import TorchStateVector  # noqa: E402
from actors.simulation.torch_engine.trigonometry import cos_sin  # noqa: E402
from orchestrator.circuits.from_cirq import template_from_circuit  # noqa: E402
from orchestrator.circuits.measured import MeasuredCircuit  # noqa: E402
from orchestrator.errors import CapabilityError, ConfigError  # noqa: E402
from orchestrator.jobs import Displacements, Job  # noqa: E402

CPU = torch.device("cpu")
STRINGS = ("ZIII", "IZZI", "XYIZ", "IIII", "YIYX")


def brickwork(paulis: tuple[str, ...] = STRINGS, n_layers: int = 3) -> MeasuredCircuit:
    """Every kind of operation: runs of turns, real and complex, permutations with phases and without, sums of blocks."""
    qubits = cirq.LineQubit.range(len(paulis[0]))
    symbols = (sympy.Symbol(f"t{k}") for k in itertools.count())
    operations: list[cirq.Operation] = []
    for layer in range(n_layers):
        gates = (cirq.ry,) if layer == 1 else (cirq.ry, cirq.rz, cirq.rx)
        operations += [gate(next(symbols))(q) for q in qubits for gate in gates]
        operations += [cirq.CNOT(qubits[0], qubits[1]), cirq.CZ(*qubits[1:3]), cirq.S(qubits[2])]
        operations += [cirq.CZPowGate(exponent=0.3)(qubits[0], qubits[2])]
        operations += [(cirq.ZZ ** (next(symbols) / sympy.pi))(qubits[0], qubits[-1])]
        operations += [(cirq.ISWAP**0.5)(*qubits[:2])]
        operations += [cirq.ControlledGate(cirq.rx(next(symbols)))(qubits[1], qubits[-1])]
    return MeasuredCircuit(template_from_circuit(cirq.Circuit(operations), qubits)[0], paulis)


def job_of(circuit: MeasuredCircuit, n_samples: int = 5, **changes: object) -> Job:
    """Six angles from data; each angle moved in a row of its own, two together in another, and nothing in the first and the last."""
    rng, n_angles = np.random.default_rng(1), circuit.template.n_angles
    single = np.arange(n_angles)
    counts = np.concatenate([[0], np.ones(n_angles, int), [2, 0]])
    rows = Displacements(
        np.cumsum([0, *counts]).astype(np.int64),
        np.append(single, [1, n_angles - 1]),
        rng.normal(size=n_angles + 2),
    )
    job = Job(
        circuit_key=circuit.key,
        shared_angles=rng.uniform(-3, 3, n_angles),
        data_columns=np.arange(6),
        data_angles=rng.uniform(-3, 3, (n_samples, 6)),
        displacements=rows,
        step=2,
        sample_start=11,
        displacement_start=3,
        noise_keys=np.arange(1, 1 + len(circuit.groups), dtype=np.uint64),
    )
    return replace(job, **changes)


def undisplaced(job: Job, **changes: object) -> Job:
    """The derivatives by every other angle, backwards."""
    wanted = np.arange(len(job.shared_angles))[::-2]
    return replace(job, displacements=Displacements.none(), jacobian_angles=wanted, **changes)


def with_blocks_of(execution: TorchStateVector, lanes: int) -> TorchStateVector:
    execution._blocks._most = lanes
    return execution


@pytest.fixture(scope="module")
def circuit() -> MeasuredCircuit:
    return brickwork()


@pytest.fixture(scope="module")
def execution(circuit: MeasuredCircuit) -> TorchStateVector:
    return TorchStateVector(circuit, CPU)


class TestTrigonometry:
    def test_is_right_to_rounding(self) -> None:
        """Wrong by at most an ulp of 1 below 1e6; beyond, by no more than the angle's own last digit would change it."""
        rng = np.random.default_rng(0)
        multiples = math.pi / 4 * np.arange(-40, 41)
        for angles, bound in (
            (np.concatenate([rng.normal(size=3000), 1e5 * rng.normal(size=3000), multiples]), 2.3e-16),
            (1e9 * rng.normal(size=1000), 1e9 * 2.3e-16 * 5),
        ):
            cos, sin = cos_sin(torch.from_numpy(angles))
            assert np.abs(cos.numpy() - [math.cos(a) for a in angles]).max() <= bound
            assert np.abs(sin.numpy() - [math.sin(a) for a in angles]).max() <= bound

    def test_of_nothing_is_exact(self) -> None:
        cos, sin = cos_sin(torch.zeros(3, dtype=torch.float64))
        assert cos.tolist() == [1, 1, 1]
        assert sin.tolist() == [0, 0, 0]


class TestBits:
    @pytest.mark.parametrize("shots", [None, 50])
    def test_do_not_depend_on_blocks_and_threads(self, circuit, execution, shots) -> None:
        job = job_of(circuit, shots=shots)
        whole = execution.values(job)
        for lanes, threads in ((1, 1), (2, 2), (3, 1), (5, 1), (7, 3), (64, 2)):
            other = with_blocks_of(TorchStateVector(circuit, CPU, threads=threads), lanes)
            assert np.array_equal(other.values(job), whole), (lanes, threads)

    @pytest.mark.parametrize("shots", [None, 50])
    def test_do_not_depend_on_the_chunking(self, circuit, execution, shots) -> None:
        job = job_of(circuit, shots=shots)
        whole, rng = execution.values(job), np.random.default_rng(2)
        for _ in range(12):
            s, d = (np.sort(rng.choice(n + 1, 2, replace=False)) for n in (5, job.n_displacements))
            assert np.array_equal(
                execution.values(job.part(slice(*s), slice(*d))), whole[s[0] : s[1], d[0] : d[1]]
            )

    @pytest.mark.parametrize("is_weighted", [False, True])
    def test_of_derivatives(self, circuit, execution, is_weighted) -> None:
        job = undisplaced(job_of(circuit))
        if is_weighted:
            job = replace(job, cotangents=np.random.default_rng(3).normal(size=(5, len(STRINGS))))
        values, found = execution.jacobian(job)
        assert np.array_equal(
            values, execution.values(replace(job, jacobian_angles=None, cotangents=None))[:, 0]
        )
        for lanes in (1, 2, 3, 9):  # as few as one string and one sample at a time
            other = with_blocks_of(TorchStateVector(circuit, CPU, threads=2), lanes).jacobian(job)
            assert np.array_equal(other[0], values)
            assert np.array_equal(other[1], found)
        for part in (slice(0, 1), slice(2, 5)):
            assert np.array_equal(execution.jacobian(job.part(part, slice(0, 1)))[1], found[part])

    def test_of_ordinary_circuits_are_drawn_as_by_ideal(self, circuit, execution) -> None:
        """Strings of X, Y and Z in three groups; and strings of Z, where the last permutation is absorbed."""
        only_z = brickwork(("ZIII", "IZZI", "ZZZZ"))
        for one, engine in ((circuit, execution), (only_z, TorchStateVector(only_z, CPU))):
            job = job_of(one, shots=1000)
            exact = engine.values(replace(job, shots=None))
            np.testing.assert_allclose(
                exact, StateVector(one).values(replace(job, shots=None)), rtol=0, atol=1e-13
            )
            assert np.array_equal(engine.values(job), StateVector(one).values(job))


class TestNumbers:
    def test_derivatives_are_those_of_ideal(self, circuit, execution) -> None:
        job = undisplaced(job_of(circuit))
        values, jacobian = execution.jacobian(job)
        expected = StateVector(circuit).jacobian(job)
        np.testing.assert_allclose(values, expected[0], rtol=0, atol=1e-13)
        np.testing.assert_allclose(jacobian, expected[1], rtol=0, atol=1e-13)

    def test_single_precision(self, circuit, execution) -> None:
        """Each of some 40 operations rounds every amplitude by 6e-8; the errors of a norm-one state add up to below 1e-5."""
        single = TorchStateVector(circuit, CPU, "single")
        job = job_of(circuit)
        error = np.abs(single.values(job) - execution.values(job)).max()
        assert 1e-9 < error < 1e-5
        wanted = undisplaced(job)
        error = np.abs(single.jacobian(wanted)[1] - execution.jacobian(wanted)[1]).max()
        assert 1e-9 < error < 1e-5

    def test_nothing_to_do(self, circuit, execution) -> None:
        job = job_of(circuit, n_samples=0)
        assert execution.values(job).shape == (0, job.n_displacements, len(STRINGS))
        values, jacobian = execution.jacobian(undisplaced(job))
        assert values.shape == (0, len(STRINGS))
        assert jacobian.shape == (0, len(STRINGS), len(undisplaced(job).jacobian_angles))


class _Recorder(TorchDispatchMode):
    """The names of all operations that reach the dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.add(func.name().partition("::")[2].partition(".")[0])
        return func(*args, **(kwargs or {}))


ROUNDED_ONE_BY_ONE = {
    "add",
    "add_",
    "sub",
    "mul",
    "neg",
    "neg_",
    "round",
    "floor",
    "eq",
    "ge",
    "__or__",
    "where",
}
MOVES = {
    "_to_copy", "cat", "chunk", "clone", "copy_", "detach", "detach_", "empty", "empty_like", "expand", "fill_", "flatten", "full_like",
    "index_copy_", "index_select", "lift_fresh", "numpy_T", "permute", "reshape", "resolve_conj", "resolve_neg", "select", "slice",
    "stack", "to", "transpose", "unbind", "unflatten", "unsqueeze", "view", "zeros", "zeros_like",
}  # fmt: skip


class TestOperations:
    def test_are_elementwise_or_moves(self, circuit) -> None:
        """No product of matrices, no reduction, nothing fused: all of these may round by the size of a tensor. On any device."""
        with _Recorder() as recorder:
            execution = TorchStateVector(circuit, CPU)
            execution.values(job_of(circuit))
            execution.values(job_of(circuit, shots=10))
            execution.jacobian(undisplaced(job_of(circuit)))
            weights = np.ones((5, len(STRINGS)))
            execution.jacobian(undisplaced(job_of(circuit), cotangents=weights))
        assert {"add", "mul", "index_select"} <= recorder.names
        assert recorder.names <= ROUNDED_ONE_BY_ONE | MOVES

    def test_are_deterministic_by_torchs_own_account(self, circuit, execution) -> None:
        job = job_of(circuit)
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True)
        try:
            values = execution.values(job)
            jacobian = execution.jacobian(undisplaced(job))[1]
        finally:
            torch.use_deterministic_algorithms(before)
        assert np.array_equal(values, execution.values(job))
        assert np.array_equal(jacobian, execution.jacobian(undisplaced(job))[1])

    def test_leave_the_users_torch_alone(self, circuit, execution) -> None:
        """Whatever threads, type, device and gradient mode the user works with, before, within and afterwards."""
        threads, kind = torch.get_num_threads(), torch.get_default_dtype()
        expected = execution.values(job_of(circuit))
        torch.set_num_threads(2)
        torch.set_default_dtype(torch.float16)
        try:
            with torch.device("meta"):
                found = TorchStateVector(circuit, CPU, threads=1).values(job_of(circuit))
            assert torch.get_num_threads() == 2
            assert torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()
        finally:
            torch.set_num_threads(threads)
            torch.set_default_dtype(kind)
        assert np.array_equal(found, expected)


class _OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, but for copies; what comes back from the shape-only device is zeros."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        leaves = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        copies = any(word in func.name() for word in ("copy_", "_to_copy", "::to."))
        assert copies or len({one.device for one in leaves}) <= 1, func.name()
        goes_to = next((one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.device)), None)
        if copies and goes_to == CPU and leaves[0].is_meta:
            return torch.zeros(leaves[0].shape, dtype=kwargs.get("dtype") or torch.float64)
        return func(*args, **kwargs)


class TestMemory:
    @pytest.fixture
    def crowded(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
        """A device that holds up to 6 circuits; how many each attempt had."""
        attempts: list[int] = []
        apply = forward.apply

        def full(operation, matrix, state):
            attempts.append(state.shape[2] * state.shape[3])
            if attempts[-1] > 6:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return apply(operation, matrix, state)

        monkeypatch.setattr(forward, "apply", full)
        return attempts

    def test_running_out_halves_the_block(self, circuit, execution, crowded) -> None:
        expected = with_blocks_of(TorchStateVector(circuit, CPU), 6).values(job_of(circuit))
        other = with_blocks_of(TorchStateVector(circuit, CPU), 40)
        assert np.array_equal(other.values(job_of(circuit)), expected)
        assert max(crowded) > 6
        crowded.clear()
        other.values(job_of(circuit))
        assert max(crowded) <= 6, "what did not fit is not tried again"

    def test_running_out_has_other_words_too(self) -> None:
        """The processor's allocator has no error type of its own, nor has the driver for its kernels; other errors are passed on."""

        def work(lanes: int) -> int:
            if lanes > 3:
                torch.empty(2**60, dtype=torch.uint8)
            if lanes > 1:
                raise RuntimeError("CUDA error: out of memory")
            return lanes

        def wrong(lanes: int) -> int:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

        assert Blocks(CPU, 13).run(work, 1, "it") == 1
        with pytest.raises(RuntimeError, match="illegal"):
            Blocks(CPU, 13).run(wrong, 1, "it")

    def test_a_circuit_that_never_fits(self, circuit, monkeypatch) -> None:
        def full(*arguments: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        execution = TorchStateVector(circuit, CPU)
        monkeypatch.setattr(forward, "apply", full)
        with pytest.raises(CapabilityError, match=r"4 qubits needs .*precision = 'single'"):
            execution.values(job_of(circuit))

    def test_blocks_fit_into_free_memory(self, monkeypatch) -> None:
        """At most half of it; and one circuit is refused where it does not fit."""
        monkeypatch.setattr(devices, "available_bytes", lambda: 2**30)
        assert Blocks(CPU, 4).lanes(2**28, "it") == 2
        assert Blocks(CPU, 4).lanes(2**30, "it") == 1
        with pytest.raises(
            CapabilityError, match="it of 4 qubits needs 1,025 MiB on cpu, and 1,024 MiB is free"
        ):
            Blocks(CPU, 4).lanes(2**30 + 2**20, "it")

    def test_of_a_cuda_device_counts_torchs_own_pool(self, monkeypatch) -> None:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**30, 2**34))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * 2**20)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2**20)
        assert devices.free_bytes(torch.device("cuda")) == 2**30 + 2**21


class TestDevices:
    def test_every_tensor_is_made_where_it_is_used(self, circuit, monkeypatch) -> None:
        """On torch's shape-only device: an operand left on the processor is refused there as on CUDA."""
        monkeypatch.setitem(sizing.AMPLITUDES, "meta", 2**8)
        job = job_of(circuit)
        with _OneDevice():
            execution = TorchStateVector(circuit, torch.device("meta"), "single")
            assert execution.values(job).shape == (5, job.n_displacements, len(STRINGS))
            wanted = undisplaced(job)
            assert execution.jacobian(wanted)[1].shape == (5, len(STRINGS), len(wanted.jacobian_angles))
            weighted = replace(wanted, cotangents=np.ones((5, len(STRINGS))))
            assert execution.jacobian(weighted)[1].shape == (5, 1, len(wanted.jacobian_angles))
            monkeypatch.setattr(forward, "draw", lambda *arguments: None)  # there is nothing to draw from
            assert execution.values(replace(job, shots=10)).shape == (5, job.n_displacements, len(STRINGS))

    def test_one_that_does_not_compute(self) -> None:
        """The shape-only device has no numbers."""
        with pytest.raises(ConfigError, match="computing on it fails") as caught:
            devices.wake(torch.device("meta"))
        assert (caught.value.key, caught.value.suggestion) == ("backend.device", "cpu")
        assert devices.wake(CPU) == CPU

    def test_without_cuda(self, monkeypatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert devices.find_device("auto") == devices.find_device("cpu") == CPU
        with pytest.raises(ConfigError, match="no CUDA device") as caught:
            devices.find_device("cuda")
        assert (caught.value.key, caught.value.suggestion) == ("backend.device", "cpu")

    def test_with_two(self, monkeypatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        assert devices.find_device("auto").type == devices.find_device("cuda").type == "cuda"
        assert devices.find_device("cuda:1") == torch.device("cuda", 1)
        assert devices.find_device("cpu") == CPU
        for name in ("cuda:2", "cuda:x", "gpu"):
            with pytest.raises(ConfigError, match="2 CUDA devices") as caught:
                devices.find_device(name)
            assert caught.value.suggestion == "cuda:1"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
class TestCuda:
    @pytest.mark.parametrize("precision", ["double", "single"])
    def test_has_the_bits_of_the_processor(self, circuit, precision) -> None:
        here, there = (TorchStateVector(circuit, torch.device(name), precision) for name in ("cpu", "cuda"))
        job = job_of(circuit)
        for one in (job, replace(job, shots=100)):
            assert np.array_equal(there.values(one), here.values(one))
        for one in (undisplaced(job), undisplaced(job, cotangents=np.ones((5, len(STRINGS))))):
            for a, b in zip(there.jacobian(one), here.jacobian(one), strict=True):
                assert np.array_equal(a, b)

    def test_a_session_keeps_to_one_device(self) -> None:
        current = torch.device("cuda", torch.cuda.current_device())
        assert devices.wake(torch.device("cuda")) == current

    def test_bits_do_not_depend_on_blocks(self, circuit) -> None:
        device, job = torch.device("cuda"), job_of(circuit)
        whole = TorchStateVector(circuit, device).values(job)
        for lanes in (1, 3, 8):
            assert np.array_equal(with_blocks_of(TorchStateVector(circuit, device), lanes).values(job), whole)
