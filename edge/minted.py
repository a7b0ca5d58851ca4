"""What is drawn at random for records, forms and badges: ids that say nothing of whom they name, salts, codes."""

import base64
import re
import secrets
from typing import Literal, TypeAlias

SALT_BYTES = 32
Prefix: TypeAlias = Literal["v", "p", "g", "c"]
"""v: a visit. p: a person. g: a party. c: a contact, who owns a phone."""


def new_id(prefix: Prefix) -> str:
    """A random id as records carry it: 80 bits behind its prefix."""
    return f"{prefix}-{secrets.token_hex(10)}"


def new_salt() -> bytes:
    """32 bytes under which a record commits to a value."""
    return secrets.token_bytes(SALT_BYTES)


def new_badge() -> str:
    """A badge's code, 80 bits behind its prefix, in capital letters and digits as scanners and QR codes like them."""
    return "FVB1" + base64.b32encode(secrets.token_bytes(10)).decode()


def is_badge(text: str) -> bool:
    """Whether a text has the form of `new_badge`: no word that somebody thought of, and no code that central signs."""
    return re.fullmatch("FVB1[A-Z2-7]{16}", text) is not None


def new_request() -> str:
    """The id of a form that is shown now: sent twice, it records once."""
    return secrets.token_hex(16)
