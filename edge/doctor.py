"""What `firstvisit doctor` looks at: everything a working node needs, one finding each."""

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Literal

from camera import CameraError
from camera.source import parse_uri, redact, uri_digest
from camera.worker import probe
from edge import EdgeError
from edge.access_log import check as check_access
from edge.cameras.camera_views import CameraViews
from edge.clock import UNKNOWN_ERROR_US, read_kernel, wall_us
from edge.config_check import operator_findings, page_findings
from edge.consent import policy_text
from edge.finding import Finding
from edge.home import Home
from edge.keys.epochs import ROLES
from edge.keys.key_copies import KeyCopies
from edge.nightly import Checks
from edge.people.vault import opened as opened_vault
from edge.place.attestation import read_standing
from edge.place.geofence import place_text
from edge.rights.volume import DUTY, SOON, faces_stored
from edge.settings import Settings
from models import ModelsError
from models.liveness import open_liveness
from models.pack import open_pack
from models.store import Store, default_root
from sync import SyncError
from sync.format.log_proof import LogHead
from sync.format.stamp import rfc3339
from sync.node.alarms import Alarms
from sync.node.witness import newest
from sync.printable import counted
from sync.transport.tls import RENEW_BEFORE, TlsFiles, tls_files, utc_now
from sync.verify.ledgers import verify_after
from sync.verify.verify import verify

PROBE_S = 5.0
LATE_S, LOST_S = 15 * 60, 24 * 3600  # a node writes a record every ten minutes, so an ack is due as often
MISSED_NIGHTS_S = 3 * 86_400
TOLD_OF_FULL_S = 7 * 86_400
LOW_DISK_BYTES = 2 * 1024**3
_SET_IT = "install chrony, or systemctl enable --now systemd-timesyncd"
_UNSYNCED = f"not synchronised, so central's answers alone say when visits were: {_SET_IT}"


def examine(home: Home) -> list[Finding]:
    """Look at a HOME; raises EdgeError only where it has no usable configuration at all."""
    settings = home.settings()
    return [
        _place(home, settings),
        *_surroundings(home),
        _pack(settings),
        _liveness(),
        _policy(home, settings),
        *_cameras(settings),
        *_views(home, settings),
        _keys(home),
        _chain(home),
        *_access(home),
        _people(home),
        *_copies(home),
        *operator_findings(settings),
        *page_findings(home.path, settings, utc_now()),
        _clock(),
        _disk(home, settings),
        *_central(home, settings),
        *_alarms(home),
    ]


def settle_alarm(home: Home, code: str) -> None:
    """Note that somebody has looked into an alarm; raises EdgeError or SyncError where there is none such."""
    home.settings()
    home.migrate()
    Alarms(home.database).settle(code, wall_us())


def _place(home: Home, settings: Settings) -> Finding:
    try:
        place = home.place(settings)
    except EdgeError as error:
        return Finding("place", "bad", str(error))
    if place is None:
        return Finding("place", "warn", "no position configured: records will not say where")
    state: Literal["good", "warn"] = "warn" if place["inside"] == "out" else "good"
    return Finding("place", state, place_text(place))


def _surroundings(home: Home) -> Iterator[Finding]:
    try:
        standing = read_standing(home.database)
    except SyncError as error:
        yield Finding("place", "bad", str(error))
        return
    if not standing.holds:
        since = rfc3339(standing.changed_us or 0, timespec="seconds")
        what = ", ".join(standing.changed)
        yield Finding(
            "place",
            "bad",
            f"not as attested since {since} ({what}): make sure where the box stands, then"
            f" firstvisit attest --home {home.path}",
        )


def _policy(home: Home, settings: Settings) -> Finding:
    try:
        days = home.ledger_days(settings)
        return Finding("policy", "good", f"{policy_text(home.policy(settings))}; records kept {days} days")
    except SyncError as error:
        return Finding("policy", "bad", str(error))


def _pack(settings: Settings) -> Finding:
    try:
        store = Store(default_root())
        pack = open_pack(store, store.pick(settings.recognition.pack))
    except ModelsError as error:
        return Finding("pack", "bad", str(error))
    return Finding("pack", "good", f"{pack.pack_id}, {pack.licence}")


def _liveness() -> Finding:
    try:
        installed = open_liveness(default_root())
    except ModelsError as error:
        return Finding("liveness", "bad", str(error))
    if installed is None:
        return Finding("liveness", "good", "none installed: a photograph held up is a face, and no grade is above B")
    return Finding("liveness", "good", f"{installed.spec.file}, licence: {installed.spec.licence}")


