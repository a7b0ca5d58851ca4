#!/usr/bin/env python3
"""Verifies FirstVisit's evidence without FirstVisit: one file, Python 3.11 and PyNaCl, written from sync/README.md.

    python3 verify_standalone.py PATH [--public-key FILE]
    python3 verify_standalone.py --receipt TEXT|FILE [PATH] [--public-key FILE]

PATH is a certificate bundle (.zip), the text of the code printed on a certificate, or an exported ledger. FILE is the
node.pub or central.pub that you were given by somebody you trust; without it the records are shown to agree with each
other, not whose they are. TEXT is what the code on a slip of the desk's holds: it is held against the desk's key in a
node.pub, against the record itself in a bundle or a ledger, or both.
It ends with 0 where all is good, 1 where something is bad, 2 where PATH cannot be judged at all. It writes nothing.

It shares no code with the rest of FirstVisit, so that a mistake made there is not made here again. The numbers in the
headings are the sections of sync/README.md, the protocol, that each part follows.
"""

import base64
import hashlib
import json
import re
import sys
import unicodedata
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

try:
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey
except ImportError:
    print("PyNaCl is missing, nothing was judged: python3 -m pip install pynacl", file=sys.stderr)
    sys.exit(2)

Fields = dict[str, Any]
Place = tuple[int, int]  # epoch and seq
Point = tuple[int, int] | None
Revocation = tuple[str, Place, str]  # the id of a key, the last place where it counts, and why


class Bad(Exception):
    """The evidence does not hold; the text says where and why."""


class Unreadable(Exception):
    """This is not evidence of a form that can be judged."""


# -- 1. Canonical bytes: RFC 8785, without floats, booleans and nulls --------------------------------------------------

LARGEST = 2**53 - 1


def decode(data: bytes) -> Fields:
    """The object whose canonical bytes these are; raises Bad for any other bytes."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_object, parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Bad(f"not canonical JSON: {str(error)[:80]}") from error
    if not isinstance(value, dict):
        raise Bad("not a JSON object")
    _check(value, 1)
    if encode(value) != data:
        raise Bad("not in canonical form")
    return value


def encode(value: Fields) -> bytes:
    """The canonical bytes of an object that `_check` lets pass; keys are ASCII, so their order is that of Python."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise Bad("a lone surrogate") from error


def _object(pairs: list[tuple[str, Any]]) -> Fields:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _refuse(number: str) -> None:
    raise ValueError(f"{number} is not allowed")


def _check(value: object, depth: int) -> None:
    if isinstance(value, dict | list):
        if depth > 4:
            raise Bad("nested deeper than 4")
        if isinstance(value, dict) and not all(name.isascii() for name in value):
            raise Bad("a key that is not ASCII")
        for item in value.values() if isinstance(value, dict) else value:
            _check(item, depth + 1)
    elif type(value) is int:
        if abs(value) > LARGEST:
            raise Bad("an integer of 2^53 or more")
    elif not isinstance(value, str):
        raise Bad(f"{type(value).__name__} is not allowed")


def text(fields: Fields, name: str) -> str:
    """A text of an object, not empty; raises Bad."""
    if not isinstance(fields.get(name), str) or not fields[name]:
        raise Bad(f"{name} is not a text")
    return str(fields[name])


def count(fields: Fields, name: str, least: int = 0) -> int:
    """A whole number of an object; raises Bad."""
    if type(fields.get(name)) is not int or fields[name] < least:
        raise Bad(f"{name} is not a whole number of {least} or more")
    return int(fields[name])


def hexadecimal(value: object, size: int | None = None) -> bytes:
    """The bytes of lower-case hexadecimal digits, `size` of them where it is given; raises Bad."""
    if not isinstance(value, str) or not re.fullmatch("([0-9a-f]{2})+", value):
        raise Bad("not lower-case hexadecimal")
    if size is not None and len(value) != 2 * size:
        raise Bad(f"not {2 * size} hexadecimal digits")
    return bytes.fromhex(value)


def is_name(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value) is not None


# -- 2. Keys, hashes, signatures ---------------------------------------------------------------------------------------


def tagged(domain: str, message: bytes) -> bytes:
    return b"firstvisit/v1/" + domain.encode() + b"\0" + message


def digest(domain: str, message: bytes) -> bytes:
    return hashlib.sha256(tagged(domain, message)).digest()


class Key:
    """A public key by its text: `ed25519:` and 64 hex digits, or `es256:` and 66, a compressed point of P-256."""

    def __init__(self, value: object) -> None:
        self.text = value if isinstance(value, str) else ""
        self.algorithm, _, digits = self.text.partition(":")
        sizes = {"ed25519": 32, "es256": 33}
        if self.algorithm not in sizes:
            raise Bad(f"unknown key algorithm {self.algorithm[:20]!r}")
        self.raw = hexadecimal(digits, sizes[self.algorithm])
        self.point = decompress(self.raw) if self.algorithm == "es256" else None
        self.id = hashlib.sha256(self.text.encode()).hexdigest()[:32]

    @property
    def fingerprint(self) -> str:
        return " ".join(self.id[at : at + 4] for at in range(0, 32, 4))

    def signed(self, domain: str, message: bytes, signature: bytes) -> bool:
        """Whether this key made this signature; libsodium refuses keys of small order and non-canonical signatures."""
        if len(signature) != 64:
            return False
        if self.point is not None:
            return ecdsa(self.point, tagged(domain, message), signature)
        return self.signed_plain(tagged(domain, message), signature)

    def signed_plain(self, message: bytes, signature: bytes) -> bool:
        """The same of an Ed25519 key, over bytes without a domain."""
        try:
            VerifyKey(self.raw).verify(message, signature)
        except (BadSignatureError, ValueError):
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


