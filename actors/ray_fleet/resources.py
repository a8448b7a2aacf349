"""What an actor needs of a cluster, whether the cluster has it, and the words for what is missing. Pure but for `Cluster`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

Placement = Literal["default", "spread", "pack"]
Amounts = Mapping[str, float]
"""Amounts by the name of the resource, as Ray has them."""

_OWN_OPTIONS = {"GPU": "num_gpus", "memory": "memory"}
"""Resources that Ray takes as options of their own."""
_GIB = 2**30


@dataclass(frozen=True)
class Needs:
    """What one actor reserves.

    Attributes:
        cpus: CPUs.
        resources: others by name; ``GPU``, ``memory`` (bytes), or custom ones such as ``qpu_ionq``.
        placement: Ray's default; spread over the nodes; or packed on as few as hold them.
    """

    cpus: float
    resources: Amounts = field(default_factory=dict)
    placement: Placement = "default"

    @property
    def amounts(self) -> dict[str, float]:
        """All of it."""
        return {"CPU": self.cpus, **self.resources}

    def options(self) -> dict[str, Any]:
        """Options of the actor, for Ray."""
        custom = {name: amount for name, amount in self.resources.items() if name not in _OWN_OPTIONS}
        own = {_OWN_OPTIONS[name]: a for name, a in self.resources.items() if name in _OWN_OPTIONS}
        return {"num_cpus": self.cpus, **own, **({"resources": custom} if custom else {})}

    def __str__(self) -> str:
        return " and ".join(_amount(name, amount) for name, amount in self.amounts.items())


def capacity(needs: Needs, nodes: Sequence[Amounts]) -> int:
    """How many such actors `nodes` hold when nothing else runs there."""
    return sum(_fitting(needs, node) for node in nodes)


def node_for(needs: Needs, nodes: Mapping[str, Amounts], n_there: Counter[str]) -> str | None:
    """Where to put the next actor; None: wherever Ray puts it, as it will where no node has room.

    Packed, they go where most of them are, the largest node at first; spread, where the fewest are. Ray's own SPREAD is a hint: it was
    seen to put two actors on one node beside an empty one.

    Args:
        nodes: what each has in all, by its id. n_there: actors that are there already.
    """
    room = {name: _fitting(needs, has) for name, has in nodes.items()}
    open_ones = [name for name in nodes if n_there[name] < room[name]]
    if needs.placement == "pack":
        return max(open_ones, key=lambda name: (n_there[name], room[name], name), default=None)
    if needs.placement == "spread":
        return min(open_ones, key=lambda name: (n_there[name], -room[name], name), default=None)
    return None


def lack(n_missing: int, needs: Needs, total: Amounts, free: Amounts) -> str:
    """That actors wait, and for what."""
    more = "1 more actor: it" if n_missing == 1 else f"{n_missing} more actors: each"
    has = ", ".join(
        f"{_number(name, free.get(name, 0.0))} of {_amount(name, total.get(name, 0.0))} free"
        for name in needs.amounts
    )
    return f"waiting for {more} needs {needs}; the cluster has {has}"


def refusal(n_actors: int, needs: Needs, nodes: Sequence[Amounts], *, of: str = "fleet.n_actors") -> str:
    """Why so many actors do not fit on these nodes, and what would. `of`: the key that asks for so many."""
    fitting = capacity(needs, nodes)
    total = {name: sum(node.get(name, 0.0) for node in nodes) for name in needs.amounts}
    has = " and ".join(_amount(name, amount) for name, amount in total.items())
    absent = [name for name in needs.amounts if total[name] == 0 and name != "CPU"]
    if fitting:
        way = f"set {of} to at most {fitting}, or let an actor reserve less"
    elif absent:
        way = f"no node has {absent[0]}: start one with it (ray start --resources), or leave it out of fleet.resources_per_actor"
    else:
        way = "no node holds one of them: set fleet.cpus_per_actor or fleet.resources_per_actor to less"
    all_of_them = " and ".join(_amount(name, n_actors * amount) for name, amount in needs.amounts.items())
    return (
        f"{n_actors} actors with {needs} each need {all_of_them}, and this Ray cluster has {has}: {way}; "
        "or set fleet.wait_for_nodes_seconds where an autoscaler adds machines"
    )


class Cluster:
    """The cluster that this process is connected to."""

    def nodes(self) -> dict[str, Amounts]:
        """What each living node has in all, by its id."""
        return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}

    def total(self) -> Amounts:
        """What all nodes have."""
        total: Amounts = ray.cluster_resources()
        return total

    def free(self) -> Amounts:
        """What is free of it."""
        free: Amounts = ray.available_resources()
        return free

    def is_placed(self, handle: Any) -> bool:
        """Whether an actor has been given its place. One that has not waits for resources, or for its process."""
        try:
            from ray._private import state  # nothing public tells before the actor answers; here 0.5 ms

            return bool(state.actors(handle._actor_id.hex()).get("Address", {}).get("Port"))
        except (ImportError, AttributeError):  # a later Ray: then nothing is said of waiting
            return True

    def near(self, node_id: str) -> Any:
        """Strategy that puts an actor on this node, or elsewhere if there is no room."""
        return NodeAffinitySchedulingStrategy(node_id, soft=True, _spill_on_unavailable=True)


def _fitting(needs: Needs, node: Amounts) -> int:
    # 2 / 0.1 must be 20, whatever the rounding
    return min(math.floor(node.get(name, 0.0) / amount + 1e-9) for name, amount in needs.amounts.items())


def _number(name: str, amount: float) -> str:
    return f"{amount / _GIB:.3g}" if name == "memory" else f"{round(amount, 4):g}"


def _amount(name: str, amount: float) -> str:
    if name == "memory":
        return f"{_number(name, amount)} GiB of memory"
    return f"{_number(name, amount)} {name}{'s' if name in ('CPU', 'GPU') and amount != 1 else ''}"
