"""Who is let in: invitations given out, questions asked with them, a person's word, and the certificate at the end."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509

from sync import SyncError
from sync.central.access import Access, EnrolRefused, Request
from sync.central.ca import Authority
from sync.central.enrol import enrol_text
from sync.central.keys import load_public
from sync.central.rings import newest_key, ring_of
from sync.central.store.location import open_store
from sync.format.canonical import Fields
from sync.format.keyring import ring
from sync.format.messages import UNMASKED
from sync.format.public_keys import Enrolment
from sync.format.records import BadRecord, Record, Role, valid_name
from sync.format.signing import PublicKey
from sync.transport.invitation import TOKEN_BYTES, VALID_S, Invitation
from sync.transport.possession import Ask, BadAsk, Renewal
from sync.transport.tls import RENEW_BEFORE, pem, read_request

_TOLD_STATEMENTS = 20  # the newest; an answer has room for them, and a node is seldom let in twice


def invite(
    directory: Path, authority: Authority, server: str, uplink: str, node_id: str | None, now: datetime
) -> Invitation:
    """Make an invitation, good for VALID_S seconds and one node; node_id: for this one only. Raises SyncError."""
    if node_id is not None and not valid_name(node_id):
        raise SyncError(f"--node {node_id!r}: letters, digits, . _ - are allowed, at most 64")
    root = load_public(directory).root
    token = secrets.token_bytes(TOKEN_BYTES)
    invitation = Invitation(server, token, bytes.fromhex(authority.fingerprint), root.key_id, uplink)
    now_us = _us(now)
    with Access(directory) as access:
        access.invite(invitation.token_sha256, node_id, now_us, now_us + VALID_S * 1_000_000)
    return invitation


def confirm(
    directory: Path, authority: Authority, node_id: str, fingerprint: str, now: datetime, rekey: bool = False
) -> Enrolment:
    """Let a node in that asks to be: its fingerprint, read off the node itself, must be that of the key it asked with.

    Enrols it (rekey: see `enrol`) and issues its certificate; done again after a crash it ends the same. Raises
    SyncError.
    """
    typed = "".join(fingerprint.split()).lower()
    with Access(directory) as access:
        waiting = access.waiting(node_id)
        if not waiting:
            raise SyncError(f"{node_id}: nobody of that name asks to be let in (firstvisit central pending)")
        asked = [one for one in waiting if hmac.compare_digest(one.key_id.encode(), typed.encode())]
        if not asked:
            raise SyncError(
                f"{node_id}: the fingerprint is not that of the key it asked with: read it again off the node's own"
                " screen; if it stays another, somebody else is asking: firstvisit central reject"
            )
        enrolment, _ = enrol_text(directory, asked[0].node_pub, f"node {node_id}", rekey)
        _, key = read_request(asked[0].csr)
        issued = authority.issue_client(node_id, key, now)
        access.settle(asked[0].token_sha256, "confirmed", issued.text, _us(now))
        for earlier in asked[1:]:  # of attempts that were given up
            access.settle(earlier.token_sha256, "rejected", None, _us(now))
    return enrolment


def reject(directory: Path, node_id: str, now: datetime) -> int:
    """Turn everybody away who asks under a name; returns how many. Raises SyncError where nobody does."""
    with Access(directory) as access:
        waiting = access.waiting(node_id)
        if not waiting:
            raise SyncError(f"{node_id}: nobody of that name asks to be let in (firstvisit central pending)")
        for one in waiting:
            access.settle(one.token_sha256, "rejected", None, _us(now))
    return len(waiting)


class Admission:
    """What the API answers with; it opens the books anew for each question, so any thread may ask."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self._directory = directory
        self._authority = authority
        self._public = load_public(directory)
        self._central_pub = (directory / "central.pub").read_text(encoding="utf-8")

    def introduction(self) -> Fields:
        """Who we are: the authority's certificate and central.pub. An invitation's hashes tell whether it is true."""
        return {"v": 1, "ca": pem(self._authority.certificate), "central": self._central_pub}

    def ask(self, data: bytes, now: datetime) -> Fields:
        """A node's question with its invitation; raises BadAsk or EnrolRefused."""
        ask = Ask.parse(data)
        enrolment = ask.enrolment()
        keys = self._keys(enrolment, ask.rotated())
        ask.proven(self._public.root, keys)
        # the token is spent by who proves all keys, and by nobody else
        token_sha256, key_id = hashlib.sha256(ask.token).digest(), keys["node"].key_id
        with Access(self._directory) as access:
            request = access.ask(token_sha256, enrolment.node_id, ask.node_pub, ask.csr, key_id, _us(now))
        return self._answer(request)

    def answer(self, token_sha256: bytes) -> Fields:
        """What became of a question; raises EnrolRefused where none was asked with that token."""
        with Access(self._directory) as access:
            request = access.request(token_sha256)
        if request is None:
            raise EnrolRefused("token", "nothing was asked with this invitation")
        return self._answer(request)

    def renew(self, data: bytes, now: datetime) -> Fields:
        """A certificate anew for a node that is enrolled and not revoked, or the one it has while that has time left.

        Raises BadAsk or EnrolRefused.
        """
        asked = Renewal.parse(data)
        with open_store(self._directory) as store:
            if store.enrolment(asked.node_id) is None:
                raise EnrolRefused("unknown-node", f"node {asked.node_id} is not enrolled")
            node = newest_key(ring_of(store, asked.node_id), "node")
        if node is None:
            raise EnrolRefused("revoked", f"the key of node {asked.node_id} is revoked")
        key = asked.proven(self._public.root, node)
        with Access(self._directory) as access:
            newest = access.newest(asked.node_id)
        if newest is None:
            raise EnrolRefused("no-certificate", f"node {asked.node_id} has no certificate: join by invitation")
        if newest.revoked_us is not None:
            raise EnrolRefused("revoked", f"node {asked.node_id} is not admitted any more")
        certificate = x509.load_pem_x509_certificate(newest.text.encode())
        if certificate.not_valid_after_utc - now > RENEW_BEFORE:
            # an answer that was lost is given again; a question recorded and sent again fills no book
            if certificate.public_key() != key:
                raise EnrolRefused("early", f"node {asked.node_id} has a certificate with time left")
            return {"v": 1, "certificate": newest.text}
        return {"v": 1, "certificate": self._authority.issue_client(asked.node_id, key, now).text}

    def _answer(self, request: Request) -> Fields:
        fields: Fields = {"v": 1, "node": request.node_id, "state": request.state}
        if request.certificate is not None:
            fields["certificate"] = request.certificate
            with open_store(self._directory) as store:
                stated = [data.hex() for _, data in store.statements(request.node_id, without=UNMASKED)]
            fields["statements"] = stated[-_TOLD_STATEMENTS:]
        return fields

    def _keys(self, enrolment: Enrolment, rotated: Sequence[Record]) -> Mapping[Role, PublicKey]:
        """The keys a node must show: those it names, or what it has rotated them to, by our store or by its records."""
        with open_store(self._directory) as store:
            known = enrolment in map(Enrolment.parse_text, store.enrolments(enrolment.node_id))
            held = ring_of(store, enrolment.node_id) if known else ring([(enrolment.epoch, enrolment.keys)])
        known_keys = {str(tenure.key) for tenure in held.tenures()}
        try:
            for record in rotated:
                if str(record.fields.get("new")) not in known_keys:  # what has not come here by the chain yet
                    held.check(record)
                    held.follow(record)
        except BadRecord as error:
            raise BadAsk(f"rotations: {error}") from error
        keys: dict[Role, PublicKey] = {}
        for role in ("node", "desk"):
            key = newest_key(held, role)
            if key is None:
                raise EnrolRefused("revoked", f"the {role} key of node {enrolment.node_id} is revoked")
            keys[role] = key
        return keys

    def in_force(self, serial: int) -> bool:
        """Whether a certificate may be used; one that is revoked may not, at once."""
        with Access(self._directory) as access:
            return access.in_force(serial)


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)
