"""A cluster of several nodes under a training: a node dies, one joins, the head and all with it is restarted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.nodes import ACTOR, Nodes, wait_until
from tests.chaos.schedules import schedule
from tests.chaos.stage import Stage
from tests.chaos.workloads import FREE, Workload

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]

SAME = ("params_sha256", "metrics", "circuits", "shots", "cost_usd")
Calm = Callable[[Workload], dict[str, Any]]


def play(
    folder: Path, nodes: Nodes, environment: dict[str, str], calm: Calm, seed: int, *kinds: str
) -> Stage:
    nodes.heal()
    one = schedule(seed, kinds)
    stage = Stage(folder, nodes, one, environment)
    outcome, undisturbed = stage.play(), calm(one.workload)
    assert {key: outcome[key] for key in SAME} == {key: undisturbed[key] for key in SAME}
    assert stage.figures.struck.total() == len(kinds)
    return stage


def test_a_lost_node_costs_no_bit_and_one_that_joins_is_used(
    tmp_path: Path, nodes: Nodes, environment: dict[str, str], calm: Calm
) -> None:
    """Both actors are on the one node there is; the one that joins afterwards gets new ones, and the driver goes on by itself."""
    while nodes.n_nodes > 1:
        nodes.remove()
    stage = Stage(tmp_path, nodes, schedule(0, ["swap"]), environment)
    outcome = stage.play()
    assert {key: outcome[key] for key in SAME} == {key: calm(FREE)[key] for key in SAME}
    assert stage.figures.n_drivers == 1
    assert stage.figures.n_actors_lost >= 2, (
        "those that are asked for before Ray has missed the node are lost with it"
    )


@pytest.mark.chaos
@pytest.mark.parametrize("seed", [0, 1])
def test_a_lost_head_is_a_clean_stop_and_a_new_cluster_goes_on(
    tmp_path: Path, nodes: Nodes, environment: dict[str, str], calm: Calm, seed: int
) -> None:
    """With the head goes, on the paid path, the process of the book; the driver stops in time, and nothing is paid twice."""
    stage = play(tmp_path, nodes, environment, calm, seed, "head")
    assert (stage.figures.n_drivers, stage.figures.n_clean_stops) == (2, 1)
    assert wait_until(lambda: not nodes.pids(ACTOR), 30.0), "actors outlive their driver"
