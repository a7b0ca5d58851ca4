"""Every decoder of bytes that somebody else sent, wrote or altered, for the fuzzer.

A decoder may refuse with the exception its docstring names and with no other. Where a signature stands before the
inside, the bytes are signed first: a peer with a key of its own gets that far.
"""

import base64
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import segno
from nacl.signing import SigningKey

from camera import CameraError
from camera.source import parse_uri
from edge.desk.pictures import NoCode, code_in
from edge.settings import SettingsError, parse_settings
from sync import SyncError
from sync.audit.chain_audit import Bad as AuditBad
from sync.audit.export import BadExport, read_export
from sync.certificate.bundle import BadBundle, Bundle, read_bundle
from sync.certificate.compact import BadCompact, Compact
from sync.certificate.examine import examine
from sync.format import canonical
from sync.format.canonical import Fields, NotCanonical
from sync.format.checkpoint import BadCheckpoint, Checkpoint
from sync.format.codes import BadCode, Code, SignedCode
from sync.format.log_proof import LogHead, LogProof
from sync.format.messages import Ack, BadMessage, Nack, Notice, Statement, Status
from sync.format.notices import BadBody, read_order
from sync.format.public_keys import CentralKeys, Enrolment
from sync.format.receipts import BadReceipt, Receipt
from sync.format.records import BadRecord, Record, parse, seal
from sync.format.rotation import Rotation
from sync.format.sealing import SealingKey
from sync.format.sidecar import Sidecar, open_sidecars, open_taken
from sync.format.signing import Ed25519Signer, PublicKey, parse_key_file
from sync.format.stamp import Stamp
from sync.format.wire import (
    BadFrame,
    SignedBody,
    decode_answers,
    decode_frame,
    encode_answers,
    encode_frame,
    parse_topic,
)
from sync.transport.invitation import Invitation
from sync.transport.possession import Ask, BadAsk
from sync.transport.session import parse_uplink
from sync.transport.tls import new_key, read_request, request
from sync.verify_standalone import Bad as StandaloneBad
from sync.verify_standalone import Unreadable
from sync.verify_standalone import decode as standalone_decode
from sync.verify_standalone import read_export as standalone_export
from sync.verify_standalone import read_receipt as standalone_receipt

KEY = Ed25519Signer(SigningKey(b"z" * 32))
OTHER = Ed25519Signer(SigningKey(b"y" * 32))
ORIGIN = "firstvisit/v1/checkpoint/hq"
BOOT = {"wall_us": 1, "boot_us": 1, "boot_id": "a" * 32, "maxerror_us": 1, "source": "synced", "steps": 0}


@dataclass(frozen=True, slots=True)
class Decoder:
    """One way in. read: given the bytes and a folder of its own for those that read files. refusals: as documented."""

    name: str
    read: Callable[[bytes, Path], object] = field(repr=False)
    refusals: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...] = field(repr=False)


