"""IonQ's cloud on this machine: a server on 127.0.0.1 that speaks API v0.4, simulates, bills, queues, and fails on demand.

    POST /jobs ─api─► submission (body, circuits) ─► service ─► machine (simulation, gates) ─► probabilities as JSON
                                                      │ jobs: status by the clock
                                                      └ ledger: accepted, duplicates, dollars

| module | holds |
|---|---|
| `settings` | how an emulator behaves |
| `server`, `api` | uvicorn in a thread; routes, authorization, rate limit, latency, faults |
| `service`, `documents` | what each call does; the documents it answers with |
| `submission`, `body`, `circuits`, `targets`, `refusal` | reading and checking a job, and saying no |
| `gates`, `native`, `simulation`, `machine` | IonQ's gates, native ones under noise, simulation by the project's engine, shots |
| `jobs`, `clock`, `ledger` | what becomes of a job; time and rate limit; what was accepted and billed |
| `timing`, `schedule` | how long jobs wait and run; what a machine runs when |
| `faults` | the seeded plan of what goes wrong |

It is independent of the rest of ``actors/ionq``, which is proved against it; both count and price with ``orchestrator.costs``.
"""

from actors.ionq.emulator.clock import RealClock, VirtualClock
from actors.ionq.emulator.faults import Fault, FaultPlan
from actors.ionq.emulator.server import Emulator
from actors.ionq.emulator.settings import EmulatorSettings

__all__ = ["Emulator", "EmulatorSettings", "Fault", "FaultPlan", "RealClock", "VirtualClock"]
