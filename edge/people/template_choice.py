"""Which of a person's templates are worth keeping: the few that differ most."""

import numpy as np
from numpy.typing import NDArray

# Each template is one more chance for a stranger to be taken for its person, and each visit would leave one more.
MOST_TEMPLATES = 8


def redundant(vectors: NDArray[np.float32], most: int = MOST_TEMPLATES) -> list[int]:
    """Return the rows of vectors (N, D), oldest first, norm 1, to drop so that `most` are left.

    Of the two most similar the older goes, again and again: what the pair tells is still told, and lives longest.
    """
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -np.inf)
    dropped: list[int] = []
    while len(vectors) - len(dropped) > most:
        row = min(int(index) for index in np.unravel_index(int(similarities.argmax()), similarities.shape))
        similarities[row, :] = similarities[:, row] = -np.inf
        dropped.append(row)
    return dropped
