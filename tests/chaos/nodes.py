"""A Ray cluster of several nodes on this machine, whose nodes can be killed, added, sent away, and all of it restarted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ray.cluster_utils import Cluster

QUICK_TO_NOTICE = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
"""A dead node is noticed in 3 s, where Ray by itself takes 15 s."""
ACTOR = b"ray::ActorProcess"
BOOK = b"ray::BookProcess"


class Nodes:
    """A head that runs nothing but what belongs to drivers, and nodes with `n_cpus` CPUs each; each is a raylet of its own.

    Attributes:
        address: where drivers connect, the same after a restart.
    """

    def __init__(self, n_nodes: int = 2, n_cpus: int = 2) -> None:
        self._n_nodes, self._n_cpus = n_nodes, n_cpus
        self._cluster = self._started()
        self.address = self._cluster.address

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cluster.shutdown()

    def pids(self, title: bytes) -> list[int]:
        """Processes of the cluster with this title, oldest first."""
        return sorted(pid for node in self._all() for pid in _children(node, title))

    def add(self) -> None:
        """A new node joins; returns when the cluster knows it."""
        self._cluster.add_node(num_cpus=self._n_cpus)

    @property
    def n_nodes(self) -> int:
        """Without the head."""
        return len(self._cluster.worker_nodes)

    def remove(self) -> None:
        """One goes, whatever it does."""
        self._cluster.remove_node(next(iter(self._cluster.worker_nodes)), allow_graceful=False)

    def kill(self) -> bool:
        """SIGKILL all processes of a node that has an actor; False if no node has one."""
        return self._remove(gracefully=False)

    def send_away(self) -> bool:
        """SIGTERM a node that has an actor; False if no node has one."""
        return self._remove(gracefully=True)

    def kill_all(self) -> None:
        """SIGKILL the head and every node."""
        for node in self._all():
            for pid in _children(node):
                _kill(pid)
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)

    def restart(self) -> None:
        """A new cluster at the old address, which knows nothing of the old one."""
        self._cluster = self._started(int(self.address.rpartition(":")[2]))

    def heal(self) -> None:
        """As many nodes as in the beginning, and a cluster at all, which a test that failed may have left dead."""
        if "raylet" not in self._cluster.head_node.all_processes:
            self.restart()
        while self.n_nodes < self._n_nodes:
            self.add()
        while self.n_nodes > self._n_nodes:
            self.remove()

    def _started(self, port: int | None = None) -> Cluster:
        head: dict[str, Any] = {
            "num_cpus": 0,
            "include_dashboard": False,
            "_system_config": QUICK_TO_NOTICE,
        }
        cluster = Cluster(
            initialize_head=True, head_node_args=head | ({} if port is None else {"gcs_server_port": port})
        )
        for _ in range(self._n_nodes):
            cluster.add_node(num_cpus=self._n_cpus, wait=False)
        cluster.wait_for_nodes()
        return cluster

    def _all(self) -> list[Any]:
        head = self._cluster.head_node
        return [*([] if head is None else [head]), *self._cluster.worker_nodes]

    def _remove(self, *, gracefully: bool) -> bool:
        for node in sorted(self._cluster.worker_nodes, key=_raylet):
            if _children(node, ACTOR):
                self._cluster.remove_node(node, allow_graceful=gracefully)
                return True
        return False


def _raylet(node: Any) -> int:
    """Process id of a node's raylet, the parent of its workers."""
    return int(node.all_processes["raylet"][0].process.pid)


def _children(node: Any, title: bytes = b"") -> list[int]:
    raylet = _raylet(node)
    return [pid for pid, parent in _parents() if parent == raylet and _title(pid).startswith(title)]


def _parents() -> Iterator[tuple[int, int]]:
    """(process id, its parent's) of all processes."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            yield int(entry.name), int(fields[1])


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Any, seconds: float, pause: float = 0.01) -> bool:
    """Whether `condition` came true within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True
