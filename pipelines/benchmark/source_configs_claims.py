"""The configurations that the source documents time or score, and what they say of each, with where they say it.

The documents describe one library at several versions and do not agree with each other; every figure stands here as it is written there.
What they leave open is said in `assumed`, and is our choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

DOCUMENTS = {
    0: "performance guide of version 3.2",
    1: "performance report of version 4.1.1",
    2: "machine learning guide of version 4.0.0",
    3: "guide to version 3.2",
    4: "guide to version 3.3",
}


class Claim(NamedTuple):
    """A figure of a source document.

    Attributes:
        text: as it is written. document: of `DOCUMENTS`. line: of that document.
        low, high: the same as numbers, seconds or dollars.
    """

    text: str
    document: int
    line: int
    low: float
    high: float

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.document}:{self.line}"


@dataclass(frozen=True)
class SourceConfiguration:
    """A training as a source document describes it.

    Attributes:
        name: on our command line. words: what the documents call it.
        rule, ansatz, backend, noise: in our names.
        times, dollars: of the whole training. losses: at its end, as the documents write them.
        circuits: that the documents count, with where.
        assumed: what they leave open.
        is_slow: takes minutes here, and is trained once only: on the generated data, in this process.
    """

    name: str
    words: str
    n_qubits: int
    n_layers: int
    n_samples: int
    epochs: int
    batch_size: int
    times: tuple[Claim, ...]
    rule: str = "parameter_shift"
    ansatz: str = "three_rotation"
    backend: str = "ideal"
    noise: str | None = None
    dollars: tuple[Claim, ...] = ()
    losses: tuple[str, ...] = ()
    circuits: str | None = None
    assumed: tuple[str, ...] = field(default=())
    is_slow: bool = False

    @property
    def size(self) -> str:
        """Qubits, layers, samples and epochs, for a table."""
        return (
            f"{self.n_qubits} qubits, {self.n_layers} layers, {self.n_samples} samples, {self.epochs} epochs"
        )


_BATCH_10 = "batches of 10"

SOURCE_CONFIGURATIONS = {
    one.name: one
    for one in (
        SourceConfiguration(
            "4q-2l", "quick start", 4, 2, 50, 5, 5,
            times=(Claim("~45s", 0, 34, 45, 45), Claim("~45 seconds", 3, 319, 45, 45)),
            losses=("0.31 (0:34)", "0.3139 (3:317)"), circuits="49 per step (0:34); 2450 an epoch (0:298)",
            dollars=(Claim("$0.75", 0, 300, 0.75, 0.75),),
        ),
        SourceConfiguration(
            "8q-2l", "version 3.2, 2 layers", 8, 2, 100, 5, 10,
            times=(Claim("~90s", 0, 35, 90, 90),),
            losses=("0.28 (0:35)",), circuits="97 per step (0:35)",
            assumed=("100 samples, as in the call of 0:313", _BATCH_10),
        ),
        SourceConfiguration(
            "8q-3l", "benchmark example", 8, 3, 500, 5, 10,
            times=(Claim("~3m", 0, 36, 180, 180), Claim("3m 12s", 0, 349, 192, 192)),
            losses=("0.24 (0:36)", "0.241 (0:357)"), circuits="36,250 in all (0:353)",
            assumed=("batches of 10, which follow from 36,250 circuits at 145 a step",),
        ),
        SourceConfiguration(
            "8q-4l", "version 3.2, 4 layers", 8, 4, 500, 5, 10,
            times=(Claim("~5m", 0, 37, 300, 300),),
            losses=("0.19 (0:37)",), circuits="193 per step (0:37)",
            assumed=("500 samples", _BATCH_10),
        ),
        SourceConfiguration(
            "4q-2l-500", "layer of version 4.0", 4, 2, 500, 2, 10,
            times=(Claim("19.5 seconds", 2, 48, 19.5, 19.5),),
            assumed=(_BATCH_10, "without the classical layers around the circuit"),
        ),
        SourceConfiguration(
            "before", "version 3.2, before", 8, 2, 100, 5, 10,
            times=(Claim("3.3 hours", 4, 270, 11880, 11880), Claim("40 minutes", 4, 508, 2400, 2400)),
            dollars=(Claim("~$10", 4, 290, 10, 10),), circuits="960 per batch (4:20)",
        ),
        SourceConfiguration(
            "after", "version 3.3, after", 8, 2, 100, 5, 10,
            rule="spsa", ansatz="hardware_efficient",
            times=(Claim("8 minutes", 4, 270, 480, 480), Claim("50-100 seconds", 4, 508, 50, 100)),
            dollars=(Claim("~$0.20", 4, 291, 0.20, 0.20),), circuits="10-20 per batch (4:20)",
        ),
        SourceConfiguration(
            "4q-2l-noisy", "mock (noisy)", 4, 2, 50, 5, 5, backend="noisy", noise="aria-1",
            times=(Claim("~60s", 0, 54, 60, 60),),
            assumed=("the size of the quick start", "the noise of aria-1"),
        ),
        SourceConfiguration(
            "4q-2l-cirq", "cirq simulator", 4, 2, 50, 5, 5, backend="cirq",
            times=(Claim("~90s", 0, 55, 90, 90),), assumed=("the size of the quick start",),
            is_slow=True,
        ),
    )
}  # fmt: skip
"""By name, in the order of the table. The images of document 1 are no part of it."""


class ServiceClaim(NamedTuple):
    """A training on IonQ, whose size the document does not say.

    Attributes:
        circuit_seconds: that it gives for a circuit. time: of five epochs. dollars: of an epoch; its numbers are of five.
    """

    circuit_seconds: float
    time: Claim
    dollars: Claim


IONQ_CLAIMS = {
    "simulator": ServiceClaim(
        0.1, Claim("~6m", 0, 56, 360, 360), Claim("$0.10 per epoch", 0, 56, 0.50, 0.50)
    ),
    "QPU": ServiceClaim(0.5, Claim("~30m", 0, 57, 1800, 1800), Claim("$5.00 per epoch", 0, 57, 25.0, 25.0)),
}
