"""The assignment of least total cost (Kuhn 1955; shortest augmenting paths as in Jonker and Volgenant 1987).

scipy has it too, at 40 MB and 0.4 s of start-up for this one function; a picture holds a dozen faces at most.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def assigned(cost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return (row, column) pairs, rows ascending: of cost (R, C) each row or each column once, at least total cost."""
    rows, columns = cost.shape
    if rows > columns:
        return sorted((row, column) for column, row in assigned(cost.T))
    matrix = cost.tolist()
    of_row, of_column = [0.0] * rows, [0.0] * (columns + 1)  # the dual prices; the last column is a row's start
    taken = [-1] * (columns + 1)  # which row has this column
    for row in range(rows):
        taken[columns] = row
        here = columns
        least, before, visited = [math.inf] * columns, [columns] * columns, [False] * (columns + 1)
        while taken[here] >= 0:
            visited[here] = True
            owner = taken[here]
            step, nearest = math.inf, -1
            for column in range(columns):
                if visited[column]:
                    continue
                reduced = matrix[owner][column] - of_row[owner] - of_column[column]
                if reduced < least[column]:
                    least[column], before[column] = reduced, here
                if least[column] < step:
                    step, nearest = least[column], column
            for column in range(columns + 1):
                if visited[column]:
                    of_row[taken[column]] += step
                    of_column[column] -= step
                elif column < columns:
                    least[column] -= step
            here = nearest
        while here != columns:  # everybody on the path moves on by one
            taken[here] = taken[before[here]]
            here = before[here]
    return sorted((taken[column], column) for column in range(columns) if taken[column] >= 0)