# P-256 (FIPS 186-4 D.1.2.3), for keys that live in a TPM. Verifying handles no secret, so it need not be constant-time.
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def decompress(raw: bytes) -> tuple[int, int]:
    """The point of a SEC 1 compressed key; raises Bad where it is none of the curve."""
    x = int.from_bytes(raw[1:])
    square = (x * x * x - 3 * x + B) % P
    y = pow(square, (P + 1) // 4, P)
    if raw[0] not in (2, 3) or x >= P or y * y % P != square:
        raise Bad("not a point of P-256")
    return x, y if y % 2 == raw[0] - 2 else P - y


def add(a: Point, b: Point) -> Point:
    """The sum of two points; None is the point at infinity."""
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P) % P
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P) % P
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def ecdsa(point: Point, message: bytes, signature: bytes) -> bool:
    """ECDSA over SHA-256 with r and s of 32 bytes each; of the two values of s only the low one counts."""
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    if not (0 < r < N and 0 < s <= N // 2):
        return False
    e, inverse = int.from_bytes(hashlib.sha256(message).digest()), pow(s, -1, N)
    of_g, of_key, both = e * inverse % N, r * inverse % N, add(G, point)
    found: Point = None
    for bit in range(255, -1, -1):
        found = add(found, found)
        one, other = of_g >> bit & 1, of_key >> bit & 1
        if one or other:
            found = add(found, both if one and other else G if one else point)
    return found is not None and found[0] % N == r


# -- 3. Records --------------------------------------------------------------------------------------------------------

NODE_KINDS = (
    "node.boot node.alive node.stopped epoch.started key.rotated clock.step place.outside place.changed storage.full"
    " policy.changed notice.applied retention.run camera.up camera.down camera.blind camera.moved camera.changed"
    " visit.seen visit.first visit.return visit.unsure visit.reentry visit.left"
)
DESK_KINDS = (
    "visit.checkin visit.corrected visit.approved visit.assigned code.refused day.closed consent.given"
    " consent.withdrawn person.enrolled person.expired person.erased person.merged person.split access.digest"
    " export.made"
)
ROLE_OF_KIND = {**dict.fromkeys(NODE_KINDS.split(), "node"), **dict.fromkeys(DESK_KINDS.split(), "desk")}


class Record:
    """One signed body, its envelope read; the signature is judged by `Keys`."""

    def __init__(self, body: bytes, signature: bytes) -> None:
        if len(body) > 8192:
            raise Bad(f"a body of {len(body)} bytes")
        if len(signature) != 64:
            raise Bad(f"a signature of {len(signature)} bytes")
        self.body, self.signature, self.fields = body, signature, decode(body)
        fields = self.fields
        _check_stamp(fields.get("at"))
        if type(fields.get("v")) is not int or fields["v"] != 1:
            raise Bad(f"version {fields.get('v')!r}")
        self.node, self.kind, self.key_id = text(fields, "node"), text(fields, "kind"), text(fields, "key")
        self.prev = hexadecimal(text(fields, "prev"), 32)
        if not is_name(self.node):
            raise Bad("node is not a name")
        if not re.fullmatch("[a-z][a-z0-9._-]{0,63}", self.kind):
            raise Bad("kind is not a kind")
        hexadecimal(self.key_id, 16)
        self.place = count(fields, "epoch", 1), count(fields, "seq", 1)
        self.anchor = fields.get("anchor")
        if "anchor" in fields:
            if not isinstance(self.anchor, dict) or type(self.anchor.get("central_time_us")) is not int:
                raise Bad("anchor.central_time_us is not a whole number")
            hexadecimal(self.anchor.get("ack_hash"), 32)
        self.hash = digest("record-hash", body)


def _check_stamp(at: object) -> None:
    if not isinstance(at, dict):
        raise Bad("at is not an object")
    if type(at.get("wall_us")) is not int or not isinstance(at.get("boot_id"), str):
        raise Bad("at: wall_us or boot_id is wrong")
    for name in ("boot_us", "maxerror_us", "steps"):
        count(at, name)
    if at.get("source") not in ("synced", "unsynced"):
        raise Bad("at.source is neither synced nor unsynced")


def named(place: Place) -> str:
    """How people name a place of the chain."""
    return f"seq {place[1]}" if place[0] == 1 else f"epoch {place[0]} seq {place[1]}"


# -- 11. The keys of a node, each for a stretch of its chain -----------------------------------------------------------


class Tenure:
    """A key in a role, from the place `since` on and before the place `until`."""

    def __init__(self, key: Key, role: str, since: Place, until: Place | None = None) -> None:
        self.key, self.role, self.since, self.until = key, role, since, until

    def holds(self, place: Place) -> bool:
        return self.since <= place and (self.until is None or place < self.until)


class NodeKeys:
    """The keys in force at any place of a chain: enrolled, rotated along the chain, revoked by central."""

    def __init__(self, enrolments: Iterable["Enrolment"], revocations: Iterable["Revocation"]) -> None:
        self.tenures: list[Tenure] = []
        self.revoked: dict[str, Revocation] = {}
        self.void: list[Record] = []  # those that `counts` has met
        for enrolment in sorted(enrolments, key=lambda one: one.epoch):
            for role, key in enrolment.keys.items():
                first = (enrolment.epoch, 1)
                before = self.holder(role, first)
                if before and before.key == key:
                    continue
                if before:
                    before.until = first
                self.tenures.append(Tenure(key, role, first))
        for one in revocations:
            held = self.revoked.setdefault(one[0], one)
            if one[1] < held[1]:
                self.revoked[one[0]] = one

    def holder(self, role: str, place: Place) -> Tenure | None:
        return next((one for one in self.tenures if one.role == role and one.holds(place)), None)

    def check(self, record: Record) -> None:
        """Raise Bad unless a key in force signed this record, in the role that its kind asks for; follow rotations."""
        if not self.counts(record):
            raise Bad(f"key {record.key_id} is revoked after {named(self.revoked[record.key_id][1])}")

    def counts(self, record: Record) -> bool:
        """The same, but False for a record with nothing wrong in it but that its key was revoked at a place before.

        It is void: it proves nothing, and a rotation in it hands on nothing.
        """
        mine = [one for one in self.tenures if one.key.id == record.key_id]
        if not mine:
            raise Bad(f"key {record.key_id} is not enrolled for node {record.node}")
        held = next((one for one in mine if one.holds(record.place)), None)
        if held is None:
            raise Bad(f"key {record.key_id} is not in force")
        wanted = ROLE_OF_KIND.get(record.kind, held.role)
        if held.role != wanted:
            raise Bad(f"{record.kind} is signed by the {held.role} key, only the {wanted} key may sign it")
        if not held.key.signed("record-sig", record.body, record.signature):
            raise Bad("the signature does not verify")
        if record.key_id in self.revoked and record.place > self.revoked[record.key_id][1]:
            self.void.append(record)
            return False
        if record.kind == "key.rotated":
            self.rotate(record)
        return True

    def void_lines(self, void: Iterable[Record]) -> Iterator[str]:
        """What people read of void records, which come in chain order: one line an epoch and key."""
        runs: dict[tuple[int, str], list[list[int]]] = {}
        for record in void:
            (epoch, seq), key_id = record.place, record.key_id
            listed = runs.setdefault((epoch, key_id), [])
            if listed and listed[-1][1] + 1 == seq:
                listed[-1][1] = seq
            else:
                listed.append([seq, seq])
        for (epoch, key_id), listed in runs.items():
            spans = ", ".join(f"{first}..{last}" for first, last in listed)
            at = "seq" if epoch == 1 else f"epoch {epoch} seq"
            yield f"void: {at} {spans}, signed after key {key_id} was revoked ({self.revoked[key_id][2]})"

    def rotate(self, record: Record) -> None:
        """Let another key sign from the next record on; the old and the new must both have signed for it."""
        fields, (epoch, seq) = record.fields, record.place
        role, old = fields.get("role"), fields.get("old")
        if role not in ("node", "desk") or not isinstance(old, str):
            raise Bad("key.rotated: role or old is missing")
        new, before = Key(fields.get("new")), self.holder(role, record.place)
        if before is None or before.key.id != old or (role == "node" and old != record.key_id):
            raise Bad(f"key.rotated: {old[:32]} is not the {role} key in force")
        if old in self.revoked and record.place > self.revoked[old][1]:
            raise Bad(f"key.rotated: {old} is revoked after {named(self.revoked[old][1])}")
        if any(one.key == new for one in self.tenures):
            raise Bad("key.rotated: the new key has been a key of this node before")
        signed = encode(
            {"v": 1, "node": record.node, "epoch": epoch, "seq": seq, "role": role, "old": old, "new": new.text}
        )
        if not new.signed("rotation", signed, _signature(fields.get("proof"))):
            raise Bad("key.rotated: the new key did not sign it")
        if role == "desk" and not before.key.signed("rotation", signed, _signature(fields.get("consent"))):
            raise Bad("key.rotated: the desk key in force did not consent")
        self.tenures.append(Tenure(new, role, (epoch, seq + 1), before.until))
        before.until = (epoch, seq + 1)


def _signature(value: object) -> bytes:
    """Empty, which never verifies, where it is not hexadecimal."""
    return bytes.fromhex(value) if isinstance(value, str) and re.fullmatch("([0-9a-f]{2})+", value) else b""


# -- 6. What central says ----------------------------------------------------------------------------------------------


def opened(domain: str, data: bytes, key: Key) -> Fields:
    """The body of one of central's messages, its signature verified; raises Bad."""
    if not 64 < len(data) <= 16384:
        raise Bad(f"{domain}: {len(data)} bytes")
    fields = decode(data[64:])
    if fields.get("v") != 1:
        raise Bad(f"{domain}: version {fields.get('v')!r}")
    if not key.signed(domain, data[64:], data[:64]):
        raise Bad(f"{domain}: the signature does not verify")
    return fields


def opened_by(domain: str, data: bytes, keys: Iterable[Key]) -> Fields:
    """The same, whichever of these keys signed it."""
    fault = Bad(f"{domain}: there is no key to hold it against")
    for key in keys:
        try:
            return opened(domain, data, key)
        except Bad as error:
            fault = error
    raise fault


class Ack:
    """Central held the chain up to a place, the record there being `head`, at a time by its own clock."""

    def __init__(self, data: bytes, keys: Iterable[Key]) -> None:
        fields = opened_by("ack", data, keys)
        self.node, self.place = text(fields, "node"), (count(fields, "epoch"), count(fields, "upto"))
        self.head = hexadecimal(fields.get("head_hash"), 32)
        self.time_us, self.hash = count(fields, "central_time_us"), digest("ack", data[64:])
        if not 1 <= count(fields, "window") <= 8:
            raise Bad("ack: window is not 1 to 8")
        self.log = LogProof(fields["checkpoint"]) if "checkpoint" in fields else None


# -- 10. Central's log: RFC 6962 and C2SP tlog-checkpoint --------------------------------------------------------------


class LogProof:
    """What an ack says of central's log: a checkpoint, and that the acknowledged record and all before it lie in it."""

    def __init__(self, fields: object) -> None:
        if not isinstance(fields, dict):
            raise Bad("checkpoint: not an object")
        self.note, self.index, self.proof = text(fields, "note"), count(fields, "index"), _hashes(fields.get("proof"))
        self.since = count(fields, "from") if "from" in fields or "consistency" in fields else None
        self.consistency = _hashes(fields.get("consistency")) if self.since is not None else []


def _hashes(values: object) -> list[bytes]:
    if not isinstance(values, list):
        raise Bad("checkpoint: not a list of hashes")
    return [hexadecimal(value, 32) for value in values]


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\0" + leaf).digest()


def parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def included(leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes) -> bool:
    """RFC 9162 2.1.3.2: whether the leaf is number `index` of the tree of `size` leaves with this root."""
    if index >= size:
        return False
    at, last, found = index, size - 1, leaf_hash(leaf)
    for sibling in proof:
        if last == 0:
            return False
        if at % 2 or at == last:
            found = parent(sibling, found)
            while at % 2 == 0 and at:
                at, last = at // 2, last // 2
        else:
            found = parent(found, sibling)
        at, last = at // 2, last // 2
    return last == 0 and found == root


def consistent(first: int, second: int, proof: list[bytes], first_root: bytes, second_root: bytes) -> bool:
    """RFC 9162 2.1.4.2: whether the tree of `first` leaves is the beginning of that of `second`."""
    if first == second:
        return not proof and first_root == second_root
    if not 0 < first < second or not proof:
        return False
    path = proof if first & (first - 1) else [first_root, *proof]
    at, last = first - 1, second - 1
    while at % 2:
        at, last = at // 2, last // 2
    older = newer = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at % 2 or at == last:
            older, newer = parent(sibling, older), parent(sibling, newer)
            while at % 2 == 0 and at:
                at, last = at // 2, last // 2
        else:
            newer = parent(newer, sibling)
        at, last = at // 2, last // 2
    return last == 0 and older == first_root and newer == second_root


def checkpoint(note: str, lists: list["CentralKeys"]) -> tuple[int, bytes]:
    """The size and the root of a checkpoint, signed under one of these lists (C2SP signed-note); raises Bad."""
    found = re.fullmatch("(([^\n]+)\n(0|[1-9][0-9]{0,15})\n([^\n]+)\n)\n— ([^\n ]+) ([^\n ]+)\n", note)
    if not found or found[2] != found[5] or int(found[3]) > LARGEST:
        raise Bad("checkpoint: not a checkpoint")
    root, sealed = _base64(found[4]), _base64(found[6])
    for one in lists:
        key = one.keys["checkpoint"]
        mark = hashlib.sha256(found[2].encode() + b"\n\x01" + key.raw).digest()[:4]
        named_so = found[2] == f"firstvisit/v1/checkpoint/{one.name}" and key.algorithm == "ed25519"
        if named_so and len(root) == 32 and sealed[:4] == mark and key.signed_plain(found[1].encode(), sealed[4:]):
            return int(found[3]), root
    raise Bad("checkpoint: not signed by this central")


def _base64(value: str) -> bytes:
    try:
        data = base64.b64decode(value, validate=True)
    except ValueError as error:
        raise Bad("checkpoint: not base64") from error
    if base64.b64encode(data).decode() != value:
        raise Bad("checkpoint: base64 written another way")
    return data


# -- 7. Key files ------------------------------------------------------------------------------------------------------


def key_file(content: str) -> tuple[Fields, bytes, bytes]:
    """The fields, the body and the signature of a file of two lines; raises Bad."""
    lines = content.removesuffix("\n").split("\n")
    if len(lines) != 2:
        raise Bad("key file: not two lines")
    body = lines[0].encode()
    fields = decode(body)
    if fields.get("v") != 1:
        raise Bad(f"key file: version {fields.get('v')!r}")
    return fields, body, hexadecimal(lines[1])


class CentralKeys:
    """Central's root key and the keys under it, by role."""

    def __init__(self, fields: Fields) -> None:
        listed = fields.get("keys")
        if not isinstance(listed, dict) or set(listed) != {"ack", "notice", "checkpoint", "code"}:
            raise Bad("central keys: not exactly the roles ack, notice, checkpoint, code")
        self.name = text(fields, "central")
        if not is_name(self.name):
            raise Bad("central keys: central is not a name")
        self.root, self.keys = Key(fields.get("root")), {role: Key(listed[role]) for role in listed}

    @classmethod
    def read(cls, content: str) -> "CentralKeys":
        """Read a central.pub, held to the root key that it names."""
        fields, body, signature = key_file(content)
        keys = cls(fields)
        if not keys.root.signed("keys", body, signature):
            raise Bad("central key file: not signed by the root key it names")
        return keys


class Enrolment:
    """A node's keys, as its own node key signed them: a node.pub."""

    def __init__(self, content: str) -> None:
        fields, body, signature = key_file(content)
        listed = fields.get("keys")
        if not isinstance(listed, dict):
            raise Bad("node key file: keys missing")
        self.node, self.site = text(fields, "node"), text(fields, "site")
        self.keys = {"node": Key(listed.get("node")), "desk": Key(listed.get("desk"))}
        self.listed = {role: listed[role] for role in self.keys}
        self.epoch = count(fields, "epoch", 2) if "epoch" in fields else 1  # 1 is said by saying nothing
        if not self.keys["node"].signed("enrolment", body, signature):
            raise Bad("node key file: not signed by the node key it names")
        if self.keys["node"] == self.keys["desk"]:
            raise Bad("node key file: node and desk share one key")
        if not (is_name(self.node) and is_name(self.site)):
            raise Bad("node key file: node or site is not a name")


class HeadOffice:
    """What central has said of accounts, and which words on corrections are head office's (section 13).

    orders: by the node and the hash of the notice, its nseq and body. confirmed: by account the newest that was
    answered. changed: by account the place of the newest record that tells of it.
    """

    def __init__(self) -> None:
        self.orders: dict[tuple[str, str], tuple[int, Fields]] = {}
        self.confirmed: dict[str, tuple[int, Fields]] = {}
        self.changed: dict[str, Place] = {}

    def hear(self, notice: Fields, data: bytes) -> None:
        """Take a notice of kind `account`; one of another form is a later version's, and says nothing here."""
        body, forms = notice["body"], ACCOUNT_FORMS
        form = next((form for form in forms if body.keys() == form.keys()), None)
        whole = {"enabled": 0, "epoch": 1, "seq": 1}
        if form is None or ("role" in body and body["enabled"] != 1):
            return
        for name, pattern in form.items():
            value = body[name]
            if name in whole:
                if type(value) is not int or not whole[name] <= value <= (1 if name == "enabled" else LARGEST):
                    return
            elif not isinstance(value, str) or not re.fullmatch(pattern, value):
                return
        self.orders[notice["node"], digest("notice", data[64:]).hex()] = (notice["nseq"], body)

    def follow(self, record: "Record") -> str:
        """Take the next record over; returns what it rests on as a word: `central`, `desk`, or nothing."""
        fields, listed = record.fields, record.fields.get("accounts")
        for one in listed if record.kind == "access.digest" and isinstance(listed, list) else ():
            if (account := _told_account(one)) is not None:
                self.changed[account] = record.place
        named_by = fields.get("hash") if record.kind == "notice.applied" else None
        nseq, order = self.orders.get((record.node, named_by), (0, {})) if isinstance(named_by, str) else (0, {})
        if "enabled" in order and nseq > self.confirmed.get(order["account"], (0, {}))[0]:
            self.confirmed[order["account"]] = (nseq, order)
        if record.kind == "notice.applied":
            told = ("account", "visit", "proposal", "verdict")
            return "central" if "proposal" in order and all(fields.get(one) == order[one] for one in told) else ""
        account = fields.get("account")
        _, said = self.confirmed.get(account, (0, {})) if isinstance(account, str) else (0, {})
        same = said.get("role") == "auditor" and said.get("office") == fields.get("office")
        return "desk" if same and (said["epoch"], said["seq"]) == self.changed.get(said["account"]) else ""


RESTS = {
    "central": "by central's own word",
    "desk": "on the desk's key alone",
    "held": "on the desk's key alone, by the records that this bundle holds",
}
ID, NAME, CODE64 = "[a-z]{1,8}-[0-9a-f]{16,64}", "[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "[0-9a-f]{64}"
ACCOUNT_FORMS = (
    {"account": ID, "enabled": ""},
    {"account": ID, "enabled": "", "role": "auditor|privacy", "office": NAME, "epoch": "", "seq": ""},
    {"account": ID, "office": NAME, "visit": NAME, "proposal": CODE64, "verdict": "approved|refused"},
)


def _told_account(one: object) -> str | None:
    """The account that an entry of a record's `accounts` tells of; None where it is no such entry."""
    if not isinstance(one, dict):
        return None
    office = isinstance(one.get("office"), str) and one["office"]
    forms = {"account": ID, "act": NAME, "role": NAME, **({"office": NAME} if office else {})}
    good = all(isinstance(one.get(name), str) and re.fullmatch(form, one[name]) for name, form in forms.items())
    return str(one["account"]) if good else None


def central_words(
    pinned: list[CentralKeys], notices: list[bytes], head_office: HeadOffice | None = None
) -> tuple[list[CentralKeys], list[Revocation]]:
    """Every list of central's keys there ever was, and the revocations of the node's; raises Bad.

    head_office: hears what is said of accounts.

    A notice of kind `keys` is signed by the root key, every other by a notice key.
    """
    lists, revocations = list(pinned), []
    for data in notices if pinned else ():
        if len(data) <= 64:
            raise Bad("a stored notice: too short")
        kind = decode(data[64:]).get("kind")
        signers = [pinned[0].root] if kind == "keys" else [one.keys["notice"] for one in lists]
        fields = opened_by("notice", data, signers)
        body = fields.get("body")
        if not isinstance(body, dict):
            raise Bad("a stored notice: body is not an object")
        text(fields, "node"), count(fields, "nseq"), hexadecimal(fields.get("prev_hash"), 32)
        if kind == "keys":
            lists.append(CentralKeys(body))
        elif kind == "key.revoked":
            if body.keys() != {"key", "epoch", "seq", "reason"}:
                raise Bad("a stored key.revoked notice: other keys than it should have")
            hexadecimal(body["key"], 16)
            if body["reason"] not in ("compromised", "lost", "retired", "error"):
                raise Bad("a stored key.revoked notice: unknown reason")
            revocations.append((body["key"], (count(body, "epoch", 1), count(body, "seq")), body["reason"]))
        elif kind == "account" and head_office:
            head_office.hear(fields, data)
    return lists, revocations


class ReplacedAckKeys:
    """Ack keys that central has replaced: behind the node's answer to the notice that did, they acknowledge nothing."""

    def __init__(self, pinned: list[CentralKeys], notices: list[bytes]) -> None:
        told = [(decode(data[64:]), digest("notice", data[64:]).hex()) for data in notices if pinned]
        told = [(fields, name) for fields, name in told if fields.get("kind") == "keys"]
        keys = [CentralKeys(fields["body"]).keys["ack"] for fields, _ in told]
        self.replaced: list[tuple[Key, tuple[int, str]]] = []
        for key in [*keys, *(one.keys["ack"] for one in pinned[-1:])]:
            last = max((at for at, one in enumerate(keys) if one == key), default=-1)
            if last + 1 < len(told):
                fields, name = told[last + 1]
                self.replaced.append((key, (fields["nseq"], name)))
        self.answered: dict[tuple[int, str], Place] = {}

    def hear(self, record: Record) -> None:
        """Take what a verified record answers."""
        if record.kind == "notice.applied":
            nseq, name = record.fields.get("nseq"), record.fields.get("hash")
            if isinstance(nseq, int) and isinstance(name, str):
                self.answered.setdefault((nseq, name), record.place)

    def check(self, ack: Ack, data: bytes) -> None:
        """Raise Bad where an ack, given with its signed bytes, covers what lies behind the answer."""
        for key, notice in self.replaced:
            answered = self.answered.get(notice)
            if answered is not None and ack.place > answered and key.signed("ack", data[64:], data[:64]):
                raise Bad(
                    f"the ack of {named(ack.place)} is under a key that central had replaced by {named(answered)}"
                )


# -- 8., 9. and 15. A chain, held against its keys and central's acks --------------------------------------------------

Signed = tuple[bytes, bytes]  # a record as it is stored: the body and the signature


class Ledger:
    """What lies beside a chain: its node's enrolments, central's keys, and central's words as their signed bytes.

    kept, base: of a purged chain, the records of before that were spared, and what it begins behind.
    """

    def __init__(
        self,
        enrolments: list[str],
        central: str | None,
        acks: list[bytes],
        notices: list[bytes],
        kept: list[Signed],
        base: "Base | None",
    ) -> None:
        self.enrolments, self.central, self.acks, self.notices = enrolments, central, acks, notices
        self.kept, self.base = kept, base


class Base:
    """What a purged chain begins behind, as a `retention.run` names it under `purged`; raises Bad."""

    def __init__(self, fields: object) -> None:
        if not isinstance(fields, dict):
            raise Bad("purged: not what a purge says")
        self.place, self.kept = (count(fields, "epoch"), count(fields, "upto")), count(fields, "kept")
        self.head = hexadecimal(fields.get("head"), 32)
        self.kept_sha256 = hexadecimal(fields.get("kept_sha256"), 32)


class Found:
    """What holds of a chain: how many records, where it ends and with which hash, and the acks beside it.

    void: what is to be said of its void records, which are not counted.
    """

    def __init__(
        self, node: str, checked: int, last: Place, head: bytes, acks: list[Ack], origin: str, void: list[str]
    ) -> None:
        self.node, self.checked, self.last, self.head, self.acks, self.origin = node, checked, last, head, acks, origin
        self.void = void

    def lines(self) -> Iterator[str]:
        yield f"{self.checked} records of node {self.node} verified up to {named(self.last)}, head {self.head.hex()}"
        yield from self.void
        yield self.origin
        covered = max((ack.place for ack in self.acks), default=None)
        yield f"acks: {len(self.acks)} verified" + (f", the last of {named(covered)}" if covered else "")
        yield "what no ack covers is vouched for by this machine alone"
        yield "what was lost behind the last ack cannot be seen"


class At(Bad):
    """Bad at a place of the chain."""

    def __init__(self, place: Place, why: str) -> None:
        super().__init__(f"{named(place)}: {why}")
        self.place = place


def judge(ledger: Ledger, records: Iterable[Signed], given: "Given") -> Found:
    """Verify a whole chain; raises Bad, or At where one record is at fault."""
    enrolments, central, origin = given.settle(ledger.enrolments, ledger.central)
    lists, revocations = central_words(central, ledger.notices)
    keys, node = NodeKeys(enrolments, revocations), enrolments[0].node
    kept = [_kept(body, signature, node, keys, ledger.base) for body, signature in ledger.kept]
    if kept != sorted(kept, key=lambda record: record.place):
        raise Bad("kept records out of order")
    acks = [Ack(data, [one.keys["ack"] for one in lists]) for data in ledger.acks]
    for ack in acks:
        if ack.node != node:
            raise Bad(f"an ack for node {ack.node}")
    signed: list[tuple[Place, int, bytes]] = []  # the heads of central's log that the node signed back
    kept_void = len(keys.void)
    replaced = ReplacedAckKeys(central, ledger.notices)
    by_hash, heads = {ack.hash: ack for ack in acks}, dict[Place, set[bytes]]()
    for ack in acks:
        heads.setdefault(ack.place, set()).add(ack.head)
    base, told, checked = ledger.base, ledger.base is None, 0
    last, head = (base.place, base.head) if base else ((1, 0), bytes(32))
    for body, signature in records:
        place = last[0], last[1] + 1
        try:
            record = Record(body, signature)
            if record.node != node:
                raise Bad(f"the body is of node {record.node}")
            if record.place != place and not (last[1] and record.place[0] > last[0] and record.place[1] == 1):
                raise Bad(f"the body says {named(record.place)}, not what comes next")
            if record.prev != head:
                raise Bad("prev is not the hash of the record before")
            counts = keys.counts(record)
            if counts:
                replaced.hear(record)
            if heads.pop(record.place, {record.hash}) != {record.hash}:
                raise Bad("not the record that central acknowledged")
            _check_anchor(record, by_hash)
            told = _told_of_purge(record, base, kept) or told
            if counts or any(ack.place[0] == record.place[0] and ack.place >= record.place for ack in acks):
                signed += _signed_back(record)  # in a void record, where central took it before it revoked the key
        except Bad as bad:
            raise At(place, str(bad)) from bad
        last, head, checked = record.place, record.hash, checked + counts
    void = keys.void[kept_void:]
    if not checked and not void:
        raise At((1, 1), "missing: there is no record at all")
    if not told:
        raise At((1, 1), "missing, and no record says that it was purged")
    if base and heads.pop(base.place, set()) != {base.head}:
        raise At(base.place, "purged up to here, but no ack of it is there")
    if beyond := [place for place in heads if base is None or place > base.place]:
        raise At(min(beyond), "missing, though central has acknowledged it")
    if given.mismatch:
        raise Bad(given.mismatch)
    for ack, data in zip(acks, ledger.acks, strict=True):
        replaced.check(ack, data)
    witnessed(acks, lists, signed)
    return Found(node, checked, last, head, acks, origin, list(keys.void_lines(void)))


def _signed_back(record: Record) -> Iterator[tuple[Place, int, bytes]]:
    log = record.fields.get("log")
    if record.kind != "node.alive" or not isinstance(log, dict):
        return
    size, root = log.get("size"), log.get("root")
    if type(size) is int and size > 0 and isinstance(root, str) and re.fullmatch("[0-9a-f]{64}", root):
        yield record.place, size, bytes.fromhex(root)


def witnessed(acks: list[Ack], lists: list["CentralKeys"], signed: list[tuple[Place, int, bytes]]) -> None:
    """Hold each checkpoint in an ack to the acknowledged record and to those before it: a log only grows.

    signed: the heads that the node signed back, in chain order; the newest of its epoch is what an ack must continue.
    """
    roots, newest, places = dict[int, bytes](), 0, [place for place, _, _ in signed]
    for ack in acks:
        if ack.log is None:
            continue
        size, root = checkpoint(ack.log.note, lists)
        if not included(ack.head, ack.log.index, size, ack.log.proof, root):
            raise Bad("an ack's checkpoint is not shown to hold the record acknowledged")
        if roots.setdefault(size, root) != root or size < newest:
            raise Bad(f"the checkpoints in acks contradict each other at size {size}")
        since = ack.log.since
        before = bisect_right(places, ack.place)
        if before and places[before - 1][0] == ack.place[0]:
            _, back, back_root = signed[before - 1]
            if since != back:
                raise Bad(f"the log of size {size} continues another head than the one signed back, of size {back}")
            if not consistent(back, size, ack.log.consistency, back_root, root):
                raise Bad(f"the log of size {size} does not continue that of size {back}")
        if since in roots and not consistent(since, size, ack.log.consistency, roots[since], root):
            raise Bad(f"the log of size {size} does not continue that of size {since}")
        newest = size


def _check_anchor(record: Record, acks: dict[bytes, Ack]) -> None:
    if record.anchor:
        ack = acks.get(bytes.fromhex(record.anchor["ack_hash"]))
        if ack is None:
            raise Bad("its anchor names an ack that is not here")
        if ack.time_us != record.anchor["central_time_us"] or ack.place >= record.place:
            raise Bad("its anchor disagrees with the ack it names")


def _kept(body: bytes, signature: bytes, node: str, keys: "NodeKeys", base: Base | None) -> Record:
    """A record that a purge has spared: it stands alone, so only its keys can be judged."""
    record = Record(body, signature)
    try:
        if record.node != node or base is None or record.place > base.place:
            raise Bad("a kept record does not belong here")
        keys.counts(record)
    except Bad as bad:
        raise At(record.place, f"kept: {bad}") from bad
    return record


def _told_of_purge(record: Record, base: Base | None, kept: list[Record]) -> bool:
    """Whether this record tells of the purge that this chain begins behind; raises Bad where it tells of another."""
    if record.kind != "retention.run" or "purged" not in record.fields:
        return False
    told = Base(record.fields["purged"])
    if base is None or told.place > base.place:
        raise Bad("says that records were purged which are here")
    if told.place < base.place:
        return False
    digest_ = hashlib.sha256(b"".join(one.hash for one in kept)).digest()
    if (told.head, told.kept, told.kept_sha256) != (base.head, len(kept), digest_):
        raise Bad("the purge it tells of is not the one that was made")
    return True


# -- What is given, and what is read -----------------------------------------------------------------------------------


class Given:
    """The node.pub or central.pub that somebody trusted has handed over, if any."""

    def __init__(self, path: Path | None) -> None:
        self.node: Enrolment | None = None
        self.central: CentralKeys | None = None
        self.mismatch = ""
        if path is None:
            return
        content = _text_file(path)
        if content is None:
            raise Unreadable(f"{path}: no key file there")
        try:
            self.node = Enrolment(content)
        except Bad:
            try:
                self.central = CentralKeys.read(content)
            except Bad as bad:
                raise Unreadable(f"{path}: neither a node.pub nor a central.pub") from bad

    def settle(self, enrolments: list[str], central: str | None) -> tuple[list[Enrolment], list[CentralKeys], str]:
        """The enrolments and central's keys to hold a chain against, the given before those found, and whose it is."""
        found = [Enrolment(content) for content in enrolments]
        here = CentralKeys.read(central) if central is not None else None
        by_epoch = {one.epoch: one for one in found}
        if len(by_epoch) != len(found) or len({one.node for one in found}) > 1:
            raise Bad("the enrolments here contradict each other")
        origin = "consistent with the key found here, origin not proven"
        if self.node:
            beside = by_epoch.get(self.node.epoch)
            if beside and (beside.node, beside.site, beside.keys) != (self.node.node, self.node.site, self.node.keys):
                self.mismatch = "node.pub here is not the given one"
            by_epoch[self.node.epoch] = self.node
            origin = (
                f"origin proven against the given key of node {self.node.node} ({self.node.keys['node'].fingerprint})"
            )
        if not by_epoch:
            raise Unreadable("there is no node.pub to hold the records against; give one with --public-key")
        if self.central:
            origin = (
                f"acks proven against the given key of central {self.central.name} ({self.central.root.fingerprint})"
            )
            if here and here.root != self.central.root:
                self.mismatch, here = "central.pub here is not of the given central", None
        chosen = sorted(by_epoch.values(), key=lambda one: one is not self.node)  # the given one names the node
        return chosen, [one for one in (self.central, here) if one], origin


def _text_file(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path}: cannot be read as text") from error


def read_export(path: Path) -> tuple[Ledger, Iterator[Signed]]:
    """An exported ledger: a header and a line a record; raises Unreadable."""
    lines = _lines(path)
    try:
        header = next(lines, {})
        if header.get("format") != "firstvisit-ledger" or header.get("v") != 1:
            raise Bad("not an exported ledger")
        required, optional = {"format", "v", "acks", "node_pub", "notices"}, {"central_pub", "enrolments"}
        purged = header.keys() & {"purged", "kept"}
        if header.keys() - optional - purged != required or len(purged) == 1:
            raise Bad("the header has other keys than it should")
        central, earlier = header.get("central_pub"), header.get("enrolments", [])
        if not isinstance(earlier, list) or not all(isinstance(one, str) for one in [header["node_pub"], *earlier]):
            raise Bad("node_pub and enrolments must be texts")
        if central is not None and not isinstance(central, str):
            raise Bad("central_pub must be a text")
        lists = [header["acks"], header["notices"], header.get("kept", [])]
        if not all(isinstance(one, list) for one in lists):
            raise Bad("acks, notices and kept must be lists")
        acks, notices = ([hexadecimal(one) for one in listed] for listed in lists[:2])
        base = Base(header["purged"]) if purged else None
        kept = [_signed(one) for one in lists[2]]
    except Bad as bad:
        raise Unreadable(f"{path}: line 1: {bad}") from bad
    return Ledger([header["node_pub"], *earlier], central, acks, notices, kept, base), _records(path, lines)


def _lines(path: Path) -> Iterator[Fields]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                if not line.endswith(b"\n"):
                    raise Bad("cut short")
                yield decode(line[:-1])
            except Bad as bad:
                raise Unreadable(f"{path}: line {number}: {bad}") from bad


def _records(path: Path, lines: Iterator[Fields]) -> Iterator[Signed]:
    for number, fields in enumerate(lines, 2):
        try:
            yield _signed(fields)
        except Bad as bad:
            raise Unreadable(f"{path}: line {number}: {bad}") from bad


def _signed(fields: object) -> Signed:
    if not isinstance(fields, dict) or fields.keys() != {"body", "signature"} or not isinstance(fields["body"], str):
        raise Bad("not a record")
    return fields["body"].encode(), hexadecimal(fields["signature"])


# -- 17. The certificate of one visit: a bundle, or the code printed on it ---------------------------------------------

DECISIONS = ("visit.seen", "visit.first", "visit.return", "visit.unsure")
SOURCE = ("way", "agent", "code", "report", "first_us")
ARRIVAL = ("site", "camera", "source", "source_hash", "arrived_us", "place", "party_id")


def read_bundle(path: Path) -> tuple[str, Ledger, list[bytes], list[Signed]]:
    """The visit, what lies beside the records, central's statements and the records of a zip; raises Unreadable."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.namelist().count("bundle.json") != 1:
                raise Bad("not exactly one bundle.json in it")
            with archive.open("bundle.json") as member:
                data = member.read(64 * 1024**2 + 1)
            if len(data) > 64 * 1024**2:
                raise Bad("bundle.json is larger than 64 MiB")
            fields = decode(data)
        required = {"format", "v", "visit", "node_pub", "central_pub", "notices", "statements", "acks", "records"}
        if fields.get("format") != "firstvisit-certificate" or fields.get("v") != 1:
            raise Bad("not a certificate bundle")
        if fields.keys() - {"enrolments"} != required:
            raise Bad("other keys than a bundle has")
        lists = ("notices", "statements", "acks", "records", "enrolments")
        if not all(isinstance(fields.get(name, []), list) for name in lists):
            raise Bad("a list is none")
        texts = [fields["node_pub"], *fields.get("enrolments", [])]
        if not all(isinstance(one, str) for one in (fields["visit"], fields["central_pub"], *texts)):
            raise Bad("a text is none")
        if fields.get("enrolments", texts) == []:
            raise Bad("enrolments is empty")
        notices, statements, acks = ([hexadecimal(one) for one in fields[name]] for name in lists[:3])
        records = [_signed(one) for one in fields["records"]]
    except (Bad, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise Unreadable(f"{path}: not a certificate bundle: {error}") from error
    return fields["visit"], Ledger(texts, fields["central_pub"], acks, notices, [], None), statements, records


def judge_bundle(
    visit: str, ledger: Ledger, statements: list[bytes], signed: list[Signed], given: Given
) -> Iterator[str]:
    """Verify every byte of a bundle, then say what it proves; raises Bad."""
    enrolments, central, origin = given.settle(ledger.enrolments, ledger.central)
    if given.mismatch:
        raise Bad(given.mismatch)
    head_office = HeadOffice()
    lists, revocations = central_words(central, ledger.notices, head_office)
    keys, node = NodeKeys(enrolments, revocations), enrolments[0].node
    let_in = dict[int, int]()
    for data in statements:
        fields = opened_by("statement", data, [one.keys["notice"] for one in lists])
        text(fields, "central"), text(fields, "kind"), count(fields, "at_us")
        if fields.get("node") != node:
            raise Bad("a statement of central's is about another node")
        for enrolment in enrolments:
            if fields["kind"] == "node.enrolled" and fields.get("epoch") == enrolment.epoch:
                if fields.get("keys") != enrolment.listed:
                    raise Bad(f"central let the node in with other keys in epoch {enrolment.epoch}")
                let_in.setdefault(enrolment.epoch, fields["at_us"])
    acks = [Ack(data, [one.keys["ack"] for one in lists]) for data in ledger.acks]
    if len(set(ledger.acks)) != len(ledger.acks) or any(ack.node != node for ack in acks):
        raise Bad("an ack stands twice, or is another node's")
    witnessed(sorted(acks, key=lambda ack: (ack.place, ack.time_us)), lists, [])
    heads = {ack.place: ack.head for ack in acks}
    replaced = ReplacedAckKeys(central, ledger.notices)
    records: list[Record] = []
    for body, signature in signed:
        record = Record(body, signature)
        before = records[-1] if records else None
        try:
            if record.node != node or (before and record.place <= before.place):
                raise Bad("it is another node's, or out of order")
            if before and record.place == (before.place[0], before.place[1] + 1) and record.prev != before.hash:
                raise Bad("prev is not the hash of the record before")
            if keys.counts(record):
                replaced.hear(record)
            if heads.get(record.place, record.hash) != record.hash:
                raise Bad("not the record that central acknowledged")
        except Bad as bad:
            raise At(record.place, str(bad)) from bad
        records.append(record)
    for ack, data in zip(acks, ledger.acks, strict=True):
        replaced.check(ack, data)
    deciding = [at for at, one in enumerate(records) if one.kind in DECISIONS and one.fields.get("visit") == visit]
    void = {one.place for one in keys.void}
    if deciding and all(records[at].place in void for at in deciding):
        raise At(records[deciding[0]].place, "signed after its key was revoked, so it proves nothing")
    deciding = [at for at in deciding if records[at].place not in void]
    begun = records[deciding[0]] if deciding else None
    named_seen = records[deciding[-1]].fields.get("seen") if deciding else None
    named_seen = named_seen if isinstance(named_seen, str) else None
    after_consent = len(deciding) == 2 and begun is not None and begun.kind == "visit.seen"
    if begun is None or (len(deciding) != 1 and not after_consent) or (after_consent and named_seen is None):
        raise Bad(f"{len(deciding)} records decide visit {visit}, one should")
    record = records[deciding[-1]]
    if named_seen is not None and record.kind != "visit.seen":
        if record is begun or named_seen != begun.hash.hex():
            raise At(record.place, "the record of its arrival is not here")
        if any(record.fields.get(name) != begun.fields.get(name) for name in ARRIVAL):
            raise At(record.place, "decided with another arrival than was recorded")
    if type(record.fields.get("arrived_us")) is not int or not record.fields.get("camera"):
        raise At(record.place, "it has no arrival or no camera")
    tied = _tied(records, deciding[-1])
    covering = sorted((ack for ack in acks if ack.place >= record.place), key=lambda ack: (ack.place, ack.time_us))
    if covering and tied.get(covering[0].place) != covering[0].head:
        raise At(record.place, "the records between it and the ack that covers it are missing")
    yield f"{len(records) - len(keys.void)} records of node {node} and {len(acks)} acks of central verified"
    yield from keys.void_lines(keys.void)
    yield origin
    counts = max((its.epoch for its in enrolments if its.epoch <= record.place[0]), default=0)
    if counts in let_in:
        yield f"central states in its log that it let this node in with these keys, at {_moment(let_in[counts])}"
    yield from _told(record)
    if record is not begun:
        yield f"its arrival was recorded before, {named(begun.place)}: only seen, and compared after consent"
    anchors = [ack.time_us for ack in acks if record.anchor and ack.hash.hex() == record.anchor["ack_hash"]]
    yield f"signed after: {_moment(anchors[0]) if anchors else 'not proven'}"
    yield f"confirmed by central: {_moment(covering[0].time_us) if covering else 'not yet'}"
    shown = [ack for ack in covering if ack.log and tied.get(ack.place) == ack.head]
    yield f"central's log: {'shown to hold it' if shown else 'not shown'}"
    for one in records[deciding[0] + 1 :]:
        if one.fields.get("visit") == visit and one is not record and one.place not in void:
            yield f"later: {named(one.place)} {one.kind}"
            if one.kind == "person.split" and one.fields.get("reason") == "visit":
                whose = _code(one.fields.get("person"))
                yield f"split out at {named(one.place)}: this visit was not of person {whose}"
    later = [one for one in records[deciding[0] + 1 :] if one.place not in void]
    rests = _rests(head_office, records, void)
    yield from _source([one for one in later if one.fields.get("visit") == visit], rests)


def _rests(head_office: HeadOffice, records: list[Record], void: set[Place]) -> dict[Place, str]:
    """What each record that is not void rests on as a word of head office's: `central`, `desk`, `held`, or nothing.

    held: on the desk's key, where records are missing between it and the earlier of what it answers and what last told
    of its account. Whoever chose the records may have left out another password, or an answer before it.
    """
    rests: dict[Place, str] = {}
    places: dict[str, Place] = {}
    gapless_from: Place = (0, 0)
    for number, one in enumerate(records):
        if number == 0 or one.prev != records[number - 1].hash:
            gapless_from = one.place
        if one.place in void:
            continue
        rest = head_office.follow(one)
        places[one.hash.hex()] = one.place
        if rest == "desk":
            asked = places.get(str(one.fields.get("proposal")), (0, 0))
            rest = "held" if gapless_from > min(asked, head_office.changed[one.fields["account"]]) else rest
        rests[one.place] = rest
    return rests


def _source(records: list[Record], rests: dict[Place, str]) -> Iterator[str]:
    """Where the visitor is said to have come from, where somebody asked to correct it (section 17).

    rests: what each record rests on as a word of head office's.
    """
    # each proposal with the word on it that counts, and the first that does not
    asked: dict[str, tuple[Record, Record | None, Record | None]] = {}
    for one in records:
        fields, hashed = one.fields, str(one.fields.get("proposal"))
        if one.kind == "visit.corrected" and fields.get("state") == "proposed":
            asked[one.hash.hex()] = (one, None, None)
        elif one.kind in ("visit.approved", "notice.applied") and hashed in asked:
            proposal, word, idle = asked[hashed]
            rest, office = rests.get(one.place), fields.get("office")
            other = office not in (None, "", proposal.fields.get("office"))
            outside = rest == "central" or (rest in ("desk", "held") and other)
            outside = outside and fields.get("account") != proposal.fields.get("account")
            if not outside or fields.get("verdict") not in ("approved", "refused"):
                asked[hashed] = (proposal, word, idle or one)
            elif word is None or (rests[word.place] != "central" and rest == "central"):
                asked[hashed] = (proposal, one, idle)
    registered: Fields = {}
    standing: Fields = {}
    stands: Record | None = None
    again, asked_for = list[Record](), False
    for one in records:
        fields = one.fields
        asked_for = asked_for or one.hash.hex() in asked
        proposal, word, _ = asked.get(str(fields.get("proposal")), (one, None, None))
        if one.kind == "visit.checkin" and fields.get("state") in ("registered", "open"):
            if stands and (asked_for or not _takes_back(one, stands)):
                again.append(one)
                continue
            stands = one if fields["state"] == "registered" else None
            registered = {name: fields[name] for name in SOURCE if name in fields}
            standing = dict(registered)
        elif word is one and fields["verdict"] == "approved":
            standing |= {name: proposal.fields[name] for name in SOURCE if name in proposal.fields}
    if asked or again:
        yield f"source as registered: {_changes(registered)}"
    for proposal, word, idle in asked.values():
        said = "not decided"
        if word:
            said = f"{word.fields['verdict']} at {named(word.place)}, {RESTS[rests[word.place]]}"
        elif idle:
            said = f"not approved from outside: the word at {named(idle.place)} does not count"
        reason = _code(proposal.fields.get("reason"))
        yield f"correction to {_changes(proposal.fields)} asked for at {named(proposal.place)} ({reason}): {said}"
    for one in again:
        yield f"check-in at {named(one.place)}: changes nothing, the visit was registered already"
    if asked or again:
        yield f"source that stands: {_changes(standing)}"


def _takes_back(record: Record, stands: Record) -> bool:
    """Whether it is the undoing of a registration by its own host within ten minutes, by the desk's own stamps."""
    said, before = record.fields, stands.fields
    own = said.get("undoes") == stands.hash.hex() and said.get("account") == before.get("account")
    return said["state"] == "open" and own and _soon_enough(said["at"], before["at"])


def _soon_enough(now: Fields, then: Fields) -> bool:
    """Of one boot by the boot clock; over a restart by the wall clock, and by how long the new boot has run."""
    clock = "boot_us" if now["boot_id"] == then["boot_id"] else "wall_us"
    late_us: int = now[clock] - then[clock]
    if clock == "boot_us":
        return 0 <= late_us < 600_000_000
    return abs(late_us) < 600_000_000 and count(now, "boot_us") < 600_000_000


def _changes(fields: Fields) -> str:
    return ", ".join(f"{name} {_code(fields[name])}" for name in SOURCE if name in fields) or "none"


def _code(value: Any) -> str:
    return str(value) if re.fullmatch("[A-Za-z0-9._:-]{1,64}", str(value)) else "?"


def _tied(records: list[Record], at: int) -> dict[Place, bytes]:
    """The records that follow number `at` without a gap, itself the first: their places and hashes."""
    tied = {records[at].place: records[at].hash}
    for before, after in zip(records[at:], records[at + 1 :], strict=False):
        if after.prev != before.hash:
            break
        tied[after.place] = after.hash
    return tied


def _told(record: Record) -> Iterator[str]:
    said = f"visit {record.fields.get('visit')}: {record.kind.removeprefix('visit.')}"
    compared = record.fields.get("gallery_n")
    yield said + (f", compared with {compared} people" if type(compared) is int else "")
    yield f"record {named(record.place)}, hash {record.hash.hex()}"
    if record.fields.get("source") == "file":
        yield "its source is a file, so it is a test: no certificate is issued for it"
    arrived_us = record.fields.get("arrived_us")
    yield f"arrived, by the device's clock: {_moment(arrived_us) if type(arrived_us) is int else 'not said'}"


def _moment(microseconds: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)).isoformat(sep=" ")


