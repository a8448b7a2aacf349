"""Plans as data: what to evaluate, how it is cut into jobs, how the answers are put together."""
