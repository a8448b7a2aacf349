"""Other simulators on the same problems, one file each; none is a dependency. Each is run by `run`, in a process of its own."""
