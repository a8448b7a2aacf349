"""Mitigated: a backend whose answers are freed, in part, of the errors of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from actors.mitigation.extrapolation import weights
from actors.mitigation.settings import Mitigation
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import ConfigError
from orchestrator.protocols import Backend

if TYPE_CHECKING:
    from actors.mitigation.session import MitigatedSession


class Mitigated:
    """`inner` with error mitigation; otherwise it is as `inner` is.

    Args:
        inner: where circuits run.
        mitigation: what is done.
        seed: of the run; with it the shots of the calibration.

    Attributes:
        name: that of `inner`.
        capabilities: those of `inner`, but that an extrapolated value is differentiated by parameter shift alone, and has more variance.
    """

    def __init__(self, inner: Backend, mitigation: Mitigation, seed: int = 0) -> None:
        self.inner, self.mitigation, self.seed = inner, mitigation, seed
        can = inner.capabilities
        self.name = inner.name
        self.capabilities = can
        if mitigation.extrapolates:
            squares = weights(mitigation.noise_scales, mitigation.extrapolation) ** 2
            factor = can.variance_factor * float(squares.sum())
            self.capabilities = replace(can, has_jacobian=False, variance_factor=factor)

    @property
    def book(self) -> Any:
        """The run's book of `inner`, where it keeps one."""
        return getattr(self.inner, "book", None)

    def preflight(self, shots: int | None) -> None:
        """Refuse what `inner` refuses, and shots of the calibration that it does not take.

        Raises:
            ConfigError: the text says what to set.
        """
        preflight: Callable[[int | None], None] | None = getattr(self.inner, "preflight", None)
        if preflight is None:
            return
        preflight(shots)
        if self.mitigation.readout and shots is not None:
            try:
                preflight(self.mitigation.calibration_shots)
            except ConfigError as error:
                key = "backend.calibration_shots"
                raise ConfigError(key, error.value, error.problem, error.suggestion) from None

    def warm_up(
        self, circuit: MeasuredCircuit, shots: int | None = None, report: Callable[[str], None] | None = None
    ) -> float:
        """Let `inner` prepare this machine, where it can; returns the seconds it took."""
        warm_up: Callable[..., float] | None = getattr(self.inner, "warm_up", None)
        return 0.0 if warm_up is None else warm_up(circuit, shots, report)

    def open_session(self) -> MitigatedSession:
        """A session around one of `inner`."""
        from actors.mitigation.session import MitigatedSession

        return MitigatedSession(self)
