"""What a camera delivers and how it is addressed: `Frame`, source URIs, and the reasons a source fails."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from camera import CameraError
from camera.picture import Decoded, luma_of

Kind = Literal["rtsp", "usb", "file"]
Reason = Literal["auth", "unreachable", "stalled", "ended", "unreadable"]

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]*)://")
_USB = re.compile(r"^(?:usb:|/dev/video)(\d{1,3})$")
# Many cameras want their password in the path or query: /user=admin&password=x&channel=1.sdp, /live?token=x. What the
# fields of a secret are called nobody can list (u, p, pw, psw, sign ...), so only those that choose a stream are shown.
_OPEN_FIELD = re.compile(
    r"(?i)(?:channel|chn?|subtype|substream|stream|streamtype|profile|resolution|size|fps|codec|videocodec|video|audio"
    r"|proto|protocol|transport|transportmode|unicast|camera|cam|track|trackid|inst)=\w{1,20}(?:\.sdp)?"
)
# Others take /admin/password/stream: an account's usual name in the path, and the segment after it.
_ACCOUNT_SEGMENT = re.compile(r"(?i)admin(?:istrator)?\d?|root|user(?:name)?|operator|guest|login|pass(?:word|wd)?")
# Without a scheme, what looks like rtsp//user:password@host is a slip of the hand and never a file.
_SLIP = re.compile(r"(?is)\s*rtsps?[:/;]|.*:.*@")


class SourceError(CameraError):
    """A source could not be opened, or was lost; `reason` is the code that reaches the records."""

    def __init__(self, camera_id: str, uri: str, reason: Reason, detail: str) -> None:
        super().__init__(f"camera {camera_id}: {redact(uri)}: {detail}")
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of one camera.

    captured_at is UTC; captured_ns is monotonic and orders frames of one run (for files: start of the run + time in
    the file). picture: (H, W, 3) uint8 BGR, or what a decoder gave. number counts up from 1 over the life of the
    source; a gap means frames that were dropped.
    """

    camera_id: str
    number: int
    captured_at: datetime
    captured_ns: int
    picture: NDArray[np.uint8] | Decoded

    @property
    def image(self) -> NDArray[np.uint8]:
        """The picture as (H, W, 3) uint8 BGR, not to be written to."""
        return self.picture.bgr() if isinstance(self.picture, Decoded) else self.picture

    @property
    def luma(self) -> NDArray[np.uint8]:
        """Its brightness, (h, w) uint8 0..255, from every n-th pixel: for less than the colours cost."""
        return self.picture.luma() if isinstance(self.picture, Decoded) else luma_of(self.picture)

    def __post_init__(self) -> None:
        image = self.picture
        if isinstance(image, Decoded):
            pass
        elif image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise CameraError(
                f"camera {self.camera_id}: frame {self.number} must be (H, W, 3) uint8, is {image.shape} {image.dtype}"
            )
        if self.captured_at.tzinfo is not UTC:
            raise CameraError(f"camera {self.camera_id}: frame {self.number} has no UTC time")


def parse_uri(uri: str) -> Kind:
    """Return the kind of source a URI names: rtsp (rtsp://, rtsps://), usb (usb:N, /dev/videoN) or file.

    A file is a video or a folder of images, as a path or file:// URI. Raises CameraError, without any credential.
    """
    if _USB.match(uri):
        return "usb"
    scheme = _SCHEME.match(uri)
    if scheme is None and uri.startswith(("usb:", "/dev/video")):
        raise CameraError(f"source {uri!r}: usb cameras are named usb:N or /dev/videoN")
    if scheme is None and not uri.strip():
        raise CameraError("source is empty; allowed: rtsp://..., usb:N, /dev/videoN, a video file, an image folder")
    if scheme is None or scheme[1].lower() == "file":
        if _SLIP.match(uri, scheme.end() if scheme else 0):
            raise CameraError(
                f"source {redact(uri)!r}: looks like a camera's address, not like a file; write rtsp://user:password@host/..."
            )
        return "file"
    if scheme[1].lower() not in ("rtsp", "rtsps"):
        raise CameraError(
            f"source {redact(uri)}: {scheme[1]}:// is not known; allowed: rtsp://, rtsps://, usb:N, a path"
        )
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise CameraError(
            f"source {redact(uri)}: host or port is malformed (write special characters of a password as %XX)"
        ) from None
    if not host:
        raise CameraError(f"source {redact(uri)}: no host")
    return "rtsp"


def usb_index(uri: str) -> int:
    """Return N of usb:N or /dev/videoN."""
    match = _USB.match(uri)
    if match is None:
        raise CameraError(f"source {uri!r}: usb cameras are named usb:N or /dev/videoN")
    return int(match[1])


def file_path(uri: str) -> Path:
    """Return the path a file source names."""
    return Path(uri.removeprefix("file://"))


def redact(uri: str) -> str:
    """Return the URI without user, password or token, fit for logs and records.

    Of fields only those that choose a stream are shown. Where the address is malformed more is dropped rather than
    less: everything up to the last "@".
    """
    scheme = _SCHEME.match(uri)
    if scheme is None or scheme[1].lower() == "file":
        return uri.rpartition("@")[2] if _SLIP.match(uri, scheme.end() if scheme else 0) else uri
    rest = uri[scheme.end() :]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    port = authority.partition("@")[2].rpartition(":")[2] if "@" in authority else authority.partition(":")[2]
    before_query = rest.partition("?")[0] if "/" in rest.partition("?")[0] else rest
    if "@" in before_query:
        # The last one: a slash or an @ inside an unquoted password ends the authority too early, admin:pa/s@s@host/x.
        rest = before_query.rpartition("@")[2] + rest[len(before_query) :]
    elif port and not port.isdecimal() and not authority.startswith("["):
        rest = rest.rpartition("@")[2] if "@" in rest else authority.partition(":")[0] + ":-" + rest[len(authority) :]
    path, mark, query = rest.partition("?")
    host, *segments = path.split("/")
    shown, hidden, account = [host], False, False
    for segment in segments:
        is_account = _ACCOUNT_SEGMENT.fullmatch(segment) is not None
        shown.append("-" if account or is_account else _shown_segment(segment, hidden))
        account = is_account
        if ":" in segment or "=" in segment:
            hidden = shown[-1].endswith("-")  # what follows may be the rest of it: a password may hold a slash
    return scheme[0] + "/".join(shown) + (mark and mark + "&".join(map(_shown_field, query.split("&"))))


def _shown_segment(segment: str, hidden: bool) -> str:
    """Return what may be shown of a path's segment; hidden: it may begin with the rest of a secret."""
    if ":" in segment:
        return "-"
    name, equals, _ = segment.partition("=")
    if not equals:
        return "-" if hidden and segment else segment.partition("#")[0]
    # The first field begins after the last separator before it: /live&channel=1
    lead = re.match(r"(?:.*[&;,])?", name)[0]  # type: ignore[index]
    fields = [_shown_field(field) for field in segment[len(lead) :].split("&")]
    return (f"-{lead[-1]}" if hidden and lead else lead) + "&".join(fields)


def _shown_field(field: str) -> str:
    if _OPEN_FIELD.fullmatch(field):
        return field
    name, equals, _ = field.partition("=")
    return f"{name}=-" if equals and name.isidentifier() else "-"


def uri_digest(uri: str) -> str:
    """Return the SHA-256 (hex) of the URI without its credentials, which a record may carry."""
    return hashlib.sha256(redact(uri).encode()).hexdigest()