def read_code(path: Path) -> Fields:
    """The object in a certificate's code: `FV1:` and base45 (RFC 9285) of its zlib stream; raises Unreadable."""
    letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
    try:
        content = path.read_bytes()[:5000].decode("ascii").rstrip("\r\n")
        if not content.startswith("FV1:") or len(content) > 4296:
            raise Bad("it does not begin with FV1:, or is too long")
        data = bytearray()
        for at in range(4, len(content), 3):
            group = content[at : at + 3]
            value = sum(letters.index(letter) * 45**power for power, letter in enumerate(group))
            if len(group) == 1 or value >= 256 ** (len(group) - 1):
                raise Bad("not base45")
            data += value.to_bytes(len(group) - 1)
        unpacker = zlib.decompressobj()
        fields = decode(unpacker.decompress(bytes(data), 65536))
        if not unpacker.eof or unpacker.unused_data:
            raise Bad("cut short, or longer than it says")
        lists = {"rotations", "notices"}
        if fields.keys() - {"ack"} - lists != {"v", "body", "signature", "node_pub", "central_pub"} or fields["v"] != 1:
            raise Bad("other keys than it should have")
        if not all(isinstance(fields[name], str) for name in fields.keys() - {"v"} - lists):
            raise Bad("a text is none")
        if not all(isinstance(fields[name], list) and fields[name] for name in fields.keys() & lists):
            raise Bad("a list is none, or empty")
        hexadecimal(fields["signature"]), hexadecimal(fields.get("ack", "00"))
        [_signed(one) for one in fields.get("rotations", [])], [hexadecimal(one) for one in fields.get("notices", [])]
    except (Bad, ValueError, zlib.error) as error:
        raise Unreadable(f"{path}: not a certificate's code: {error}") from error
    return fields


