"""Everything that touches a neural network: packs, their installation, and the adapters that run them."""


class ModelsError(Exception):
    """Bad input to this package; the message is one line that names the file, key or pack at fault."""
