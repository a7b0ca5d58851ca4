"""What the chain says of who may sign in at a node: ids, roles and offices, never a name or what they sign in with.

An `access.digest` with `accounts` or `tablets` tells of it, in the transaction that changes them.
"""

import re
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

from sync.format.canonical import Fields
from sync.format.visit_fields import text_of

KIND = "access.digest"
Act: TypeAlias = Literal["made", "found", "password", "pin", "pin_taken", "removed"]
"""found: it was there and nothing in the chain said so: made by an older version, restored from a backup."""
ACCOUNT_ID = re.compile(r"[a-z]{1,8}-[0-9a-f]{16,64}")
CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""A role or an office."""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may sign in; only `account_id` ever enters a record.

    office: the site they belong to, or another code such as head_office; empty where the application knows none.
    """

    account_id: str
    name: str
    role: str
    office: str = ""


@dataclass(frozen=True, slots=True)
class AccountChange:
    """An account as it is once `act` is done; office: empty where the application knows none."""

    account_id: str
    act: str
    role: str
    office: str = ""

    def fields(self) -> Fields:
        said = {"account": self.account_id, "act": self.act, "role": self.role, "office": self.office}
        return {name: value for name, value in said.items() if value}

    @classmethod
    def read(cls, fields: object) -> Self | None:
        """None where it is none: a later version may say anything."""
        if not isinstance(fields, dict):
            return None
        account_id, act, role = (text_of(fields, name) or "" for name in ("account", "act", "role"))
        office = text_of(fields, "office") or ""
        odd = not ACCOUNT_ID.fullmatch(account_id) or not CODE.fullmatch(act) or not CODE.fullmatch(role)
        return None if odd or (office and not CODE.fullmatch(office)) else cls(account_id, act, role, office)


@dataclass(frozen=True, slots=True)
class TabletChange:
    """A device on which a PIN is enough from now on, or no longer; account_id: who said so.

    display: a screen for everybody, with one page and no PIN.
    """

    tablet_id: str
    act: Literal["registered", "display", "revoked"]
    account_id: str

    def fields(self) -> Fields:
        return {"tablet": self.tablet_id, "act": self.act, "account": self.account_id}


def changes_of(kind: str, fields: Fields) -> list[AccountChange]:
    """What a record says of accounts; nothing where it says nothing of any."""
    listed = fields.get("accounts") if kind == KIND else None
    read = (AccountChange.read(one) for one in listed) if isinstance(listed, list) else ()
    return [one for one in read if one is not None]