def _cameras(settings: Settings) -> Iterator[Finding]:
    if not settings.camera:
        yield Finding("camera", "bad", "none configured")
    for camera in settings.camera:
        try:
            frame = probe(camera.uri, PROBE_S, camera.id)
        except CameraError as error:
            yield Finding("camera", "bad", str(error))
        else:
            height, width = frame.image.shape[:2]
            yield Finding("camera", "good", f"{camera.id}: {width}x{height} from {redact(camera.uri)}")


def _views(home: Home, settings: Settings) -> Iterator[Finding]:
    """The reference view of each camera: since when it holds, or that there is none yet."""
    try:
        states = {(state.camera_id, state.source_hash): state for state in CameraViews(home.database).states()}
    except SyncError as error:
        yield Finding("view", "bad", str(error))
        return
    for camera in settings.camera:
        try:
            state = states.get((camera.id, uri_digest(camera.uri)))
            live = parse_uri(camera.uri) != "file"
        except CameraError:
            continue  # said of the camera itself
        if state is not None:
            since = rfc3339(state.taken_us, timespec="seconds")
            yield Finding("view", "good", f"{camera.id}: held against its view of {since}")
        elif live:
            yield Finding("view", "warn", f"{camera.id}: no reference view yet; a running node takes it")


def _keys(home: Home) -> Finding:
    """Whether both keys are there, within reach, and may sign the next record."""
    told = []
    try:
        ledger = home.open_ledger()
        try:
            for role in ROLES:
                key = home.signer(role).public
                if (in_force := ledger.key_in_force(role) or key) != key:
                    return Finding("keys", "bad", f"the {role} key is not the one in force, {in_force.fingerprint}")
                if (revoked := ledger.revocation(key)) is not None:
                    return Finding("keys", "bad", f"central has revoked the {role} key ({revoked.reason})")
                told.append(f"{role} {key.fingerprint} ({home.keys.custody(role)})")
        finally:
            ledger.close()
    except (EdgeError, SyncError) as error:
        return Finding("keys", "bad", str(error))
    return Finding("keys", "good", ", ".join(told))


def _chain(home: Home) -> Finding:
    """The last night's verification and what has been written since; without one, all of it now."""
    try:
        night = Checks(home.database).last()
        if night is not None and night.failed:
            return Finding("chain", "bad", f"the check of {_when(night.ended_us)} failed: {night.why}")
        if night is not None and not night.ok:
            return Finding("chain", "bad", f"{night.damage} (found {_when(night.ended_us)})")
        verdict = verify_after(home.path, night.epoch, night.seq, night.head) if night else verify(home.path)
    except SyncError as error:
        return Finding("chain", "bad", str(error))
    if not verdict.ok:
        at = "" if verdict.first_bad is None else f"seq {verdict.first_bad}: "
        return Finding("chain", "bad", f"{at}{verdict.why}")
    if night is None:
        return Finding("chain", "good", f"{verdict.checked} records verify")
    state: Literal["good", "warn"] = "good" if time.time() - night.ended_us / 1e6 < MISSED_NIGHTS_S else "warn"
    text = f"{night.checked} records verified {_when(night.ended_us)}, {verdict.checked} more now"
    return Finding("chain", state, text)


def _access(home: Home) -> Iterator[Finding]:
    """Whether the log of who looked at whom is what the ledger's digests say."""
    try:
        checked = check_access(home.database)
    except SyncError as error:
        yield Finding("access log", "bad", str(error))
        return
    if checked is not None:
        yield Finding("access log", "bad" if checked.why else "good", checked.text)


def _when(moment_us: int) -> str:
    return rfc3339(moment_us, timespec="seconds")


def _people(home: Home) -> Finding:
    try:
        # opening the vault holds keys.db, too, to the tables that FirstVisit makes
        with closing(home.open_ledger()) as ledger, opened_vault(home.database, home.keys_database):
            stored = faces_stored(ledger.connection)
    except (SyncError, EdgeError) as error:
        return Finding("people", "bad", str(error))
    if stored >= DUTY:
        return Finding("people", "bad", f"{stored} people stored: from {DUTY} on a filing is due")
    return Finding("people", "warn" if stored >= SOON else "good", f"{stored} people stored")


def _copies(home: Home) -> Iterator[Finding]:
    try:
        behind = KeyCopies(home.database, home.keys_database).behind()
    except SyncError as error:
        yield Finding("key copy", "bad", str(error))
        return
    for path, people in behind.items():
        whose = counted(people, "person", "people")
        text = f"{path}: the keys of {whose} erased here lie there still: bring it within reach"
        yield Finding("key copy", "bad", text)


