"""Text of others, on its way to a terminal and into a log."""

import io
import logging

import pytest

from sync.printable import LineFormatter, printable

EVIL = "a\x1b[2J\n2026-11-21 23:59:59 ERROR forged\r\x9b31m\u202edne\u2028"


@pytest.mark.parametrize("text", ["", "visit recorded seq=12", "门口 Tür", "50 % 'x' \\"])
def test_what_can_be_printed_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_what_moves_the_cursor_or_the_reading_is_spelt_out() -> None:
    assert printable(EVIL) == "a\\x1b[2J\\n2026-11-21 23:59:59 ERROR forged\\r\\x9b31m\\u202edne\\u2028"
    assert printable("\udc80").isprintable()


def test_no_text_of_others_makes_a_line_of_the_log() -> None:
    written = io.StringIO()
    log = logging.Logger("forging")
    handler = logging.StreamHandler(written)
    handler.setFormatter(LineFormatter("%(levelname)s %(message)s"))
    log.addHandler(handler)
    log.warning("refused detail=%s", EVIL)
    try:
        raise ValueError(EVIL)
    except ValueError:
        log.exception("refused detail=%s", EVIL)
    lines = written.getvalue().split("\n")
    assert lines.pop() == ""
    assert all(line.isprintable() for line in lines)
    assert [line.split()[0] for line in lines if not line.startswith("  ")] == ["WARNING", "ERROR"]
    assert any("ValueError" in line for line in lines)
