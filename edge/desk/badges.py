"""Badges of staff and agents who refuse the face: whose a code is that somebody shows at the desk."""

import hmac
from pathlib import Path

from edge.minted import is_badge
from edge.people.vault import Vault
from edge.recognition.roster import Member, Roster
from sync.node.ledger import Ledger


def badge_of(folder: Path, ledger: Ledger, vault: Vault, text: str) -> Member | None:
    """Whose badge this is, None where it is nobody's who was enrolled without a face and approved; folder: HOME.

    Only a code that was drawn here counts: a word that somebody typed once could be guessed, or be a customer's code.
    """
    shown = text.strip()
    if not is_badge(shown):
        return None
    for member in Roster(folder, ledger).members().values():
        code = member.badge(vault)
        if code is not None and hmac.compare_digest(code.encode(), shown.encode()):
            return member
    return None
