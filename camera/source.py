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

Kind = Literal["rtsp", "usb", "file"]
Reason = Literal["auth", "unreachable", "stalled", "ended", "unreadable"]

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]*)://")
_USB = re.compile(r"^(?:usb:|/dev/video)(\d{1,3})$")
# Many cameras want their password in the path or query: /user=admin&password=x&channel=1.sdp, /live?token=x
_SECRET_FIELD = re.compile(
    r"(?i)(?<![a-z0-9])([a-z_]*(?:user(?:name)?|usr|pass(?:word|wd)?|pwd|token|auth|key|secret|loginuse|loginpas))=[^&/;#]*"
)


class SourceError(CameraError):
    """A source could not be opened, or was lost; `reason` is the code that reaches the records."""

    def __init__(self, camera_id: str, uri: str, reason: Reason, detail: str) -> None:
        super().__init__(f"camera {camera_id}: {redact(uri)}: {detail}")
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of one camera.

    captured_at is UTC; captured_ns is monotonic and orders frames of one run (for files: start of the run + time in
    the file). image: (H, W, 3) uint8 BGR, not to be written to. number counts up from 1 over the life of the source;
    a gap means frames that were dropped.
    """

    camera_id: str
    number: int
    captured_at: datetime
    captured_ns: int
    image: NDArray[np.uint8]

    def __post_init__(self) -> None:
        image = self.image
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
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
    if scheme is None:
        if uri.startswith(("usb:", "/dev/video")):
            raise CameraError(f"source {uri!r}: usb cameras are named usb:N or /dev/videoN")
        if not uri.strip():
            raise CameraError("source is empty; allowed: rtsp://..., usb:N, /dev/videoN, a video file, an image folder")
        return "file"
    if scheme[1].lower() == "file":
        return "file"
    if scheme[1].lower() not in ("rtsp", "rtsps"):
        raise CameraError(f"source {redact(uri)}: {scheme[1]}:// is not known; allowed: rtsp://, usb:N, a path")
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

    Where the address is malformed more is dropped rather than less: everything up to the last "@".
    """
    scheme = _SCHEME.match(uri)
    if scheme is None or scheme[1].lower() == "file":
        return uri
    rest = uri[scheme.end() :]
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    if ":" in authority and "@" not in authority and "@" in path:
        # A slash inside an unquoted password ends the authority too early: admin:pa/ss@host/x
        host, slash, path = rest.rpartition("@")[2].partition("/")
    return scheme[0] + host + slash + _SECRET_FIELD.sub(r"\1=-", path)


def uri_digest(uri: str) -> str:
    """Return the SHA-256 (hex) of the URI without its credentials, which a record may carry."""
    return hashlib.sha256(redact(uri).encode()).hexdigest()
