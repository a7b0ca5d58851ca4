"""The thread that carries a node's records to central and central's answers back."""

import logging
import random
import sqlite3
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

from sync import SyncError
from sync.format.messages import Ack, BadMessage, Nack, NackCode, Status
from sync.format.sidecar import open_taken, seal_sidecars
from sync.format.signing import Signer
from sync.format.wire import SignedBody, encode_frame, parse_topic, topic
from sync.node import sidecars
from sync.node.alarms import count_alarm
from sync.node.append import Writer
from sync.node.in_force import KeyNotInForce
from sync.node.ledger import Ledger
from sync.node.trust import DATABASE_FILE, NoticeGap, NoticeRefused, Trust
from sync.node.uplink import Position, Uplink
from sync.node.witness import LogFork, LogSilence, newest, witness
from sync.transport.mqtt import Message, Will
from sync.transport.session import UplinkAddress, open_session

log = logging.getLogger(__name__)

POLL_S = 0.1  # how long a record of another process waits to be noticed, at most
STATUS_INTERVAL_S = 5.0
ALARM_INTERVAL_S = 1.0  # a flood of forgeries costs one write a second
TROUBLE_PAUSE_S = 1.0
LEAVE_S = 0.5
UNCONFIRMED_S = 60.0  # a frame of 256 KiB takes half of it on a line of 64 kbit/s
SIDE_LOOK_S = 1.0  # how long a new sidecar waits to be noticed
SIDE_AGAIN_S = 10.0  # for central's answer
_DETAIL_CHARS = 200


