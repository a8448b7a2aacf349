"""What a fleet that several runs share knows and decides: pure state, no processes, no clocks. Its Ray side: `actors.ray_fleet.shared`.

::

    client A ─submit─┐            ┌─► Flights: one flight for each distinct job, with all who wait for it ──► the fleet begins it
    client B ─submit─┼──► Desk ───┤                                                                             │
    client C ─submit─┘            └─► AnswerCache: what was answered lately, within a bound of bytes ◄──────────┘
                          │
                          └──► one Outbox for each client: answers, in parcels that are kept until they are acknowledged
"""