def judge_code(fields: Fields, given: Given) -> Iterator[str]:
    """Verify a certificate's code and say what it proves; raises Bad."""
    enrolments, central, origin = given.settle([fields["node_pub"]], fields["central_pub"])
    if given.mismatch:
        raise Bad(given.mismatch)
    lists, revocations = central_words(central, [hexadecimal(one) for one in fields.get("notices", [])])
    keys, before = NodeKeys(enrolments, revocations), (0, 0)
    rotations = [_signed(one) for one in fields.get("rotations", [])]
    for body, signature in (*rotations, (fields["body"].encode(), bytes.fromhex(fields["signature"]))):
        record = Record(body, signature)
        if record.node != enrolments[0].node:
            raise At(record.place, f"the record is of node {record.node}")
        if record.place <= before:
            raise At(record.place, "not behind the record before it")
        keys.check(record)
        before = record.place
    ack = Ack(bytes.fromhex(fields["ack"]), [one.keys["ack"] for one in lists]) if "ack" in fields else None
    if ack and (ack.node != record.node or ack.place < record.place):
        raise At(record.place, "the ack does not cover this record")
    if ack and ack.place == record.place and ack.head != record.hash:
        raise At(record.place, "not the record that central acknowledged")
    yield origin
    yield from _told(record)
    if ack and ack.place == record.place:
        yield f"confirmed by central: {_moment(ack.time_us)}"
    else:
        yield "confirmed by central: not by this code"
    if ack and ack.place > record.place:
        yield f"the ack in it, of {_moment(ack.time_us)}, is of {named(ack.place)}: only the bundle shows whether this"
        yield "record leads there"
    yield "corrections and coverage are in the bundle"


