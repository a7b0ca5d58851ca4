"""A sales office whose days pass as fast as a test wants: a HOME with heartbeats, visits, outages and acks."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from edge.clock import Clock, KernelTime
from sync.format.accounts import AccountChange, changes_of
from sync.format.log_proof import LogProof
from sync.format.messages import FIRST_PREV_HASH, Ack, Notice
from sync.format.notices import AccountSet, Order
from sync.format.public_keys import CentralKeys, CentralRole, Enrolment
from sync.format.records import Record
from sync.format.signing import Ed25519Signer
from sync.node.append import Writer
from sync.node.ledger import Ledger
from sync.node.trust import MIGRATIONS as TRUST
from sync.node.trust import Trust
from sync.storage.database import LEDGER_FORMAT, migrate
from sync.web.tables import MIGRATIONS as WEB
from tests.sync.a_log import ALog

START_US = 1_790_000_000_000_000
SECOND_US, HOUR_US, DAY_US = 1_000_000, 3_600_000_000, 86_400_000_000
ALIVE_US = 600 * SECOND_US
_ROLES: tuple[CentralRole, ...] = ("ack", "notice", "checkpoint", "code")


def made_key(name: str) -> Ed25519Signer:
    return Ed25519Signer(SigningKey((name * 32)[:32].encode()))


@dataclass
class ACentral:
    """A central's keys and its log."""

    name: str = "hq"
    replaced: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.log = ALog(self.key("checkpoint"), central_id=self.name)

    def key(self, role: str) -> Ed25519Signer:
        made = self.replaced.count(role)
        return made_key(f"{self.name}-{role}{made or ''}")

    def keys(self) -> CentralKeys:
        return CentralKeys(self.name, self.key("root").public, {role: self.key(role).public for role in _ROLES})

    def pub(self) -> str:
        return self.keys().text(self.key("root"))


