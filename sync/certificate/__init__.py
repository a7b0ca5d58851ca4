"""One visit and what proves it: gathered, judged, compared with another, and written small enough for a code."""
