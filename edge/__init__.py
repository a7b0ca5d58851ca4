"""The node: decides who is here for the first time and writes it down."""


class EdgeError(Exception):
    """What this package refuses; its text is one line that names what is wrong."""
