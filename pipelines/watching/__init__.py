"""How a run is watched from outside: its live status as a file, its log as JSON lines, its figures as Ray's metrics."""
