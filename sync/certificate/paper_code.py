"""The code for a certificate's paper, made of what its bundle proves."""

from sync.certificate.certified import Certificate
from sync.certificate.compact import MAX_TEXT, Compact
from sync.format.messages import Ack, BadMessage, Notice
from sync.format.public_keys import CentralKeys, Enrolment
from sync.format.records import parse
from sync.format.void import hold


def code(certificate: Certificate) -> Compact | None:
    """The code for the certificate's paper; None where it holds more changes of keys than a QR code has room for."""
    bundle, record = certificate.bundle, certificate.record
    at = (record.epoch, record.seq)
    covering = [ack for ack in map(Ack.unverified, bundle.acks) if (ack.epoch, ack.upto_seq) >= at]
    # one without a checkpoint is small; of those the one that names this very record says most
    best = min(
        covering, key=lambda ack: (ack.checkpoint is not None, (ack.epoch, ack.upto_seq), len(ack.data)), default=None
    )
    pub = bundle.enrolment_in(record.epoch)
    rotations = [] if record.key_id in {key.key_id for key in Enrolment.parse_text(pub).keys.values()} else [
        one for one in bundle.records
        if b'"key.rotated"' in one.body and (before := parse(one.body, one.signature)).kind == "key.rotated"
        and (before.epoch, before.seq) < at and not hold(certificate.void, (before.epoch, before.seq))
    ]  # fmt: skip
    pinned = CentralKeys.parse_text(bundle.central_pub)
    about_keys = tuple(data for data in bundle.notices if Notice.unverified(data).kind != "account")
    notices = about_keys if best is not None and not _signed_by(best, pinned) else ()
    made = Compact(
        record.body,
        record.signature,
        best.data if best else None,
        pub,
        bundle.central_pub,
        tuple(rotations),
        notices,
    )
    return made if len(made.text()) <= MAX_TEXT else None


def _signed_by(ack: Ack, keys: CentralKeys) -> bool:
    try:
        Ack.parse(ack.data, keys.keys["ack"])
    except BadMessage:
        return False
    return True
