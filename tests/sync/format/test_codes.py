import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.format.codes import PREFIX, BadCode, Code, SignedCode, fit_of, is_ours
from sync.format.signing import Signer, digest
from tests.sync.conftest import key

GetSigner = Callable[[str], Signer]
VECTORS = json.loads((Path(__file__).parents[1] / "vectors/codes.json").read_text())
REPORT, AGENT, AGENCY = "rep-" + "0a" * 8, "agt-" + "0b" * 8, "agc-" + "0c" * 8
MADE_US, UNTIL_US = 1_790_000_000_000_000, 1_792_592_000_000_000
SALT = b"8 bytes."


def report(**other: Any) -> Code:
    made = Code("report", MADE_US, UNTIL_US, ("puxi-01",), REPORT, AGENT, AGENCY, SALT, fit_of(SALT, "1385678"))
    return replace(made, **other)


def ids(what: str) -> st.SearchStrategy[str]:
    return st.binary(min_size=8, max_size=8).filter(any).map(lambda raw: f"{what}-{raw.hex()}")


@st.composite
def codes(draw: st.DrawFn) -> Code:
    kind = draw(st.sampled_from(["report", "agent", "site"]))
    made_s = draw(st.integers(0, 2**32 - 2))
    until_s = draw(st.integers(made_s + 1, 2**32 - 1))
    names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
    sites = tuple(sorted(draw(st.sets(names, min_size=kind == "site", max_size=8))))
    eight = st.binary(min_size=8, max_size=8)
    return Code(
        kind,
        made_s * 10**6,
        until_s * 10**6,
        sites,
        draw(ids("rep")) if kind == "report" else None,
        draw(ids("agt")) if kind != "site" else None,
        draw(st.none() | ids("agc")) if kind != "site" else None,
        draw(eight) if kind == "report" else b"",
        draw(eight) if kind == "report" else b"",
    )


@given(codes())
def test_a_code_reads_back_as_it_was_written_under_the_code_key_alone(code: Code) -> None:
    signed = code.seal(key("code"))
    read = SignedCode.parse(signed.text())
    assert (read, read.code.hash) == (signed, digest("code", code.body()).hex())
    assert read.signed_by(key("code").public)
    assert not any(read.signed_by(key(other).public) for other in ("notice", "ack", "root", "stranger"))
    assert Code.parse(code.body()) == code


@given(codes(), st.data())
def test_a_letter_changed_is_refused_or_signed_by_nobody(code: Code, data: st.DataObject) -> None:
    text = code.seal(key("code")).text()
    at = data.draw(st.integers(len(PREFIX), len(text) - 1))
    letter = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567").filter(lambda one: one != text[at]))
    try:
        read = SignedCode.parse(text[:at] + letter + text[at + 1 :])
    except BadCode:
        return
    assert not read.signed_by(key("code").public)


@given(st.text(max_size=80) | st.text(alphabet="ABCDEFGH234567=", max_size=400).map(lambda rest: PREFIX + rest))
@settings(max_examples=400)
def test_whatever_is_scanned_is_a_code_or_refused_in_one_line(text: str) -> None:
    said = ""
    try:
        SignedCode.parse(text)
    except BadCode as error:
        said = str(error)
    assert "\n" not in said


def test_what_a_scanner_makes_of_a_code_is_undone(signer: GetSigner) -> None:
    signed = report().seal(signer("code"))
    text = signed.text()
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in text)
    for typed in (f"{text}\r\n", text.lower(), wide, f" {text[:40]} {text[40:]}", f"\ufeff{text}".strip("\ufeff")):
        assert is_ours(typed)
        assert SignedCode.parse(typed) == signed


def test_a_code_says_only_what_its_kind_may_say() -> None:
    for wrong in (
        lambda: report(report_id=None),
        lambda: report(agent_id=None),
        lambda: report(agent_id="13800005678"),
        lambda: report(agent_id="agt-" + "00" * 8),
        lambda: report(until_us=MADE_US),
        lambda: report(made_us=MADE_US + 1),
        lambda: report(until_us=2**32 * 10**6),
        lambda: report(sites=("b", "a")),
        lambda: report(sites=("a", "a")),
        lambda: report(sites=tuple("abcdefghi")),
        lambda: report(sites=("not a name",)),
        lambda: report(salt=b""),
        lambda: Code("site", MADE_US, UNTIL_US),
    ):
        with pytest.raises(BadCode):
            wrong().body()


def test_a_report_fits_the_digits_it_was_made_for_and_no_others() -> None:
    code = report()
    assert code.fits("1385678")
    assert not code.fits("1385679")
    assert replace(code, salt=b"another.").fit != fit_of(b"another.", "1385678"), "the salt counts"
    for typed in ("13800005678", "138****5678", ""):
        with pytest.raises(BadCode):
            code.fits(typed)


def test_the_longest_code_is_still_a_qr_code_that_can_be_read(signer: GetSigner) -> None:
    import segno

    text = report().seal(signer("code")).text()
    assert text.isalnum()
    assert text == text.upper()
    drawn = segno.make(text, error="m", boost_error=False)
    assert drawn.mode == "alphanumeric"
    assert drawn.symbol_size(border=0)[0] <= 53, "a camera two metres away must read it"
    longest = report(sites=tuple(f"{n}{'x' * 63}" for n in range(8))).seal(signer("code")).text()
    assert SignedCode.parse(longest).text() == longest


@pytest.mark.parametrize("vector", VECTORS["codes"], ids=lambda vector: vector["name"])
def test_the_golden_vectors_hold(vector: dict[str, Any], signer: GetSigner) -> None:
    signed = SignedCode.parse(vector["text"])
    code = signed.code
    assert code.body().hex() == vector["body"]
    assert code.hash == vector["hash"]
    assert signed.signed_by(signer("code").public)
    assert code.seal(signer("code")).text() == vector["text"]
    said = {"kind": code.kind, "made_us": code.made_us, "until_us": code.until_us, "sites": list(code.sites)}
    said |= {"report": code.report_id, "agent": code.agent_id, "agency": code.agency_id}
    assert said == vector["says"]
    if "fits" in vector:
        assert code.fits(vector["fits"])


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_the_golden_vectors_of_what_is_no_code_are_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(BadCode, match=vector["why"]):
        SignedCode.parse(vector["text"])
