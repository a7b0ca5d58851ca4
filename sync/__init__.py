"""Records, acks and trust: the protocol, both ends. Imports nothing else of FirstVisit."""


class SyncError(Exception):
    """What this package refuses; its text is one line that names what is wrong."""
