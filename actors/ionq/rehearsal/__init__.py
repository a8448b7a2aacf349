"""Rehearsal: the whole paid path against the emulator, in a time that both share and that passes only while everybody waits.

| module | holds |
|---|---|
| `virtual_time` | the shared time: one participant works at a time, the others wait their turn |
| `dispatcher` | `SerialDispatcher` whose jobs take turns |
| `client` | `IonQClient` that does not ask what cannot have changed |
| `stage` | the emulator, its clock and the sessions of one rehearsal, put together |
"""

from actors.ionq.rehearsal.dispatcher import RehearsalDispatcher
from actors.ionq.rehearsal.stage import Stage
from actors.ionq.rehearsal.virtual_time import VirtualTime

__all__ = ["RehearsalDispatcher", "Stage", "VirtualTime"]