def decoders() -> list[Decoder]:
    """Each with bytes that it accepts, to begin from."""
    record, enrolment, central = _record("node.boot", {"site": "s"}), _enrolment(), _central()
    export = _export(record, enrolment, central)
    bundle = _bundle(enrolment, central)
    note = Checkpoint(ORIGIN, 3, bytes(32)).seal(KEY)
    hash_hex = bytes(32).hex()
    ack: Fields = {
        "v": 1, "node": "n1", "epoch": 1, "upto": 1, "head_hash": hash_hex, "central_time_us": 5, "window": 8,
        "checkpoint": LogProof(note, 0, (bytes(32),)).fields(),
    }  # fmt: skip
    nack: Fields = {
        "v": 1, "node": "n1", "code": "GAP", "epoch": 1, "seq": 2, "hash": hash_hex, "central_time_us": 5,
    }  # fmt: skip
    notice: Fields = {
        "v": 1, "node": "n1", "nseq": 2, "prev_hash": hash_hex, "kind": "key.revoked",
        "body": {"key": KEY.public.key_id, "epoch": 1, "seq": 3, "reason": "stolen"},
    }  # fmt: skip
    statement: Fields = {"v": 1, "central": "hq", "kind": "node.enrolled", "at_us": 1, "node": "n1"}
    rotated = _rotated()
    compact = Compact(record.body, record.signature, None, enrolment, central)
    shown = Code("agent", 10**15, 2 * 10**15, ("s1",), None, "agt-" + "0b" * 8).seal(KEY)
    receipt = Receipt.seal(_record("code.refused", {"visit": "v-1", "reason": "expired", "code": hash_hex}), KEY)
    sidecar = Sidecar(1, 2, bytes(32), "c-" + "0a" * 10, bytes(32), b"sealed", "0a" * 16)
    invitation = Invitation("https://c.example:8443", bytes(32), bytes(32), "0" * 32, "mqtts://c.example")
    tls = new_key()
    ask = Ask.make(bytes(32), enrolment, request("n1", tls), KEY.public, KEY, OTHER, tls)
    orders = [
        {"kind": "erase", "body": {"person": "p-1", "reason": "request"}},
        {"kind": "key.revoked", "body": notice["body"]},
        {"kind": "policy", "body": {"mode": "after_consent", "unconsented_horizon_s": 86400}},
        {"kind": "account", "body": {"account": "a-1", "state": "off"}},
    ]
    return [
        Decoder("canonical", lambda d, _: canonical.decode(d), (NotCanonical,), (record.body,)),
        Decoder("record", lambda d, _: parse(d, bytes(64)), (BadRecord,), (record.body, rotated.body)),
        Decoder("rotation", _signed_record(Rotation.of), (BadRecord, NotCanonical), (rotated.body,)),
        Decoder("stamp", lambda d, _: Stamp.parse(canonical.decode(d)), (SyncError,), (canonical.encode(BOOT),)),
        Decoder("frame", lambda d, _: decode_frame(d), (BadFrame,), (encode_frame([_signed(record)] * 3),)),
        Decoder("answers", lambda d, _: decode_answers(d), (BadFrame,), (encode_answers([("ack", b"x" * 70)]),)),
        Decoder("topic", lambda d, _: parse_topic(_text(d)), (SyncError,), (b"fv1/n1/up",)),
        Decoder("ack", _signed_message("ack", lambda d: Ack.parse(d, KEY.public)), (BadMessage,), _encoded(ack)),
        Decoder("nack", _signed_message("nack", lambda d: Nack.parse(d, KEY.public)), (BadMessage,), _encoded(nack)),
        Decoder(
            "notice",
            _signed_message("notice", lambda d: Notice.parse(d, OTHER.public, KEY.public)),
            (BadMessage,),
            _encoded(notice),
        ),
        Decoder(
            "statement",
            _signed_message("statement", lambda d: Statement.parse(d, KEY.public)),
            (BadMessage,),
            _encoded(statement),
        ),
        Decoder("unsigned", _unsigned, (BadMessage,), (Ack.seal("n1", 1, 1, bytes(32), 5, 8, KEY).data,)),
        Decoder("order", _order, (BadBody, NotCanonical), tuple(map(canonical.encode, orders))),
        Decoder(
            "sidecars",
            _signed_message("sidecar", lambda d: open_sidecars("n1", d, KEY.public)),
            (BadMessage,),
            _encoded({"v": 1, "node": "n1", "sidecars": [sidecar.fields()]}),
        ),
        Decoder(
            "sidecars taken",
            _signed_message("sidecar-ack", lambda d: open_taken("n1", d, KEY.public)),
            (BadMessage,),
            _encoded({"v": 1, "node": "n1", "taken": [hash_hex]}),
        ),
        Decoder("sealing key", lambda d, _: SealingKey.parse(_text(d)), (SyncError,), (b"x25519:" + b"0a" * 32,)),
        Decoder("status", lambda d, _: Status.parse(d), (BadMessage,), (Status("n1", True, 1, 2, 1).encode(),)),
        Decoder("node.pub", lambda d, _: Enrolment.parse_text(_text(d)), (BadMessage,), (enrolment.encode(),)),
        Decoder("central.pub", lambda d, _: CentralKeys.parse_text(_text(d)), (BadMessage,), (central.encode(),)),
        Decoder(
            "public key",
            lambda d, _: PublicKey.parse(_text(d)),
            (SyncError,),
            (str(KEY.public).encode(),),
        ),
        Decoder(
            "key file",
            lambda d, _: parse_key_file(_text(d), Path("node.key")),
            (SyncError,),
            (b"firstvisit-key-v1 ed25519 " + b"7a" * 32 + b"\n",),
        ),
        Decoder(
            "checkpoint",
            lambda d, _: Checkpoint.parse(_text(d), ORIGIN, KEY.public),
            (BadCheckpoint,),
            (note.encode(),),
        ),
        Decoder("log proof", _log_proof, (SyncError,), _encoded(ack["checkpoint"])),
        Decoder("export", _file("export", _whole_export), (BadExport,), (export,)),
        Decoder("bundle.json", lambda d, _: Bundle.parse(d), (SyncError,), (bundle.encode(),)),
        Decoder("bundle", _file("bundle", read_bundle), (BadBundle,), (bundle.encode(), _zip(bundle))),
        Decoder("certificate", lambda d, _: examine(Bundle.parse(d)), (SyncError, AuditBad), (bundle.encode(),)),
        Decoder("code", lambda d, _: Compact.parse(_text(d)), (BadCompact,), (compact.text().encode(),)),
        Decoder("code inside", _inside_code, (BadCompact,), (_unpacked(compact),)),
        Decoder("desk's code", lambda d, _: SignedCode.parse(_text(d)), (BadCode,), (shown.text().encode(),)),
        Decoder("desk's code inside", lambda d, _: Code.parse(d), (BadCode,), (shown.code.body(),)),
        Decoder("receipt", lambda d, _: Receipt.parse(_text(d)), (BadReceipt,), (receipt.text().encode(),)),
        Decoder("receipt inside", _inside_receipt(Receipt.parse), (BadReceipt,), (receipt.body,)),
        Decoder("picture", lambda d, _: code_in(d), (NoCode,), (_picture(shown.text()),)),
        Decoder("invitation", _invitation, (SyncError,), (_invited(invitation),)),
        Decoder("ask", lambda d, _: Ask.parse(d), (BadAsk,), (ask.encode(),)),
        Decoder("certificate request", lambda d, _: read_request(_text(d)), (SyncError,), (ask.csr.encode(),)),
        Decoder(
            "uplink address", lambda d, _: parse_uplink(_text(d)), (SyncError,), (b"mqtts://u:p@h:1", b"https://h")
        ),
        Decoder("source", lambda d, _: parse_uri(_text(d)), (CameraError,), (b"rtsp://u:p@h/1", b"usb:0")),
        Decoder("firstvisit.toml", lambda d, _: parse_settings(_text(d), "x"), (SettingsError,), (_config(),)),
        Decoder("standalone canonical", lambda d, _: standalone_decode(d), (StandaloneBad,), (record.body,)),
        Decoder("standalone receipt", _inside_receipt(standalone_receipt), (Unreadable,), (receipt.body,)),
        Decoder("standalone export", _file("export", _standalone_export), (StandaloneBad, Unreadable), (export,)),
    ]


