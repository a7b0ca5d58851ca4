"""What is drawn at random for records and forms: ids that say nothing of whom they name, and salts of commitments."""

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


def new_request() -> str:
    """The id of a form that is shown now: sent twice, it records once."""
    return secrets.token_hex(16)