# -- 20. Receipts ------------------------------------------------------------------------------------------------------

COPIED = ("state", "reason", "visit", "code_kind", "report", "agent", "facts")


def read_receipt(given: str) -> tuple[Fields, bytes, bytes]:
    """What a receipt says, its body and its signature; given: its text, or a file with it. Raises Unreadable."""
    path = Path(given)
    try:
        content = path.read_bytes()[:2060].decode("ascii") if len(given) < 200 and path.is_file() else given
        typed = "".join(unicodedata.normalize("NFKC", content).upper().split())
        if not typed.startswith("FVR1") or len(typed) > 2048:
            raise Bad("it does not begin with FVR1, or is too long")
        data = base64.b32decode(typed[4:] + "=" * (-len(typed[4:]) % 8))
        if "FVR1" + base64.b32encode(data).decode().rstrip("=") != typed:
            raise Bad("not as it is written")
        body, signature = data[64:], data[:64]
        fields = decode(body)
        needed = {"v", "node", "epoch", "seq", "hash", "kind", "at_us"}
        if not needed <= fields.keys() <= needed | {*COPIED} or fields["v"] != 1:
            raise Bad("other keys than it should have")
        count(fields, "epoch", 1), count(fields, "seq", 1), count(fields, "at_us", -LARGEST)
        if not is_name(fields["node"]) or fields["kind"] not in ("visit.checkin", "code.refused"):
            raise Bad("not of a record that receipts are given for")
        hexadecimal(fields["hash"], 32)
        if not all(isinstance(fields.get(name, ""), str) for name in COPIED if name != "facts"):
            raise Bad("a text is none")
        facts = fields.get("facts", [""])
        if not isinstance(facts, list) or not facts or not all(isinstance(one, str) for one in facts):
            raise Bad("its facts are none")
    except (Bad, ValueError, OSError) as error:
        raise Unreadable(f"{given[:60]}: not a receipt: {error}") from error
    return fields, body, signature


