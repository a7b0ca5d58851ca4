"""The commands of `firstvisit`, a module a group; each imports what it needs when it runs."""
