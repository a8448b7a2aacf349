"""What can be asked of ``qfleet hybrid``, and what is refused before anything starts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from orchestrator.errors import ConfigError

KIND = "hybrid"
"""Of its studies."""
MAX_QUBITS = 16
"""More make a network that is trained here for minutes a step."""
LEAST_SIZE, MOST_SIZE = 32, 1024
"""Pixels a side of an image."""


@dataclass(frozen=True)
class HybridSettings:
    """The workload, and the networks.

    Attributes:
        workload: which. folder: of images, one folder a class; None: drawn ones.
        samples: images for training and validation, four to one. test_samples: beside these. size: pixels a side.
        qubits, depth: of the circuit; as many numbers go into it, and come out.
        seeds: how many trainings of each network; each has a draw of the data and initial weights of its own.
        threads: of torch. They decide how sums are parted, and so the last bits; one waits for nobody on a machine that is shared.
        skip_damaged: leave out files that cannot be read, in place of refusing the folder.

    Raises:
        ConfigError: a value that cannot work.
    """

    workload: Literal["images", "digits"] = "images"
    folder: str | None = None
    samples: int = 1000
    test_samples: int = 400
    size: int = 180
    qubits: int = 8
    depth: int = 4
    seeds: int = 1
    threads: int = 1
    skip_damaged: bool = False

    def __post_init__(self) -> None:
        _check("--samples", self.samples, 10, 1_000_000)
        _check("--test-samples", self.test_samples, 2, 1_000_000)
        _check("--size", self.size, LEAST_SIZE, MOST_SIZE)
        _check("--qubits", self.qubits, 1, MAX_QUBITS)
        _check("--depth", self.depth, 1, 100)
        _check("--seeds", self.seeds, 1, 1000)
        _check("--threads", self.threads, 1, 256)
        if self.skip_damaged and self.folder is None:
            raise ConfigError(
                "--skip-damaged", True, "is for a folder of images: name one, or leave the option out"
            )

    @property
    def image_bytes(self) -> int:
        """Of all images of one seed, as they are held."""
        return (self.samples + self.test_samples) * 3 * self.size**2

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def _check(option: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        near = str(min(max(value, least), most))
        raise ConfigError(option, value, f"should be {least} to {most:,}", near)