def judge_receipt(receipt: tuple[Fields, bytes, bytes], path: Path | None, given: Given) -> Iterator[str]:
    """Hold a receipt against a desk key, and against its record where there is evidence; raises Bad or Unreadable."""
    fields, body, signature = receipt
    if path is None and given.node is None:
        raise Unreadable("a receipt is held against a node.pub (--public-key), or against a ledger or a bundle")
    if given.node and given.node.node != fields["node"]:
        raise Bad(f"the given key is node {given.node.node}'s")
    yield f"receipt of node {fields['node']}, {named((fields['epoch'], fields['seq']))}, hash {fields['hash']}"
    yield f"{fields['kind']} at {_moment(fields['at_us'])} by the desk's clock: " + ", ".join(
        f"{name} {fields[name]}" for name in COPIED if name in fields
    )
    if path is None:
        assert given.node is not None
        if not given.node.keys["desk"].signed("receipt", body, signature):
            raise Bad("not signed by the desk key of the given node.pub (after a rotation: give a ledger too)")
        yield f"signed by the given desk key ({given.node.keys['desk'].fingerprint})"
        yield "its record was not looked at: whether it stands in the chain, a ledger shows"
        return
    whole = verify(path, given)
    keys, record = _receipt_evidence(path, given, fields)
    key = next((one for one in keys if one.signed("receipt", body, signature)), None)
    if key is None:
        raise Bad("not signed by any desk key of this node")
    place = fields["epoch"], fields["seq"]
    if record is None:
        raise At(place, "the evidence given does not hold the receipt's record, or it is void")
    if record.hash.hex() != fields["hash"]:
        raise At(place, f"another record lies there, hash {record.hash.hex()}: one of the two was made later")
    said = {name: record.fields[name] for name in COPIED if record.fields.get(name)}
    said |= {"kind": record.kind, "at_us": record.fields["at"]["wall_us"]}
    if said != {name: value for name, value in fields.items() if name not in ("v", "node", "epoch", "seq", "hash")}:
        raise At(place, "the receipt says other things than its record")
    yield f"signed by the desk key {key.fingerprint}"
    yield f"its record lies in {path}"
    yield from whole


