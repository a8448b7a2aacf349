"""``qfleet benchmark``: measurements of this machine that anyone can repeat.

`overhead` measures what orchestration adds to a training step, `engine` how fast circuits run, beside other simulators where they are
installed. Importing the package costs nothing: peers are run by interpreters that may have numpy and one simulator only.
"""