def refused(decoder: Decoder, data: bytes, folder: Path) -> bool:
    """Give it the bytes; returns whether it refused them. Anything but a documented refusal is raised."""
    try:
        decoder.read(data, folder)
    except decoder.refusals:
        return True
    return False


# -- ways in ---------------------------------------------------------------------------------------------------


def _signed_message(domain: str, read: Callable[[bytes], object]) -> Callable[[bytes, Path], object]:
    return lambda body, _: read(KEY.sign(domain, body) + body)  # type: ignore[arg-type]  # one of the domains


def _unsigned(data: bytes, _folder: Path) -> object:
    for read in (Ack.parse, Nack.parse):
        try:
            read(data, KEY.public)
        except BadMessage:
            continue
    return Notice.parse(data, KEY.public, OTHER.public)


def _inside_receipt(read: Callable[[str], object]) -> Callable[[bytes, Path], object]:
    return lambda body, _: read("FVR1" + base64.b32encode(KEY.sign("receipt", body) + body).decode().rstrip("="))


def _signed_record(read: Callable[[Record], object]) -> Callable[[bytes, Path], object]:
    return lambda body, _: read(parse(body, KEY.sign("record-sig", body)))


def _order(data: bytes, _folder: Path) -> object:
    fields = canonical.decode(data)
    body = fields.get("body")
    return read_order(str(fields.get("kind")), body if isinstance(body, dict) else {})


