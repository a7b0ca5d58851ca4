"""`python -m edge` is `firstvisit`."""

from edge.cli import main

main()
