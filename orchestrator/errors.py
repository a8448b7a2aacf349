"""Every deliberate exception of qfleet.

Each class hands all of its arguments to ``super().__init__``, so it pickles and crosses process borders whole. `exit_code`
is what the command line returns: 2 for bad input (refused before anything starts), 1 for a failure.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from orchestrator.redaction import redact_uri


def nearest(value: object, choices: Iterable[str]) -> str | None:
    """The valid choice most like `value`, or None when nothing is close."""
    by_lower = {choice.lower(): choice for choice in choices}
    matches = difflib.get_close_matches(str(value).lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[matches[0]] if matches else None


class QfleetError(Exception):
    """Base of every error that qfleet raises on purpose; its text says what to do."""

    exit_code = 1


class InputError(QfleetError):
    """What the user gave cannot work; nothing has been started."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration key or value is refused."""

    def __init__(self, key: str, value: object, problem: str, suggestion: str | None = None) -> None:
        super().__init__(key, value, problem, suggestion)
        self.key = key
        self.value = value
        self.problem = problem
        self.suggestion = suggestion

    def __str__(self) -> str:
        hint = f"; did you mean {self.suggestion!r}?" if self.suggestion else ""
        shown = redact_uri(repr(self.value))  # a tracking URI may hold a password
        return f"{self.key} = {shown}: {self.problem}{hint}"


class UnknownNameError(InputError):
    """A name is in no registry (and is not a ``module:attribute`` path either)."""

    def __init__(self, kind: str, name: str, choices: tuple[str, ...]) -> None:
        super().__init__(kind, name, choices)
        self.kind = kind
        self.name = name
        self.choices = choices

    def __str__(self) -> str:
        close = nearest(self.name, self.choices)
        hint = f"did you mean {close!r}? " if close else ""
        return f"unknown {self.kind} {self.name!r}; {hint}known: {', '.join(self.choices)}, or 'module:attribute'"


class MissingExtraError(InputError, ImportError):
    """An optional package is not installed.

    Args:
        package: as it is imported. extra: that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(package, extra)
        self.package = package
        self.extra = extra

    def __str__(self) -> str:
        return f"{self.package} is not installed here; it comes with, in qfleet's checkout: pip install '.[{self.extra}]'"


class DataError(InputError):
    """A data set is refused; the text names the file, row or column."""


class CircuitError(InputError):
    """A circuit, observable or angle expression is refused."""


class CapabilityError(InputError):
    """The chosen backend cannot do what the run asks of it."""


class CheckpointError(QfleetError):
    """No checkpoint could be read, or one could not be written."""


class StorageError(QfleetError):
    """The disk takes no more of what a run writes."""


class ExecutionError(QfleetError):
    """A backend answered with a failure, or with something that is not a result."""


class UnanswerableJobError(QfleetError):
    """One job will not be answered, however often it is tried; others may be."""


class BudgetError(QfleetError):
    """A job would cost more than is left under the cap; it was not sent, and nothing was reserved for it.

    Args:
        cap, spent, reserved, asked: micro-dollars (1e-6 USD); `reserved` is for jobs that are out.
    """

    def __init__(self, cap: int, spent: int, reserved: int, asked: int) -> None:
        super().__init__(cap, spent, reserved, asked)
        self.cap = cap
        self.spent = spent
        self.reserved = reserved
        self.asked = asked

    def __str__(self) -> str:
        cap, spent, reserved, asked, left = (
            f"{micro / 1e6:,.6f}".rstrip("0").rstrip(".")
            for micro in (
                self.cap,
                self.spent,
                self.reserved,
                self.asked,
                self.cap - self.spent - self.reserved,
            )
        )
        return (
            f"a job of ${asked} would go beyond the cap of ${cap} (the lower of --yes-spend and budget.max_usd); ${spent} are spent, "
            f"${reserved} reserved for jobs in flight, ${left} left"
        )


class NotRecordedError(QfleetError):
    """A replay has come to circuits that were never run: its record ends here.

    Args:
        run: name of the recorded run.
        n_missing: circuits that are not recorded; n_asked: of so many. n_short: of the missing, those recorded with too few shots.
        target, micro_dollars: what running them would cost there, in 1e-6 USD.
    """

    def __init__(
        self, run: str, n_missing: int, n_asked: int, n_short: int, target: str, micro_dollars: int
    ) -> None:
        super().__init__(run, n_missing, n_asked, n_short, target, micro_dollars)
        self.run = run
        self.n_missing = n_missing
        self.n_asked = n_asked
        self.n_short = n_short
        self.target = target
        self.micro_dollars = micro_dollars

    def __str__(self) -> str:
        short = f" ({self.n_short:,} with too few shots)" if self.n_short else ""
        price = f"{self.micro_dollars / 1e6:,.6f}".rstrip("0").rstrip(".")
        return (
            f"{self.n_missing:,} of the {self.n_asked:,} circuits asked for next are not in the record of {self.run}{short}; "
            f"on {self.target} they would cost ${price}"
        )


class FleetError(QfleetError):
    """The fleet could not be started or lost every actor."""


class ClusterError(FleetError):
    """A cluster's jobs API cannot be reached, refuses us, or answers with what is none of its answers."""


class SubmittedJobError(QfleetError):
    """A job on a cluster ended otherwise than well.

    Args:
        message: how it ended, and how it can go on.
        exit_code: that of its driver, which this machine's command returns too.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message, exit_code)
        self.message = message
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.message


class TrackingError(QfleetError):
    """The tracking server refused something that waiting will not mend."""
