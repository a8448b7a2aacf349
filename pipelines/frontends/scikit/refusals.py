"""What the estimators refuse, as scikit-learn's users expect it: every one of these is a ValueError, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from orchestrator.errors import ConfigError, DataError, UnknownNameError


class ParameterError(ConfigError, ValueError):
    """A parameter of an estimator is refused; `key` is its name, as `get_params` has it."""


class SampleError(DataError, ValueError):
    """Rows, labels or targets are refused."""


@contextmanager
def in_terms_of(names: Mapping[str, str]) -> Iterator[None]:
    """Let what the block refuses name the estimator's parameters.

    Args:
        names: parameter by key of the configuration; other keys are those of ``options``.
    """
    try:
        yield
    except (ParameterError, SampleError):
        raise
    except ConfigError as error:
        key = names.get(error.key) or _in_a_mapping(error.key)
        problem = error.problem
        for dotted, name in names.items():
            problem = problem.replace(dotted, name)
        raise ParameterError(key, error.value, problem, error.suggestion) from error
    except UnknownNameError as error:
        raise ParameterError(error.kind.replace(" ", "_"), error.name, str(error)) from error
    except DataError as error:
        raise SampleError(str(error)) from error


def _in_a_mapping(key: str) -> str:
    """A key that is no parameter by itself, as it stands in ``backend``, ``fleet`` or ``options``."""
    section, dot, name = key.partition(".")
    if not dot:
        return key
    return f"{section}[{name!r}]" if section in ("backend", "fleet") else f"options[{key!r}]"