def _receipt_evidence(path: Path, given: Given, fields: Fields) -> tuple[list[Key], Record | None]:
    """The desk's keys, followed along evidence that verifies, and the receipt's record where it counts."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    if zipped:
        _, ledger, _, signed = read_bundle(path)
        records: Iterable[Signed] = signed
    else:
        ledger, lines = read_export(path)
        records = (one for listed in (ledger.kept, lines) for one in listed)
    enrolments, central, _ = given.settle(ledger.enrolments, ledger.central)
    keys = NodeKeys(enrolments, central_words(central, ledger.notices)[1])
    found = None
    for body, signature in records:
        record = Record(body, signature)
        if keys.counts(record) and record.place == (fields["epoch"], fields["seq"]) and record.node == fields["node"]:
            found = record
    return [one.key for one in keys.tenures if one.role == "desk"], found


# -- The program -------------------------------------------------------------------------------------------------------


def verify(path: Path, given: Given) -> list[str]:
    """Verify whatever lies at `path` and say what it proves; raises Bad, Unreadable or OSError."""
    with path.open("rb") as file:
        head = file.read(4)
    if head[:2] == b"PK":
        return list(judge_bundle(*read_bundle(path), given))
    if head == b"FV1:":
        return list(judge_code(read_code(path), given))
    if head == b"%PDF":
        raise Unreadable(f"{path}: a PDF is no evidence: verify the certificate's .zip, or the text of its code")
    return list(judge(*read_export(path), given).lines())


def main() -> int:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return 0
    words, options = sys.argv[1:], dict[str, str]()
    for name in ("--public-key", "--receipt"):
        if name in words[:-1]:
            at = words.index(name)
            options[name] = words[at + 1]
            del words[at : at + 2]
    receipt = options.get("--receipt")
    if any(word.startswith("--") for word in words) or len(words) > 1 or (not words and receipt is None):
        print(__doc__, file=sys.stderr)
        return 2
    path = Path(words[0]) if words else None
    try:
        given = Given(Path(options["--public-key"]) if "--public-key" in options else None)
        if receipt is not None:
            print(*list(judge_receipt(read_receipt(receipt), path, given)), sep="\n")
        elif path is not None:
            print(*verify(path, given), sep="\n")
    except Bad as bad:
        print(f"bad: {bad}")
        return 1
    except (Unreadable, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
