"""Badges of staff and agents who refuse the face: whose a code is that somebody shows at the desk."""

import hmac
from pathlib import Path

from edge.minted import SALT_BYTES
from edge.people.vault import Vault
from edge.recognition.roster import Member, Roster
from sync.format.signing import commitment
from sync.node.ledger import Ledger


def badge_of(folder: Path, ledger: Ledger, vault: Vault, text: str) -> Member | None:
    """Whose badge this is, None where it is nobody's who was enrolled without a face and approved; folder: HOME.

    Neither the row that holds the code nor the record that commits to it is enough: they must agree.
    """
    shown = text.strip().encode()
    for member in Roster(folder, ledger).members().values():
        label = vault.enrolled.label(member.person_id) if member.code and not member.faces else None
        if label is None:
            continue
        salt, code = label[:SALT_BYTES], label[SALT_BYTES:]
        if hmac.compare_digest(code, shown) and commitment(salt, code).hex() == member.code:
            return member
    return None
