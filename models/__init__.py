"""Everything that touches a neural network: packs, their installation, and the adapters that run them."""

import os

# ONNX Runtime reports its use to its maker unless told not to before it is first imported (1.29 and later, Linux).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


class ModelsError(Exception):
    """Bad input to this package; the message is one line that names the file, key or pack at fault."""