def _log_proof(data: bytes, _folder: Path) -> object:
    fields = canonical.decode(data)
    LogHead.of(fields)
    return LogProof.of(fields).check(bytes(32), ORIGIN, KEY.public, None)


def _file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    def through(data: bytes, folder: Path) -> object:
        path = folder / name
        path.write_bytes(data)
        return read(path)

    return through


def _whole_export(path: Path) -> object:
    header, records = read_export(path)
    return header, list(records)


def _standalone_export(path: Path) -> object:
    header, records = standalone_export(path)
    return header, list(records)


def _inside_code(data: bytes, _folder: Path) -> object:
    from sync.certificate.compact import PREFIX, base45

    return Compact.parse(PREFIX + base45(zlib.compress(data)))


def _invitation(data: bytes, _folder: Path) -> object:
    """With the check that belongs to it: whoever makes one up makes that too."""
    from sync.transport.invitation import PREFIX, _check

    return Invitation.parse(PREFIX + base64.urlsafe_b64encode(data + _check(data)).decode().rstrip("="))


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


# -- what they accept ------------------------------------------------------------------------------------------


def _encoded(fields: Fields) -> tuple[bytes]:
    return (canonical.encode(fields),)


def _record(kind: str, fields: Fields, seq: int = 1, prev: str = "0" * 64) -> Record:
    envelope: Fields = {
        "v": 1, "node": "n1", "epoch": 1, "seq": seq, "prev": prev, "kind": kind, "key": KEY.public.key_id,
        "at": BOOT, "anchor": {"central_time_us": 1, "ack_hash": "0" * 64},
    }  # fmt: skip
    return seal({**envelope, **fields}, KEY)


def _rotated() -> Record:
    rotation = Rotation("n1", 1, 1, "node", KEY.public.key_id, OTHER.public)
    return _record("key.rotated", rotation.fields(OTHER, KEY, "file"))


def _signed(record: Record) -> SignedBody:
    return SignedBody(record.body, record.signature)


def _enrolment() -> str:
    return Enrolment("n1", "s1", KEY.public, OTHER.public).text(KEY)


def _central() -> str:
    keys = CentralKeys("hq", KEY.public, dict.fromkeys(("ack", "notice", "checkpoint", "code"), OTHER.public))  # type: ignore[arg-type]
    return keys.text(KEY)


def _export(record: Record, enrolment: str, central: str) -> bytes:
    from sync.audit.export import Header

    header = Header(enrolment, central, (), ())
    line = {"body": record.body.decode(), "signature": record.signature.hex()}
    return canonical.encode(header.fields()) + b"\n" + canonical.encode(line) + b"\n"


def _bundle(enrolment: str, central: str) -> Bundle:
    visit = _record("visit.first", {"visit": "v-1", "camera": "door", "arrived_us": 1})
    ack = Ack.seal("n1", 1, 1, visit.hash, 5, 8, OTHER)
    after = _record("visit.left", {"visit": "v-1", "reason": "gap"}, 2, visit.hash.hex())
    return Bundle("v-1", enrolment, central, (), (), (ack.data,), (_signed(visit), _signed(after)))


def _zip(bundle: Bundle) -> bytes:
    import io
    import zipfile

    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle.json", bundle.encode())
    return memory.getvalue()


def _picture(text: str) -> bytes:
    file = BytesIO()
    segno.make(text, error="m").save(file, kind="png", scale=2)
    return file.getvalue()


def _unpacked(compact: Compact) -> bytes:
    return canonical.encode(
        {
            "v": 1,
            "body": compact.body.decode(),
            "signature": compact.signature.hex(),
            "node_pub": compact.node_pub,
            "central_pub": compact.central_pub,
        }
    )


def _invited(invitation: Invitation) -> bytes:
    head = b"\x01" + invitation.token + invitation.ca_sha256 + bytes.fromhex(invitation.root)
    return head + f"{invitation.server}\n{invitation.uplink}".encode()


def _config() -> bytes:
    from edge.settings import new_config

    return new_config(site="s", node="n", place={}, capture={"mode": "after_consent"}).encode()
