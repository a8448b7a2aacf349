"""What a submitted job runs: ``python -m pipelines.launch.start COMMAND ...``.

The code came with the job, the packages under it are the cluster's: where those differ from the ones of the machine that submitted, the
log says so first, since the same seed gives the same bits with the same versions only.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import sys
from collections.abc import Mapping

from actors.cluster_jobs import VERSIONS_KEY
from pipelines.tracking.provenance import versions


@functools.cache
def own_versions() -> dict[str, str]:
    """Python's and the packages' versions of this installation."""
    return {"python": platform.python_version(), **versions()}


def differences(theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """One text for each package whose version differs, e.g. ``"numpy 2.4.6 here, 2.3.1 where it was submitted"``.

    Of Python itself the last figure does not count.
    """
    found = []
    for name, their in theirs.items():
        own = ours.get(name, "missing")
        same = own.rpartition(".")[0] == their.rpartition(".")[0] if name == "python" else own == their
        if not same:
            found.append(f"{name} {own} here, {their} where it was submitted")
    return found


def submitted_versions(environment: Mapping[str, str]) -> dict[str, str]:
    """The versions that the submitting machine sent along; empty where none were."""
    try:
        metadata = json.loads(environment["RAY_JOB_CONFIG_JSON_ENV_VAR"])["metadata"]
        return {str(name): str(version) for name, version in json.loads(metadata[VERSIONS_KEY]).items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def main(arguments: list[str]) -> int:
    """Compare, then run the command; the return value is its exit code."""
    from pipelines import cli

    if different := differences(submitted_versions(os.environ), own_versions()):
        print(
            f"qfleet: other versions than on the machine that submitted this job: {'; '.join(different)}. "
            "Its results may differ from there in the last digits; equal pins (constraints.txt) on both make them equal",
            file=sys.stderr,
            flush=True,
        )
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
