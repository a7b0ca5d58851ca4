"""The kiosk over TLS, under a name that is not localhost, with an authority that only a tablet was told of."""

import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from edge.doctor import examine
from edge.kiosk.app import create_app
from edge.kiosk.tablet_ca import TabletCa, issue
from sync.transport.tls import key_pem, new_key, utc_now
from sync.web.server import PageServer
from tests.conftest import form_token
from tests.edge.kiosk.conftest import PASSWORD, Desk

COMMAND = [sys.executable, "-c", "from edge.cli import main; main()", "kiosk"]
NAME = "kiosk.test"


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def secured(desk: Desk) -> Iterator[PageServer]:
    assert _run("ca", "--home", desk.home.path, "--name", NAME).returncode == 0
    app = create_app(desk.home)
    server = PageServer(app, "127.0.0.1", 0, app.state.live.close, pair=TabletCa.of(desk.home.path).pair)
    server.start()
    yield server
    server.stop()


class _Named(httpx.HTTPTransport):
    """Connects to this machine whatever the name, as the office's own DNS would, and holds the server to the name."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        here = httpx.Request(
            request.method,
            request.url.copy_with(host="127.0.0.1"),
            headers=request.headers,  # the Host header among them
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": request.url.host},
        )
        return super().handle_request(here)


def _tablet(server: PageServer, authority: Path | None, name: str = NAME) -> httpx.Client:
    trusts = ssl.create_default_context(cafile=None if authority is None else str(authority))
    url = f"https://{name}:{server.port}"
    return httpx.Client(base_url=url, transport=_Named(verify=trusts), headers={"origin": url}, timeout=20)


def test_a_tablet_that_trusts_the_authority_signs_in_under_the_kiosk_s_name(secured: PageServer, desk: Desk) -> None:
    ca = TabletCa.of(desk.home.path)
    with _tablet(secured, ca.certificate) as tablet:
        form = {"csrf_token": form_token(tablet), "name": "li", "password": PASSWORD}
        answer = tablet.post("/login", data=form)
        assert answer.status_code == 303
        session = next(one for one in answer.headers.get_list("set-cookie") if "session=" in one)
        assert "Secure" in session
        assert "HttpOnly" in session
        page = tablet.get("/?lang=en")
        assert page.status_code == 200
        assert "Secure" in page.headers["set-cookie"], "the language's cookie too"
        assert "strict-transport-security" not in page.headers, "another authority, and HSTS would lock the tablet out"
        assert tablet.get("/ca.crt").content == ca.certificate.read_bytes()


def test_whoever_does_not_know_the_authority_or_asks_for_another_name_is_refused(
    secured: PageServer, desk: Desk
) -> None:
    with pytest.raises(httpx.ConnectError, match=r"self-signed certificate|unable to get local issuer"):
        _tablet(secured, None).get("/login")
    with pytest.raises(httpx.ConnectError, match=r"not valid for 'desk\.test'"):
        _tablet(secured, TabletCa.of(desk.home.path).certificate, "desk.test").get("/login")


def test_the_command_writes_the_configuration_and_renews_without_another_word(desk: Desk) -> None:
    home = desk.home
    made = _run("ca", "--home", home.path, "--name", NAME, "--name", "192.168.1.5")
    assert made.returncode == 0, made.stderr
    ca = TabletCa.of(home.path)
    assert ca.fingerprint in made.stdout
    tls = home.settings().kiosk.tls
    assert (tls.cert, tls.key) == ("kiosk-tls/kiosk.crt", "kiosk-tls/kiosk.key")
    authority = ca.fingerprint
    again = _run("ca", "--home", home.path)
    assert again.returncode == 0, again.stderr
    assert NAME in again.stdout
    assert ca.fingerprint == authority
    refused = _run("ca", "--home", home.path, "--name", "bank.example")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_a_key_of_another_certificate_or_an_expired_one_ends_in_one_line(desk: Desk) -> None:
    home = desk.home
    assert _run("ca", "--home", home.path, "--name", NAME).returncode == 0
    pair = TabletCa.of(home.path).pair
    right = pair.key.read_text()
    pair.key.write_text(key_pem(new_key()))
    refused = _run("--home", home.path, "--port", "0")
    assert (refused.returncode, refused.stderr.strip().count("\n")) == (2, 0)
    assert refused.stderr.startswith(f"firstvisit: {pair.key}: not the key of ")
    pair.key.write_text(right)
    issue(home.path, (NAME,), utc_now().replace(year=2020), replace=True)
    refused = _run("--home", home.path, "--port", "0")
    assert refused.returncode == 2
    assert "kiosk.crt: expired on 2023-02-" in refused.stderr


def test_a_certificate_somebody_else_issued_is_left_alone_and_offers_no_authority(desk: Desk) -> None:
    config = desk.home.config
    config.write_text(config.read_text() + '[kiosk]\ntls.cert = "/etc/ssl/desk.pem"\ntls.key = "/etc/ssl/desk.key"\n')
    refused = _run("ca", "--home", desk.home.path, "--name", NAME)
    assert "the kiosk has a certificate" in refused.stderr
    assert not TabletCa.of(desk.home.path).folder.exists()


def test_doctor_says_until_when_a_page_s_certificate_holds(desk: Desk) -> None:
    home = desk.home
    assert _run("ca", "--home", home.path, "--name", NAME).returncode == 0
    told = {finding.state: finding.text for finding in examine(home) if finding.part == "tls"}
    assert list(told) == ["good"]
    issue(home.path, (NAME,), utc_now() - timedelta(days=800))
    (soon,) = [finding for finding in examine(home) if finding.part == "tls"]
    assert (soon.state, soon.text[:34]) == ("warn", "kiosk: the certificate holds until")
    TabletCa.of(home.path).pair.key.unlink()
    (gone,) = [finding for finding in examine(home) if finding.part == "tls"]
    assert gone.state == "bad"
