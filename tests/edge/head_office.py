"""A central that a HOME has joined, which confirms the accounts of head office by real notices, without a broker."""

import time
from contextlib import closing
from pathlib import Path

from edge.clock import Clock
from edge.home import Home
from edge.kiosk.sign_in import records_of
from sync.central.enrol import enrol
from sync.central.ingest import Arrived, Ingest
from sync.central.keys import load_serving_keys
from sync.central.notices import order
from sync.central.store.location import open_store
from sync.format.accounts import Account, AccountChange
from sync.format.notices import AccountSet, Order
from sync.format.wire import encode_frame
from sync.node.trust import Trust, join
from sync.storage.database import connect
from tests.sync.uplink_site import Central


class HeadOffice:
    """Central's side of one HOME."""

    def __init__(self, home: Home, directory: Path) -> None:
        """directory: to be made, for central."""
        self.home, self.directory = home, Central(directory).directory
        self.node_id = home.settings().node.id
        enrol(self.directory, home.node_pub)
        join(home.path, self.directory / "central.pub")

    def order(self, said: Order) -> None:
        """Say something to the node, which hears it."""
        order(self.directory, self.node_id, said)
        self.tell()

    def confirm(self, *accounts: Account) -> None:
        """Confirm accounts as the node's records have them; what has no record yet, or no account, gets one."""
        records_of(self.home).find()
        for one in accounts:
            at = self._told(one.account_id)
            if at is None:
                with records_of(self.home).changing() as change:
                    change.accounts.append(AccountChange(one.account_id, "made", one.role, one.office))
                at = self._told(one.account_id)
            self.order(AccountSet(one.account_id, True, one.role, one.office, at))

    def hear(self) -> None:
        """Take what the node has recorded, as from its uplink."""
        with open_store(self.directory) as store, closing(self.home.open_ledger()) as ledger:
            ingest, now_us = Ingest(store, load_serving_keys(self.directory)), time.time_ns() // 1000
            head = store.head(self.node_id)
            sent = (head.epoch, head.seq) if head is not None else (0, 0)
            while frame := ledger.next_frame(sent):
                sent, records = frame
                ingest.take(ingest.read([Arrived(self.node_id, encode_frame(records))]), now_us)

    def tell(self) -> None:
        """The node hears everything it was told."""
        trust = Trust(self.home.path)
        with closing(self.home.open_ledger("node", Clock())) as ledger, open_store(self.directory) as store:
            for row in store.notices(self.node_id, trust.last_nseq()):
                trust.apply(row.data, ledger, self.node_id, time.time_ns() // 1000)

    def _told(self, account_id: str) -> tuple[int, int] | None:
        with closing(connect(self.home.database)) as connection:
            found = connection.execute(
                "SELECT epoch, seq FROM account_records WHERE account_id = ?", (account_id,)
            ).fetchone()
        return found if found is None else (found[0], found[1])
