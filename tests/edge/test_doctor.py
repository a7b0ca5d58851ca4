"""What `doctor` says of a node whose records do not arrive."""

from datetime import timedelta
from pathlib import Path

import pytest

from edge.doctor import LATE_S, LOST_S, certificate, delivery, witnessed
from sync.central.ca import open_authority
from sync.format.log_proof import LogHead
from sync.transport.tls import TlsFiles, utc_now

NOW_US = 1_800_000_000_000_000


@pytest.mark.parametrize(
    ("backlog", "age_s", "state"),
    [
        (0, 10 * LOST_S, "good"),  # nothing waits
        (5, LATE_S - 1, "good"),
        (5, LATE_S + 1, "warn"),
        (5, LOST_S + 1, "bad"),
        (0, None, "warn"),  # joined, and never heard of central
    ],
)
def test_a_silent_central_is_judged_by_what_waits_for_it(backlog: int, age_s: int | None, state: str) -> None:
    last_us = None if age_s is None else NOW_US - age_s * 1_000_000
    assert delivery(backlog, last_us, NOW_US).state == state


def test_how_far_centrals_log_is_witnessed_is_said() -> None:
    found = witnessed(LogHead(1200, b"r" * 32), (2, 17))
    assert (found.part, found.state) == ("log", "good")
    assert "witnessed up to size 1200, in the ack of epoch 2 seq 17" in found.text


@pytest.mark.parametrize(("after_days", "state"), [(0, "good"), (121, "good"), (151, "warn"), (181, "bad")])
def test_a_certificate_that_is_not_renewed_is_seen_before_its_end(tmp_path: Path, after_days: int, state: str) -> None:
    open_authority(tmp_path, "hq", utc_now())
    files = TlsFiles(tmp_path / "tls")
    assert certificate(files, utc_now() + timedelta(days=after_days)).state == state
    files.key.unlink()
    assert certificate(files, utc_now()).state == "bad"


def test_how_many_wait_is_said_in_the_right_number() -> None:
    assert delivery(1, NOW_US, NOW_US).text.endswith(", 1 record not acknowledged")
    assert delivery(2, None, NOW_US).text.startswith("last ack never, 2 records not acknowledged: ")
