"""`check-config` and `doctor`: who is missing in [operator], what a browser would refuse of a page's certificate."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
import typer.testing
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from edge.cli import app
from edge.config_check import operator_findings, page_findings
from edge.doctor import examine
from edge.home import Home
from edge.kiosk.tablet_ca import TabletCa, issue
from edge.settings import Settings, parse_settings
from sync.transport.tls import key_pem, new_key, utc_now

NAME = "desk.example"
TLS = 'tls.cert = "kiosk-tls/kiosk.crt"\ntls.key = "kiosk-tls/kiosk.key"\n'
KIOSK = f'[kiosk]\nurl = "https://{NAME}"\n{TLS}'
OPERATOR = '[operator]\nname = "湖畔置业有限公司"\ncontact = "021-5555 0000"\n'


def settings(more: str) -> Settings:
    return parse_settings(f'version = 1\n[site]\nid = "lakeside"\n[node]\nid = "door"\n{more}', "test")


def pages(home: Path, more: str = KIOSK) -> list[tuple[str, str]]:
    return [(one.state, one.text) for one in page_findings(home, settings(more), utc_now())]


def wildcard(key: EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """What a public authority gives for all names of a domain; `kiosk ca` makes none."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    return (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"*.{NAME}")]), False)
        .sign(key, SHA256())
    )


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("", ["operator.name missing: consent texts and access", "operator.contact missing: nobody is told"]),
        ('[operator]\nname = "x"\n', ["operator.contact missing: nobody is told"]),
        ('[operator]\nname = " "\ncontact = "x"\n', ["operator.name missing: consent texts and access"]),
    ],
)
def test_who_answers_for_the_data_is_missed_by_name(section: str, told: list[str]) -> None:
    found = list(operator_findings(settings(section)))
    assert [one.state for one in found] == ["warn"] * len(told)
    for one, begins in zip(found, told, strict=True):
        assert one.text.startswith(begins)


def test_an_operator_that_is_there_is_named() -> None:
    assert [(one.state, one.text) for one in operator_findings(settings(OPERATOR))] == [
        ("good", "湖畔置业有限公司, 021-5555 0000")
    ]


def test_a_good_certificate_is_said_with_its_end_and_a_page_without_one_is_not_spoken_of(tmp_path: Path) -> None:
    issue(tmp_path, (NAME,), utc_now())
    ((state, text),) = pages(tmp_path)
    assert state == "good"
    assert text.startswith("kiosk: the certificate holds until 20")
    assert pages(tmp_path, "") == []


def test_files_that_are_missing_torn_or_not_each_other_s_are_named(tmp_path: Path) -> None:
    pair = TabletCa.of(tmp_path).pair
    assert pages(tmp_path)[0][0] == "bad"
    assert str(pair.certificate) in pages(tmp_path)[0][1]
    issue(tmp_path, (NAME,), utc_now())
    right = pair.key.read_text()
    pair.key.write_text(key_pem(new_key()))
    assert pages(tmp_path) == [("bad", f"kiosk: {pair.key}: not the key of {pair.certificate}")]
    pair.key.unlink()
    assert pages(tmp_path) == [("bad", f"kiosk: {pair.key}: cannot be read: No such file or directory")]
    pair.key.write_text(right)
    pair.certificate.write_text("-----BEGIN CERTIFICATE-----\nnone\n")
    assert pages(tmp_path) == [("bad", f"kiosk: {pair.certificate}: not a certificate")]


@pytest.mark.parametrize(
    ("made_days_ago", "state", "text"),
    [
        (900, "bad", ": expired on 20"),
        (800, "warn", "the certificate holds until"),
        (-9, "bad", " on; is the clock right"),
    ],
)
def test_a_certificate_out_of_its_time_is_bad_and_one_near_its_end_is_warned_of(
    tmp_path: Path, made_days_ago: int, state: str, text: str
) -> None:
    issue(tmp_path, (NAME,), utc_now() - timedelta(days=made_days_ago))
    ((found, said),) = pages(tmp_path)
    assert found == state
    assert text in said


@pytest.mark.parametrize(
    ("config", "fits"),
    [
        (f'[kiosk]\nurl = "https://{NAME.upper()}:8443/"\n{TLS}', True),
        (f'[kiosk]\nurl = "https://a.{NAME}"\n{TLS}', False),
        (f'[kiosk]\nhost = "192.0.2.5"\n{TLS}', False),
        (f'[kiosk]\nhost = "0.0.0.0"\n{TLS}', True),  # nobody has said by which name browsers come
        (f"[kiosk]\n{TLS}", True),
        (f'[visitor]\nlisten = "{NAME}:8600"\n{TLS}', True),
        (f'[visitor]\nlisten = "0.0.0.0:8600"\nurl = "https://visit.example"\n{TLS}', False),
    ],
)
def test_a_page_that_browsers_reach_by_a_name_the_certificate_does_not_have_is_bad(
    tmp_path: Path, config: str, fits: bool
) -> None:
    issue(tmp_path, (NAME,), utc_now())
    ((state, text),) = pages(tmp_path, config)
    assert state == ("good" if fits else "bad")
    assert fits or f"is for 127.0.0.1, {NAME}, localhost, not for " in text


def test_a_star_stands_for_one_label(tmp_path: Path) -> None:
    pair, key, now = TabletCa.of(tmp_path).pair, new_key(), utc_now()
    pair.key.parent.mkdir()
    pair.key.write_text(key_pem(key))
    pair.certificate.write_bytes(wildcard(key, now).public_bytes(Encoding.PEM))
    kiosks = (f'[kiosk]\nurl = "https://{name}"\n{TLS}' for name in (f"a.{NAME}", f"a.b.{NAME}", NAME))
    assert [pages(tmp_path, one)[0][0] for one in kiosks] == ["good", "bad", "bad"]


def test_check_config_and_doctor_say_both_and_check_config_ends_with_1_where_no_page_can_be_served(home: Home) -> None:
    runner, words = typer.testing.CliRunner(), ["check-config", str(home.path)]
    told = runner.invoke(app, words)
    assert told.exit_code == 0, "what is missing is said, and hinders no start"
    assert told.output.count("operator.") == 2
    home.config.write_text(home.config.read_text() + OPERATOR + KIOSK)
    told = runner.invoke(app, words)
    assert told.exit_code == 1
    assert "bad tls kiosk: " in told.output.replace("\n", "")
    assert {(one.part, one.state) for one in examine(home)} >= {("operator", "good"), ("tls", "bad")}
    issue(home.path, (NAME,), utc_now())
    assert runner.invoke(app, words).exit_code == 0
