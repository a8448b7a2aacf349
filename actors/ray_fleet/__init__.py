"""RayFleet: the dispatcher over Ray actors. This room, with the book's and the tasks' actors, is the only one that imports ray.

::

    run(jobs) ─► Scheduler ─assignments─► actor.run.remote(job) ─┐
        ▲           ▲                                            │ ray.wait, always with a timeout
        └─ results ─┴─ job_done, job_failed, worker_lost ◄───────┘

Ray restarts no actor and repeats no call here (max_restarts = max_task_retries = 0): when it does, whether a job ran is unknown and
the actor's state is gone behind the driver's back. A dead actor is replaced by a new one, and its jobs are redone by the others
meanwhile; a job is content, so doing one twice gives the same bits. The loop is synchronous, so it works where an event loop
is running already (notebooks).

`fleet` is that loop; `roster` the actors, from being asked for to being gone; `process` an actor's process and the calls to it;
`resources` what an actor needs of a cluster, `versions` what it must have in common with the driver, `circuits` who knows which circuit,
`accounts` what has been done and what has happened.
"""

from __future__ import annotations

from actors.ray_fleet.fleet import RayFleet

__all__ = ["RayFleet"]
