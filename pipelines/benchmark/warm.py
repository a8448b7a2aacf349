"""``python -m pipelines.benchmark.warm``: compile the kernels that the workloads use, so that no first call holds it."""

from __future__ import annotations

from pipelines.benchmark.children import answer


def main() -> None:
    """Warm up; print the seconds it took."""
    from actors.simulation.warm_up import PARTS, warm_up

    answer({"seconds": warm_up([name for name in PARTS if name != "trajectories"])})


if __name__ == "__main__":
    main()