class ASite:
    """One node at work; `true_us` is what central's clock says."""

    def __init__(self, path: Path, central: ACentral | None = None, node: str = "puxi-01-a") -> None:
        self.path, self.node_id, self.central = path, node, central or ACentral()
        path.mkdir(parents=True)
        self.node_key, self.desk_key = made_key(f"{node}-node"), made_key(f"{node}-desk")
        enrolment = Enrolment(node, "puxi-01", self.node_key.public, self.desk_key.public)
        (path / "node.pub").write_text(enrolment.text(self.node_key))
        (path / "central.pub").write_text(self.central.pub())
        Ledger.create(path / "firstvisit.db")
        migrate(path / "firstvisit.db", LEDGER_FORMAT, TRUST, WEB)
        self.true_us = START_US
        self.kernel = KernelTime(START_US, 20 * SECOND_US, "c" * 32, 20_000, True)
        self.clock = Clock(lambda: self.kernel)
        self.node = Ledger(path / "firstvisit.db", Writer(node, "node", self.node_key, self.clock.stamp))
        self.desk = Ledger(path / "firstvisit.db", Writer(node, "desk", self.desk_key, self.clock.stamp))
        self.visits = 0
        self.alive_since_us = START_US
        self.node.append("epoch.started", {"reason": "init", "site": "puxi-01"})
        self.boot()

    def close(self) -> None:
        self.node.close()
        self.desk.close()

    def go(self, elapsed_us: int, jump_us: int = 0) -> None:
        self.true_us += elapsed_us
        self.kernel = replace(
            self.kernel,
            wall_us=self.kernel.wall_us + elapsed_us + jump_us,
            boot_us=self.kernel.boot_us + elapsed_us,
            synced=self.kernel.synced and not jump_us,
        )

    def boot(self) -> None:
        self.node.append(
            "node.boot",
            {"site": "puxi-01", "version": "0.2.0", "pack": "mobilefacenet@1", "custody": "tpm2", "mode": "ephemeral"},
        )
        self.alive_since_us = self.kernel.wall_us
        self.camera("up")

    def reboot(self, off_us: int, wall_us: int | None = None) -> None:
        self.go(off_us)
        boot_id = f"{int(self.kernel.boot_id, 16) + 1:032x}"
        wall_us = self.kernel.wall_us if wall_us is None else wall_us
        self.kernel = KernelTime(wall_us, 5 * SECOND_US, boot_id, 16_000_000, False)
        self.boot()

    def camera(self, what: str, reason: str | None = None) -> None:
        fields: dict[str, Any] = {"camera": "door", "source": "rtsp", "source_hash": "5" * 64}
        fields["at_us"] = self.kernel.wall_us
        if reason:
            fields["reason"] = reason
        self.node.append(f"camera.{what}", fields)

    def watch(self, lasting_us: int, longest_gap_us: int = 80_000, frames: int = 7000) -> None:
        """Heartbeats of a camera at work, one every ten minutes."""
        with self.node.transaction() as transaction:
            end_us = self.true_us + lasting_us
            while self.true_us < end_us:
                self.go(min(ALIVE_US, end_us - self.true_us))
                transaction.append("node.alive", self.alive(longest_gap_us, frames))

    def append_alive(self) -> None:
        self.node.append("node.alive", self.alive())

    def alive(self, longest_gap_us: int = 80_000, frames: int = 7000) -> dict[str, Any]:
        since_us, self.alive_since_us = self.alive_since_us, self.kernel.wall_us
        camera = {"camera": "door", "frames": frames, "longest_gap_us": longest_gap_us, "dropped": 0}
        camera |= {"luma_e6": 400_000, "sharpness_e6": 300_000}
        return {"since_us": since_us, "until_us": self.kernel.wall_us, "people": 12, "cameras": [camera]}

    def visit(self, kind: str = "first", lasting_us: int = 2 * SECOND_US, **more: Any) -> str:
        self.visits += 1
        visit, arrived_us = f"v-{self.node_id}-{self.visits:04d}", self.kernel.wall_us
        self.go(lasting_us)
        fields: dict[str, Any] = {
            "visit": visit, "site": "puxi-01", "camera": "door", "source": "rtsp", "source_hash": "5" * 64,
            "arrived_us": arrived_us, "shots": 4, "quality_e6": 812_345, "grade": "B",
            "place": {
                "lat_e7": 312_304_000, "lon_e7": 1_214_737_000, "accuracy_e6": 5_000_000, "source": "installer",
                "inside": "in", "fence": "f" * 64,
            },
        }  # fmt: skip
        if kind != "seen":
            fields |= {
                "person": f"p-{self.visits:04d}", "pack": "mobilefacenet@1", "upper_e6": 450_000, "lower_e6": 350_000,
                "gallery_n": 1234, "gallery_since_us": START_US - 20 * DAY_US, "unconsented_horizon_s": 86_400 * 30,
                "similarity_e6": 213_000, "margin_e6": 12_000,
            }  # fmt: skip
        else:
            fields["party"] = 1
        self.node.append(f"visit.{kind}", fields | more)
        return visit

    def correct(self, visit: str, decision: str = "return", person: str = "p-0001") -> Record:
        fields = {"visit": visit, "decision": decision, "person": person, "reason": "same_person", "account": "u-1"}
        return self.desk.append("visit.corrected", fields)

    def tell(self, order: Order) -> Record:
        """Central's next notice, applied by the node; returns its answer."""
        held = self.node.connection.execute("SELECT nseq, hash FROM notices ORDER BY nseq DESC LIMIT 1").fetchone()
        nseq, before = held or (0, FIRST_PREV_HASH)
        key = self.central.key("notice")
        notice = Notice.seal(self.node_id, nseq + 1, before, order.KIND, order.fields(), key)
        answer = Trust(self.path).apply(notice.data, self.node, self.node_id, self.true_us)
        assert answer is not None
        return answer

    def replace_central_key(self, role: CentralRole) -> Record:
        """Central gives a role another key, and the node hears of it; returns its answer."""
        self.central.replaced += (role,)
        held = self.node.connection.execute("SELECT nseq, hash FROM notices ORDER BY nseq DESC LIMIT 1").fetchone()
        nseq, before = held or (0, FIRST_PREV_HASH)
        root, body = self.central.key("root"), self.central.keys().fields()
        notice = Notice.seal(self.node_id, nseq + 1, before, "keys", body, root)
        answer = Trust(self.path).apply(notice.data, self.node, self.node_id, self.true_us)
        assert answer is not None
        return answer

    def change_account(self, account_id: str, act: str = "made", role: str = "auditor", office: str = "hq") -> Record:
        """What the kiosk records of an account."""
        change = AccountChange(account_id, act, role, office).fields()
        return self.desk.append("access.digest", {"entries": 0, "link": "0" * 64, "accounts": [change]})

    def confirm(self, told: Record) -> Record:
        """Central confirms the account that a record tells of, as it tells of it; returns the node's answer."""
        (account,) = changes_of(told.kind, told.fields)
        return self.tell(AccountSet(account.account_id, True, account.role, account.office, (told.epoch, told.seq)))

    def ack(self, delay_us: int = 300_000, *, checkpoint: bool = False, upto: int | None = None) -> Ack:
        """Central takes everything (or up to a seq), and the node hears of it."""
        head = self.node.head()
        assert head is not None
        record = self.node.record(head.epoch, upto or head.seq)
        assert record is not None
        self.go(delay_us)
        proof: LogProof | None = None
        if checkpoint:
            self.central.log.add(*(row.hash for row in self.node.rows() if row.hash not in self.central.log.entries))
            proof = self.central.log.proof(record.hash)
        ack = Ack.seal(
            self.node_id, record.epoch, record.seq, record.hash, self.true_us, 8, self.central.key("ack"), proof
        )
        self.go(delay_us)
        assert self.node.accept_ack(ack)
        return ack