def _clock() -> Finding:
    now = read_kernel()
    if not now.synced:
        return Finding("clock", "warn", _UNSYNCED)
    if now.maxerror_us >= UNKNOWN_ERROR_US:
        return Finding("clock", "warn", f"called synchronised, but by an unknown error: {_SET_IT}")
    return Finding("clock", "good", f"synchronised, error at most {now.maxerror_us / 1000:.0f} ms")


def _disk(home: Home, settings: Settings) -> Finding:
    free = shutil.disk_usage(home.database.resolve().parent).free
    text = f"{free / 1024**3:.1f} GiB free"
    try:
        reserve = home.reserve(settings)
        with closing(home.open_ledger()) as ledger:
            full = ledger.last_of("storage.full")
        if full is not None and "until_us" not in full.fields:
            since = rfc3339(full.fields["since_us"], timespec="seconds")
            return Finding("disk", "bad", f"{text}: full, nothing recorded since {since}")
        kept = f", {settings.storage.reserve_mb} MiB kept in reserve" if reserve.held else ""
        if full is not None and time.time() - full.fields["until_us"] / 1e6 < TOLD_OF_FULL_S:
            span = " to ".join(rfc3339(full.fields[name], timespec="seconds") for name in ("since_us", "until_us"))
            return Finding("disk", "warn", f"{text}{kept}; it was full, and nothing recorded from {span}")
    except (SyncError, EdgeError) as error:
        return Finding("disk", "bad", f"{text}; {error}")
    return Finding("disk", "good" if free >= LOW_DISK_BYTES else "warn", text + kept)


def delivery(backlog: int, last_ack_us: int | None, now_us: int) -> Finding:
    """Judge what central has not acknowledged by the age of its last ack; a silent central with a backlog is bad."""
    if last_ack_us is None:
        text = f"last ack never, {_waiting(backlog)}: is this node enrolled (firstvisit central enroll)?"
        return Finding("central", "warn", text)
    age_s = (now_us - last_ack_us) / 1e6
    state: Literal["good", "warn", "bad"] = "good"
    if backlog and age_s > LATE_S:
        state = "bad" if age_s > LOST_S else "warn"
    when = rfc3339(last_ack_us, timespec="seconds")
    return Finding("central", state, f"last ack {when}, {_waiting(backlog)}")


def _waiting(backlog: int) -> str:
    return f"{counted(backlog, 'record')} not acknowledged"


def _central(home: Home, settings: Settings) -> Iterator[Finding]:
    if not home.joined:
        yield Finding("central", "warn", "not joined: records stay on this box, anchored nowhere else")
        return
    try:
        with closing(home.open_ledger()) as ledger:
            backlog, last, log = ledger.backlog(), ledger.last_ack_us(), newest(ledger)
    except SyncError as error:
        yield Finding("central", "bad", str(error))
        return
    if settings.uplink.broker is None:
        yield Finding("central", "bad", "joined, but uplink.broker is missing (firstvisit join sets it)")
    yield delivery(backlog, last, wall_us())
    if (held := tls_files(home.path)) is not None:
        yield certificate(held, utc_now())
    if log is not None:
        yield witnessed(*log)


def witnessed(head: LogHead, upto: tuple[int, int]) -> Finding:
    """How far this node has followed central's log; where that contradicts itself there is an alarm besides."""
    text = f"witnessed up to size {head.size}, in the ack of epoch {upto[0]} seq {upto[1]}"
    return Finding("log", "good", f"central's log {text}")


def certificate(files: TlsFiles, now: datetime) -> Finding:
    """The certificate by which the node opens its sessions; it renews it by itself once RENEW_BEFORE is left."""
    try:
        files.context()
        left = files.left(now)
    except SyncError as error:
        return Finding("certificate", "bad", str(error))
    if left <= timedelta(0):
        return Finding("certificate", "bad", f"{files.certificate}: expired {-left.days} days ago and was not renewed")
    state: Literal["good", "warn"] = "warn" if left < RENEW_BEFORE / 2 else "good"
    return Finding("certificate", state, f"good for {left.days} days" + (", not renewed yet" * (state == "warn")))


def _alarms(home: Home) -> Iterator[Finding]:
    try:
        for alarm in Alarms(home.database).all():
            text = f"{alarm.code} x{alarm.count}: {alarm.detail}"
            if alarm.settled_us is None:
                yield Finding("alarm", "bad", text)
            else:
                yield Finding("alarm", "good", f"{text} (settled {_when(alarm.settled_us)})")
    except SyncError as error:
        yield Finding("alarm", "bad", str(error))
