"""A receipt judged: by the desk's key, and by the record itself where a ledger, a store or a certificate is given."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from sync import SyncError
from sync.audit.chain_audit import Bad
from sync.audit.export import read_export
from sync.audit.origin import enrolments_of, given_key
from sync.audit.postgres_copy import central_database
from sync.certificate.bundle import is_bundle, read_bundle
from sync.format.canonical import Fields
from sync.format.public_keys import Enrolment
from sync.format.receipts import MAX_TEXT, BadReceipt, Receipt, said_of
from sync.format.records import Record, parse, place
from sync.format.rotation import Rotation
from sync.format.signing import PublicKey
from sync.format.stamp import rfc3339
from sync.format.void import hold
from sync.format.wire import SignedBody
from sync.storage.readonly import read_snapshot
from sync.verify.verdict import Verdict, bad_verdict
from sync.verify.verify import verify


@dataclass(frozen=True, slots=True)
class _Held:
    """What evidence that verifies has of a receipt's node: enrolments, rotations of keys, and the record, if any."""

    enrolments: tuple[str, ...]
    rotations: tuple[Record, ...]
    record: Record | None


def read_receipt(given: str) -> Receipt:
    """Read a receipt's text, or the file that holds it; raises BadReceipt."""
    path = Path(given)
    try:
        if path.is_file():
            with path.open("rb") as file:
                return Receipt.parse(file.read(MAX_TEXT + 3).decode("ascii"))
    except (OSError, UnicodeDecodeError) as error:  # a text may be longer than any file's name
        if not given.isalnum():
            raise BadReceipt(f"{given[:80]}: not a receipt") from error
    return Receipt.parse(given)


def verify_receipt(receipt: Receipt, path: Path | None, public_key: Path | None) -> Verdict:
    """Judge a receipt by a node.pub, by what lies at `path` (a HOME, a central, an export, a certificate), or both.

    Raises SyncError where neither is given, or one is none of these.
    """
    said = receipt.fields
    head = f"receipt of node {said['node']}, {place(said['epoch'], said['seq'])}"
    given = given_key(public_key) if public_key else None
    if path is None and not isinstance(given, Enrolment):
        raise SyncError("a receipt is held against a node.pub (--public-key), or against a ledger")
    if isinstance(given, Enrolment) and given.node_id != said["node"]:
        return bad_verdict("receipt", head, Bad(f"the given key is node {given.node_id}'s"))
    if path is None:
        assert isinstance(given, Enrolment)
        if not receipt.signed_by(given.desk):
            why = "not signed by the desk key of the given node.pub (after a rotation: give a ledger too)"
            return bad_verdict("receipt", head, Bad(why))
        lines = (head, *_lines(said), f"signed by the given desk key ({given.desk.fingerprint})", _UNHELD)
        return Verdict(True, "receipt", lines, None, None, 0)
    whole = verify(path, public_key)
    if not whole.ok:
        return Verdict(False, "receipt", (head, *whole.lines), whole.first_bad, whole.why, whole.checked)
    held = _held(path, said)
    try:
        signer = _signer(receipt, held, whole)
        at = (said["epoch"], said["seq"])
        if hold(whole.void, at):
            raise Bad("its record was signed after its key was revoked, and proves nothing", at)
        if held.record is None:
            raise Bad("the evidence given does not hold its record (it may end before it, or have purged it)", at)
        if held.record.hash.hex() != said["hash"]:
            raise Bad(f"another record lies there, hash {held.record.hash.hex()}: one of the two was made later", at)
        if said_of(held.record) != said:
            raise Bad("it says other things than its record", at)
    except Bad as bad:
        return bad_verdict("receipt", head, bad, whole.checked)
    bound = (f"signed by the desk key {signer.fingerprint}", f"its record lies in {path}")
    lines = (head, *_lines(said), *bound, *whole.lines)
    return Verdict(True, "receipt", lines, None, None, whole.checked, whole.end, whole.void)


_UNHELD = "its record was not looked at: whether it stands in the chain, a ledger, an export or central shows"


def _signer(receipt: Receipt, held: _Held, whole: Verdict) -> PublicKey:
    """The desk key that signed it; raises Bad."""
    keys = [Enrolment.parse_text(text).desk for text in held.enrolments]
    for record in held.rotations:
        if not hold(whole.void, (record.epoch, record.seq)) and (rotation := Rotation.of(record)).role == "desk":
            keys.append(rotation.new)
    for key in keys:
        if receipt.signed_by(key):
            return key
    raise Bad("not signed by any desk key of this node")


def _lines(said: Fields) -> Iterator[str]:
    yield f"record {said['hash']} of {rfc3339(said['at_us'])} by the desk's clock"
    if said["kind"] == "code.refused":
        yield f"a code was refused: {said.get('reason')}"
        return
    words = [str(said.get("state"))]
    words += [f"{name} {said[name]}" for name in ("reason", "code_kind", "report", "agent") if name in said]
    yield f"visit {said.get('visit')}: {', '.join(words)}"
    if "facts" in said:
        yield f"facts on record: {', '.join(said['facts'])}"


def _held(path: Path, said: Fields) -> _Held:
    if path.is_dir():
        return _in_home(path, said) if (path / "firstvisit.db").is_file() else _in_central(path, said)
    if is_bundle(path):
        bundle = read_bundle(path)
        enrolments = (bundle.node_pub, *bundle.enrolments)
        return _among(enrolments, bundle.records, said)
    header, records = read_export(path)
    return _among((header.node_pub, *header.enrolments), (*header.kept, *records), said)


def _in_home(path: Path, said: Fields) -> _Held:
    rows = read_snapshot(
        path / "firstvisit.db",
        lambda connection: connection.execute(
            "SELECT body, signature FROM ledger WHERE kind = 'key.rotated' OR (epoch = ? AND seq = ?)",
            (said["epoch"], said["seq"]),
        ).fetchall(),
    )
    return _among(enrolments_of(path), (SignedBody(*row) for row in rows), said)


def _in_central(path: Path, said: Fields) -> _Held:
    node = said["node"]
    with central_database(path) as database:
        rows = read_snapshot(
            database,
            lambda connection: connection.execute(
                "SELECT body, signature FROM records WHERE node_id = ? AND (kind = 'key.rotated' OR"
                " (epoch = ? AND seq = ?))",
                (node, said["epoch"], said["seq"]),
            ).fetchall(),
        )
        texts = read_snapshot(
            database,
            lambda connection: connection.execute(
                "SELECT enrolment FROM nodes WHERE node_id = ? UNION ALL"
                " SELECT enrolment FROM enrolments WHERE node_id = ?",
                (node, node),
            ).fetchall(),
        )
    return _among([_text(one) for (one,) in texts], (SignedBody(*row) for row in rows), said)


def _among(enrolments: Iterable[str], records: Iterable[SignedBody], said: Fields) -> _Held:
    rotations, found = list[Record](), None
    for one in records:
        fields = orjson.loads(one.body)
        here = all(fields.get(name) == said[name] for name in ("node", "epoch", "seq"))
        if here or fields.get("kind") == "key.rotated":
            record = parse(one.body, one.signature)
            found = record if here else found
            rotations += [record] if record.kind == "key.rotated" else []
    return _Held(tuple(enrolments), tuple(rotations), found)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
