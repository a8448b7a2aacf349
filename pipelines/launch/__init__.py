"""``qfleet submit`` and ``qfleet jobs``: qfleet's commands as jobs of a Ray cluster, from any machine that reaches its head.

::

    command line ─► request.py ─► JobRequest ─► cluster ─► start.py on the head: compare versions, run the command
                    (pure: what is sent,            ▲
                     under which id)                └── follow.py: its log and its end, whoever submitted it
"""
