"""``qfleet tune``: hyperparameter search over any keys of the configuration, within a budget of circuits or dollars.

What to try next, and whether to go on with it, is decided in `search`, `sampling` and `rungs`, without processes or clocks. `serial` tries
things out in this process, `side_by_side` on a Ray cluster; `command` reads the command line. See docs/tune.md.
"""
