"""What a stream has taught and what was forgotten, from scores by chunk and task.

Average accuracy and forgetting as in A. Chaudhry et al., "Riemannian walk for incremental learning", ECCV 2018 (arXiv 1801.10112). Of
regression the score is minus the root mean squared error, so that higher is better there, too.
"""

from __future__ import annotations

import numpy as np


def average_score(scores: np.ndarray) -> float:
    """Mean over the tasks seen so far of the last row of scores [C, T]; NaN where a task has not been seen."""
    return float(np.nanmean(scores[-1]))


def forgetting(scores: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """float64 [T - 1]: for each task but the last, its best score after any earlier task less its score at the end.

    Args:
        scores: [C, T], after each chunk; NaN where a task has not been seen. ends: int [T], the last chunk of each task.
    """
    after = scores[ends]
    n_tasks = after.shape[1]
    return np.array([after[task : n_tasks - 1, task].max() - after[-1, task] for task in range(n_tasks - 1)])


def by_row(merits: list[np.ndarray], rows: list[np.ndarray]) -> np.ndarray:
    """float64 [R]: what each test row adds to the average score over tasks, so that its mean over rows is the average of the tasks' means.

    A row that several tasks test on counts once, for all of them: its answers are not independent.

    Args:
        merits: [S_t] of each task. rows: their numbers.
    """
    distinct = np.unique(np.concatenate(rows))
    total = np.zeros(len(distinct))
    for own, numbers in zip(merits, rows, strict=True):
        np.add.at(total, np.searchsorted(distinct, numbers), own * (len(distinct) / (len(merits) * len(own))))
    return total
