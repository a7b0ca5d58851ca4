"""Frames and source URIs."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from camera import CameraError
from camera.source import Frame, SourceError, file_path, parse_uri, redact, uri_digest, usb_index

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("rtsp://10.0.0.5/stream", "rtsp"),
        ("RTSP://u:p@10.0.0.5:8554/a?b=c", "rtsp"),
        ("rtsps://[fd00::1]:322/x", "rtsp"),
        ("usb:0", "usb"),
        ("/dev/video12", "usb"),
        ("clip.mp4", "file"),
        ("/data/door folder", "file"),
        ("file:///data/a.gif", "file"),
    ],
)
def test_a_uri_names_its_kind_of_source(uri: str, kind: str) -> None:
    assert parse_uri(uri) == kind


@pytest.mark.parametrize(
    "uri", ["", "  ", "usb:", "usb:x", "/dev/videofront", "http://a/b", "rtsp://", "rtsp://h:port/"]
)
def test_a_uri_of_no_known_kind_is_refused_in_one_line(uri: str) -> None:
    with pytest.raises(CameraError) as caught:
        parse_uri(uri)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "clean"),
    [
        ("rtsp://admin:s3cret@10.0.0.5:554/ch1", "rtsp://10.0.0.5:554/ch1"),
        ("rtsp://admin:s3@cret@host/ch1", "rtsp://host/ch1"),
        ("rtsp://s3cret@host/ch1", "rtsp://host/ch1"),
        ("rtsp://admin:s3/cret@host/ch1", "rtsp://host/ch1"),
        ("rtsp://admin:12/s3cret@host/ch1", "rtsp://host/ch1"),
        ("rtsp://host/user=admin&password=s3cret&channel=1.sdp", "rtsp://host/user=-&password=-&channel=1.sdp"),
        ("rtsp://host/live?channel=1&token=s3cret", "rtsp://host/live?channel=1&token=-"),
        ("rtsp://host/Streaming/Channels/101", "rtsp://host/Streaming/Channels/101"),
        ("http://me:s3cret@host/x", "http://host/x"),
        ("rtsp://host/x?u=cret&p=s3cret&channel=2", "rtsp://host/x?u=-&p=-&channel=2"),
        ("rtsp://host/x?pw=s3cret&subtype=1", "rtsp://host/x?pw=-&subtype=1"),
        ("rtsp://host/x?psw=s3/cret", "rtsp://host/x?psw=-"),
        ("rtsp://host/x?sign=s3cret&s3cret&stream=s3=cret", "rtsp://host/x?sign=-&-&stream=-"),
        ("rtsp://host/x?pwd%3Ds3cret", "rtsp://host/x?-"),
        ("rtsp://host/admin/s3cret/ch1", "rtsp://host/-/-/ch1"),
        ("rtsp://host/0/admin:s3cret/main", "rtsp://host/0/-/-"),
        ("rtsp://host/user=admin&password=s3/cret&channel=1.sdp", "rtsp://host/user=-&password=-/-&channel=1.sdp"),
        ("rtsp://host/user=admin_password=s3cret_channel=1.sdp?real_stream", "rtsp://host/user=-?-"),
        ("rtsp://host/live;p=s3cret,channel=1", "rtsp://host/live;p=-"),
        ("rtsp://host/h264#s3cret", "rtsp://host/h264"),
        ("rtsp://admin:s3?cr/et@host/x", "rtsp://host/x"),
        ("rtsp://admin:s3#cret@host/x", "rtsp://host/x"),
        ("rtsp://admin:s3cret/x", "rtsp://admin:-/x"),
        ("rtsp://[fd00::1]:554/ch1", "rtsp://[fd00::1]:554/ch1"),
        ("rtsp//admin:s3cret@host/x", "host/x"),
        ("usb:0", "usb:0"),
        ("clips/user=me@home.mp4", "clips/user=me@home.mp4"),
    ],
)
def test_redaction_leaves_the_address_and_no_credential(uri: str, clean: str) -> None:
    assert "s3" not in redact(uri)
    assert "cret" not in redact(uri)
    assert redact(uri) == clean


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp://admin:s3/cret@host/ch1",
        "rtsp://u:s3cret@h:bad/",
        "ftp://u:s3cret@h/",
        "rtsp//admin:s3cret@h/x",
        " rtsp://admin:s3cret@h/x",
        "rtsp:/admin:s3cret@h/x",
        "admin:s3cret@h/x",
        "file://admin:s3cret@h/x",
    ],
)
def test_errors_about_a_uri_hold_no_credential(uri: str) -> None:
    with pytest.raises(CameraError) as caught:
        parse_uri(uri)
    assert "s3" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "s3cret" not in str(SourceError("door", "rtsp://a:s3cret@h/", "auth", "refused"))


def test_the_digest_of_a_uri_does_not_depend_on_its_credentials() -> None:
    assert uri_digest("rtsp://a:b@h/1") == uri_digest("rtsp://h/1") == uri_digest("rtsp://c:d@h/1")
    assert uri_digest("rtsp://h/x?u=a&p=b&channel=1") == uri_digest("rtsp://h/x?u=a&p=c&channel=1")
    assert uri_digest("rtsp://h/x?u=a&p=b&channel=1") != uri_digest("rtsp://h/x?u=a&p=b&channel=2")
    assert uri_digest("rtsp://h/1") != uri_digest("rtsp://h/2")
    assert len(uri_digest("usb:0")) == 64


def test_usb_and_file_addresses_are_read() -> None:
    assert usb_index("usb:3") == usb_index("/dev/video3") == 3
    assert str(file_path("file:///a/b.mp4")) == "/a/b.mp4"
    with pytest.raises(CameraError):
        usb_index("rtsp://h/")


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_a_frame_refuses_anything_but_a_bgr_picture(image: np.ndarray) -> None:
    with pytest.raises(CameraError, match="camera door: frame 3"):
        Frame("door", 3, NOW, 0, image)


@pytest.mark.parametrize("at", [datetime(2026, 1, 2), datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=8)))])
def test_a_frame_refuses_a_time_that_is_not_utc(at: datetime) -> None:
    with pytest.raises(CameraError, match="UTC"):
        Frame("door", 1, at, 0, np.zeros((2, 2, 3), np.uint8))
