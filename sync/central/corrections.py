"""Head office's own word on a correction that an office asks for: a notice to its node, under central's notice key."""

import time
from pathlib import Path
from typing import Literal, TypeAlias

from sync import SyncError
from sync.central.keys import load_key, load_public
from sync.central.store.location import open_store
from sync.format.accounts import Account
from sync.format.messages import Notice
from sync.format.notices import AccountWord, BadBody, read_order
from sync.format.source import Verdict

Fault: TypeAlias = Literal["missing", "own_office", "already", "odd"]


class NotAnswered(SyncError):
    """A word that was not given; `fault` is the code the page shows."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"correction: {fault}")
        self.fault = fault


def answer(directory: Path, node_id: str, proposal: str, verdict: Verdict, account: Account) -> None:
    """Give head office's word on a correction, named by its record's hash in hex; the first word stands.

    The same word by the same account again changes nothing. Raises NotAnswered.
    """
    with open_store(directory) as store:
        asked = store.correction(node_id, proposal)
        if asked is None:
            raise NotAnswered("missing")
        if not account.office or account.office in (asked.site_id, asked.office):
            raise NotAnswered("own_office")
        said = AccountWord(account.account_id, account.office, asked.visit_id, proposal, verdict)
        try:
            read_order(said.KIND, said.fields())
        except BadBody as error:  # a visit's name that no node of ours gives
            raise NotAnswered("odd") from error
        key = load_key(directory, "notice", load_public(directory))
        notice = store.answer_correction(
            node_id,
            proposal,
            verdict,
            account.account_id,
            lambda nseq, prev_hash: Notice.seal(node_id, nseq, prev_hash, said.KIND, said.fields(), key),
            time.time_ns() // 1000,
        )
        if notice is None:
            given = store.correction(node_id, proposal)
            word = given.answer if given is not None else None
            if word is None or (word.verdict, word.account_id) != (verdict, account.account_id):
                raise NotAnswered("already")