class UplinkThread:
    """Owns the session with the broker, a ledger connection and the state of sending: one thread, no locks."""

    def __init__(self, home: Path, writer: Writer, address: UplinkAddress, rng: random.Random) -> None:
        """home: of a node that has joined. writer: the node's, for `notice.applied`. rng: spreads retries.

        Raises SyncError where the node has not joined.
        """
        self._home = home
        self._node_id = writer.node_id
        self._writer = writer
        self._trust = Trust(home)
        self._central = self._trust.keys()
        self._log_silence = LogSilence()
        self._rng = rng
        self._link = open_session(address, home, writer.node_id, rng)
        self._acked: Position = (0, 0)  # written by the thread, read by whoever waits for it
        self._stopped: NackCode | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        self._session = 0
        self._silent = False
        self._notices = 0  # the nseq of the last notice that arrived
        self._said: Status | None = None
        self._say_at_s = 0.0
        self._forked = False  # by an alarm of a session before
        self._alarms: Counter[str] = Counter()
        self._details: dict[str, str] = {}
        self._logged: set[str] = set()
        self._alarms_at_s = 0.0
        self._beside_at_s = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Take leave of the broker and end; what is not acknowledged is sent by the next run."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def drained(self, timeout_s: float) -> bool:
        """Wait until central has acknowledged all that is in the ledger now; False where it has not in time."""
        ledger = Ledger(self._home / DATABASE_FILE)
        try:
            head = ledger.head()
        finally:
            ledger.close()
        wanted = (head.epoch, head.seq) if head else (0, 0)
        deadline_s = time.monotonic() + timeout_s
        while self._acked < wanted:
            if self._stopped or not self._thread.is_alive() or time.monotonic() > deadline_s:
                return False
            time.sleep(0.02)
        return True

    # -- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        trouble: str | None = None
        while not self._stop.is_set():
            try:
                self._carry()
            except Exception as error:  # a full disk mostly; records must go on whatever it was
                if str(error) != trouble:
                    trouble = str(error)
                    log.error("uplink in trouble error=%s", error, exc_info=not isinstance(error, SyncError))
                self._stop.wait(TROUBLE_PAUSE_S)
        self._link.close(LEAVE_S)

    def _carry(self) -> None:
        ledger = Ledger(self._home / DATABASE_FILE, self._writer)
        try:
            for refused in self._trust.apply_held(ledger, time.time_ns() // 1000):
                self._alarm("NOTICE_REFUSED", refused)
            self._central = self._trust.keys()
            self._notices = self._trust.last_nseq()
            self._forked = any(alarm.code == "FORK" for alarm in self._trust.alarms())
            uplink = Uplink(ledger.acked_upto(), ledger.last_ack_us(), self._rng, ledger.given_up())
            self._session = 0
            while not self._stop.is_set():
                self._link.will = self._will(ledger, uplink)
                messages = self._link.poll(POLL_S)
                now_s = time.monotonic()
                self._notice_session(uplink, ledger, now_s)
                for message in messages:
                    self._receive(message, uplink, ledger, now_s)
                self._watch_timeout(uplink, now_s)
                self._send(uplink, ledger, now_s)
                self._send_beside(uplink, ledger, now_s)
                self._say(uplink, ledger, now_s)
                self._flush_alarms(now_s)
                self._acked, self._stopped = uplink.acked, uplink.stopped
            if self._link.connected:
                self._publish_status(self._status(ledger, uplink, online=False))
            self._flush_alarms(time.monotonic(), force=True)
        finally:
            ledger.close()

    def _notice_session(self, uplink: Uplink, ledger: Ledger, now_s: float) -> None:
        if not self._link.connected:
            if self._session:
                self._session = 0
                uplink.disconnect()
        elif self._link.sessions != self._session:
            self._session = self._link.sessions
            uplink.connect()
            self._said = self._status(ledger, uplink, online=True)
            self._publish_status(self._said)
            self._say_at_s = now_s + STATUS_INTERVAL_S

    def _receive(self, message: Message, uplink: Uplink, ledger: Ledger, now_s: float) -> None:
        _, channel = parse_topic(message.topic)  # ours: nothing else was subscribed
        if channel == "down":
            self._apply(message.payload, ledger)
        elif channel == "ack":
            self._answer(message.payload, uplink, ledger, now_s)

    def _answer(self, data: bytes, uplink: Uplink, ledger: Ledger, now_s: float) -> None:
        try:
            ack = Ack.parse(data, self._central.keys["ack"])
        except BadMessage as not_an_ack:
            try:
                nack = Nack.parse(data, self._central.keys["ack"])
            except BadMessage:
                self._answer_beside(data, not_an_ack, ledger)
                return
            self._refused(nack, uplink, ledger, now_s)
            return
        if ack.node_id != self._node_id:
            self._alarm("FORGED_ACK", f"ack for node {ack.node_id!r}")
        elif ledger.has_ack(ack.ack_hash):
            log.debug("ack repeated seq=%d", ack.upto_seq)
        elif not uplink.believes(ack.central_time_us, now_s, (ack.epoch, ack.upto_seq)):
            self._stale("ack", ack.upto_seq, ack.central_time_us)
        elif (end := ledger.closed_at(ack.epoch)) is not None and end < ack.upto_seq:
            log.info("central holds more of epoch %d than this machine seq=%d", ack.epoch, ack.upto_seq)
            uplink.pass_over((ack.epoch, end), ack.central_time_us, now_s)
        elif not ledger.accept_ack(ack, partial(self._witness, ack)):
            self._alarm("ACK_NOT_OURS", f"central acknowledges epoch {ack.epoch} seq {ack.upto_seq} with another hash")
        else:
            before = uplink.acked
            here = (ack.epoch, ack.upto_seq)
            match uplink.on_ack(here, ack.window, ack.central_time_us, now_s):
                case "rollback":
                    self._rollback(before, here, ledger)
                case "progress" if self._forked and uplink.stopped is None:
                    self._heard_again()
            if self._log_silence.heard(ack) and newest(ledger) is not None:
                self._alarm("LOG_WITHHELD", "central acknowledges, and has said nothing of its log for an hour")
            if self._silent:
                self._silent = False
                log.info("central answers again seq=%d", ack.upto_seq)

    def _answer_beside(self, data: bytes, not_an_ack: BadMessage, ledger: Ledger) -> None:
        """An answer that is neither ack nor nack: central has dealt with sidecars, or somebody has forged one."""
        try:
            records = open_taken(self._node_id, data, self._central.keys["ack"])
        except BadMessage:
            self._alarm("FORGED_ACK", str(not_an_ack))
            return
        sidecars.taken(ledger.connection, records)
        self._beside_at_s = 0.0

    def _heard_again(self) -> None:
        """Central takes this chain again after a fork: somebody there has looked, and lifted it."""
        self._forked = False
        self._trust.forget_alarms("FORK", "ACK_NOT_OURS")
        log.info("central takes this chain again")

    def _witness(self, ack: Ack, connection: sqlite3.Connection) -> None:
        """Central does hold the records, whatever it says of its log: the ack stands, and the alarm beside it."""
        try:
            head = witness(ack, connection, self._central)
        except LogFork as fork:
            self._log_alarm("LOG_FORK", str(fork))
            count_alarm(connection, "LOG_FORK", str(fork)[:_DETAIL_CHARS], time.time_ns() // 1000)
        except SyncError as error:  # a damaged record of our own, which the night finds
            log.error("log not witnessed error=%s", error)
        else:
            if head is not None:
                log.debug("log witnessed size=%d", head.size)

    def _refused(self, nack: Nack, uplink: Uplink, ledger: Ledger, now_s: float) -> None:
        at = (nack.epoch, nack.seq)
        if nack.node_id != self._node_id:
            self._alarm("FORGED_ACK", f"nack for node {nack.node_id!r}")
            return
        if not uplink.believes(nack.central_time_us, now_s):
            self._stale(nack.code, nack.seq, nack.central_time_us)
            return
        record = ledger.record(*at)
        ours = record is not None and record.hash == nack.hash
        end = ledger.closed_at(nack.epoch) if nack.code in ("BAD_SIG", "REVOKED") else None
        if ours and end is not None and at > uplink.acked:  # its key is gone, and there are new ones behind it
            self._alarm(nack.code, f"central takes no more of epoch {nack.epoch} from seq {nack.seq} on")
            uplink.pass_over((nack.epoch, end), nack.central_time_us, now_s)
            return
        if nack.code in ("BAD_SIG", "TOO_BIG", "REVOKED") and not ours:
            # somebody else drew it, with bytes of his own, under a key that was this node's perhaps: it stops nothing
            self._alarm("NOT_OUR_RECORD", f"central refused ({nack.code}) what is not ours at seq {nack.seq}")
        elif nack.code in ("BAD_SIG", "TOO_BIG"):  # he may have drawn it with ours, too
            self._alarm(nack.code, f"central refuses epoch {nack.epoch} seq {nack.seq}: it is sent again")
        before = uplink.acked
        match uplink.on_nack(nack.code, at, ours, nack.central_time_us, now_s):
            case "rollback":
                self._rollback(before, uplink.acked, ledger)
            case "stop":
                self._alarm(nack.code, f"central refuses epoch {nack.epoch} seq {nack.seq}: sending has stopped")

    def _stale(self, what: str, seq: int, central_time_us: int) -> None:
        if "stale" not in self._logged:
            self._logged.add("stale")
            log.warning("old answer ignored what=%s seq=%d central_time_us=%d", what, seq, central_time_us)

    def _rollback(self, before: Position, now: Position, ledger: Ledger) -> None:
        sidecars.lost(ledger.connection, now)
        self._alarm(
            "CENTRAL_ROLLBACK", f"central had epoch {before[0]} seq {before[1]}, now says {now[0]} seq {now[1]}"
        )

    def _apply(self, data: bytes, ledger: Ledger) -> None:
        try:
            record = self._trust.apply(data, ledger, self._node_id, time.time_ns() // 1000)
        except BadMessage as error:
            self._alarm("FORGED_NOTICE", str(error))
        except NoticeGap as error:  # no alarm: a broker that lost one is an outage, and central sends it again
            log.warning("notice ignored reason=%s", error)
        except NoticeRefused as error:
            self._alarm("NOTICE_REFUSED", str(error))
        except KeyNotInForce as error:
            self._alarm("KEY_NOT_IN_FORCE", str(error))
        else:
            if record is not None:
                log.info("notice applied nseq=%d seq=%d", record.fields["nseq"], record.seq)
            self._central = self._trust.keys()
        self._notices = self._trust.last_nseq()

    def _watch_timeout(self, uplink: Uplink, now_s: float) -> None:
        if (waited_s := self._link.unconfirmed_s) > UNCONFIRMED_S:
            self._alarm("BROKER_SILENT", f"the broker confirmed nothing for {waited_s:.0f} s")
            self._link.drop("the broker confirms nothing")
        elif self._link.unconfirmed:
            uplink.postpone(now_s)
        elif uplink.tick(now_s) and not self._silent:
            self._silent = True
            log.warning("central does not answer acked_seq=%d", uplink.acked[1])

    def _send(self, uplink: Uplink, ledger: Ledger, now_s: float) -> None:
        while (after := uplink.send_after()) is not None and (frame := ledger.next_frame(after)) is not None:
            last, records = frame
            self._publish_frame(records)
            uplink.sent(last, now_s)

    def _send_beside(self, uplink: Uplink, ledger: Ledger, now_s: float) -> None:
        """Send the next sidecars of acknowledged records; the same ones again where central has not answered."""
        if not self._link.connected or now_s < self._beside_at_s:
            return
        if waiting := sidecars.waiting(ledger.connection, uplink.acked):
            self._link.publish(topic(self._node_id, "side"), seal_sidecars(self._node_id, waiting, self._node_key()))
        self._beside_at_s = now_s + (SIDE_AGAIN_S if waiting else SIDE_LOOK_S)

    def _node_key(self) -> Signer:
        return self._writer.signer if self._writer.renew is None else self._writer.renew()

    def _publish_frame(self, records: list[SignedBody]) -> None:
        self._link.publish(topic(self._node_id, "up"), encode_frame(records))

    # -- what is said of the node ------------------------------------------------------------------------------

    def _status(self, ledger: Ledger, uplink: Uplink, online: bool) -> Status:
        head = ledger.head()
        epoch, seq = (head.epoch, head.seq) if head else (0, 0)
        full = ledger.last_of("storage.full")
        return Status(
            self._node_id,
            online,
            epoch,
            seq,
            uplink.acked[1] if uplink.acked[0] == epoch else 0,
            full is not None and "until_us" not in full.fields,
            self._notices,
        )

    def _will(self, ledger: Ledger, uplink: Uplink) -> Will | None:
        if self._link.connected:
            return self._link.will
        return Will(topic(self._node_id, "status"), self._status(ledger, uplink, online=False).encode())

    def _say(self, uplink: Uplink, ledger: Ledger, now_s: float) -> None:
        if self._link.connected and now_s >= self._say_at_s:
            self._say_at_s = now_s + STATUS_INTERVAL_S
            status = self._status(ledger, uplink, online=True)
            if status != self._said:
                self._said = status
                self._publish_status(status)

    def _publish_status(self, status: Status) -> None:
        self._link.publish(topic(self._node_id, "status"), status.encode(), retain=True)

    # -- alarms ------------------------------------------------------------------------------------------------

    def _log_alarm(self, code: str, detail: str) -> None:
        if code not in self._logged:
            self._logged.add(code)
            log.error("alarm code=%s detail=%s", code, detail[:_DETAIL_CHARS])

    def _alarm(self, code: str, detail: str) -> None:
        self._log_alarm(code, detail)
        self._alarms[code] += 1
        self._details[code] = detail[:_DETAIL_CHARS]

    def _flush_alarms(self, now_s: float, force: bool = False) -> None:
        if not self._alarms or (now_s < self._alarms_at_s and not force):
            return
        self._alarms_at_s = now_s + ALARM_INTERVAL_S
        for code, count in self._alarms.items():
            self._trust.raise_alarm(code, self._details[code], time.time_ns() // 1000, count)
        self._alarms.clear()
