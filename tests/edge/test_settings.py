"""A configuration is refused in one line that names the file, the key, the value and what is allowed."""

from pathlib import Path

import pytest

from edge.settings import SettingsError, load_settings, new_config, parse_settings, set_broker

GOOD = 'version = 1\n[site]\nid = "puxi-01"\n[node]\nid = "puxi-01-a"\n'
SECRET = "s3cret-pass"


def refusal(text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        parse_settings(text, "HOME/firstvisit.toml")
    return str(caught.value)


def test_the_smallest_configuration_keeps_people_unembedded_for_a_day() -> None:
    settings = parse_settings(GOOD, "x")
    assert settings.capture.mode == "after_consent"
    assert settings.retention.unconsented_h == 24
    assert settings.visit.gap_s == 4 * 3600
    assert (settings.kiosk.host, settings.kiosk.port) == ("127.0.0.1", 8500)
    assert settings.camera == ()
    assert settings.uplink.broker is None


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("[place]\nlat = 131.2\nlon = 121.5\n", "place.lat = 131.2: input should be less than or equal to 90"),
        ("[place]\nlat = 31.2\nlon = -181\n", "place.lon = -181: input should be greater than or equal to -180"),
        ("[place]\nlat = nan\nlon = 121.5\n", "place.lat = nan: input should be"),
        ("[place]\nlat = 31.2\n", "place = {'lat': 31.2}: lat and lon go together"),
        ('[place]\ndatum = "bd09"\n', "place.datum = 'bd09': input should be 'wgs84' or 'gcj02'"),
        ('[capture]\nmode = "always"\n', "capture.mode = 'always': input should be 'after_consent' or 'ephemeral'"),
        ('[capture]\nmode = "ephemeral"\n', "say why that is lawful in legal_basis"),
        ('[capture]\nmode = "ephemeral"\nlegal_basis = "  "\n', "say why that is lawful in legal_basis"),
        ("[retention]\nunconsented_h = 721\n", "retention.unconsented_h = 721: input should be less than or equal to"),
        ("[retention]\nunconsented_h = 0\n", "retention.unconsented_h = 0: input should be greater than 0"),
        ("[visit]\ngap_s = -1\n", "visit.gap_s = -1: input should be greater than or equal to 0"),
        ("[visit]\ngap_s = inf\n", "visit.gap_s = inf: input should be less than or equal to 604800"),
        ("[kiosk]\nport = 0\n", "kiosk.port = 0: input should be greater than or equal to 1"),
        ("[kiosk]\nprot = 8500\n", "kiosk.prot: no such key"),
        ("[kisok]\nport = 8500\n", "kisok: no such key"),
        ("[recognition]\nevidence_fpir = 0.05\nreview_fpir = 0.05\n", "evidence_fpir lies below review_fpir"),
        ("[[camera]]\nid = 'door'\n", "camera[1].uri: missing"),
        ("[[camera]]\nid = 'front door'\nuri = 'usb:0'\n", "camera[1].id = 'front door': a name begins with"),
        ("[[camera]]\nid = 'd'\nuri = 'usb:0'\n[[camera]]\nid = 'd'\nuri = 'usb:1'\n", "two cameras are called d"),
        ("[desk]\nclose_at = '24:00'\n", "desk.close_at = '24:00': a time of day such as 08:30"),
        ("[desk]\nshift = []\n", "one shift at least"),
        (
            "[[desk.shift]]\nid = 'a'\nstarts = '14:00'\n[[desk.shift]]\nid = 'b'\nstarts = '08:30'\n",
            "later than the one before",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_value_and_what_is_allowed(added: str, said: str) -> None:
    text = refusal(GOOD + added)
    assert text.startswith("HOME/firstvisit.toml: ")
    assert said in text
    assert "\n" not in text


def test_the_first_problem_is_shown_and_the_others_are_counted() -> None:
    assert refusal(GOOD + "[place]\nlat = 91\nlon = 181\n[visit]\ngap_s = -1\n").endswith("(and 2 more)")


def test_a_missing_section_is_named() -> None:
    assert "node: missing" in refusal('version = 1\n[site]\nid = "puxi-01"\n')


@pytest.mark.parametrize("zone", ["Mars/Olympus", "Asia", "", "../../etc/passwd", "/etc/localtime"])
def test_a_time_zone_that_is_none_is_refused(zone: str) -> None:
    text = refusal(GOOD.replace("[node]", f"timezone = '{zone}'\n[node]"))
    assert f"site.timezone = {zone!r}: an IANA time zone such as Asia/Shanghai" in text


def test_a_newer_version_says_so_before_anything_else_is_judged() -> None:
    text = refusal(GOOD.replace("version = 1", "version = 2\nfuture = 'thing'") + "[visit]\nspan = 3\n")
    assert "version = 2: written by a newer FirstVisit, this one reads version 1" in text


def test_text_that_is_not_toml_is_refused_with_its_line() -> None:
    assert "line 3" in refusal("version = 1\n[site]\nid = puxi\n")


def test_a_key_of_control_characters_cannot_break_the_line() -> None:
    assert refusal('"a\\nb" = 1\n' + GOOD) == r"HOME/firstvisit.toml: 'a\nb': no such key"


@pytest.mark.parametrize(
    "text",
    [
        GOOD + f"[[camera]]\nid='d'\nuri='rtsp://u:{SECRET}@h'\n[[camera]]\nid='d'\nuri='rtsp://u:{SECRET}@i'\n",
        GOOD + f"[[camera]]\nid = 'rtsp://u:{SECRET}@h'\nuri = ''\n",
        f"camera = 'rtsp://u:{SECRET}@h'\n" + GOOD,
        f"camera = ['rtsp://u:{SECRET}@h']\n" + GOOD,
        f"uplink = 'mqtt://u:{SECRET}@h'\n" + GOOD,
        GOOD + f"[uplink]\nbroker = ['{SECRET}']\n",
        GOOD + f"[uplink]\nurl = 'mqtt://u:{SECRET}@h'\n",
        GOOD + f"[[camera]]\nid = 'd'\nuri = ['{SECRET}']\n",
        GOOD + f"[[camera]]\nid = 'd'\nuri = 'rtsp://u:{SECRET}@h'\nurl = 3\n",
        GOOD + f"[kiosk]\nport = 'http://u:{SECRET}@h'\n",
    ],
)
def test_no_error_shows_a_password_of_a_camera_or_a_broker(text: str) -> None:
    assert SECRET not in refusal(text)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    missing, folder, latin = tmp_path / "none.toml", tmp_path, tmp_path / "latin.toml"
    latin.write_bytes(b"# \xe9\n")
    for path in (missing, folder, latin):
        with pytest.raises(SettingsError, match=r"^[^\n]*$") as caught:
            load_settings(path)
        assert str(path) in str(caught.value)


def test_a_new_configuration_reads_back_as_it_was_asked_for() -> None:
    text = new_config(
        site="puxi-01",
        node="gate",
        place={"lat": 0.0, "lon": 121.4737, "datum": "gcj02", "fence": None},
        capture={"mode": "ephemeral", "legal_basis": '意见书 "2026-7"'},
    )
    settings = parse_settings(text, "x")
    assert (settings.site.id, settings.node.id) == ("puxi-01", "gate")
    assert (settings.place.lat, settings.place.lon, settings.place.datum) == (0.0, 121.4737, "gcj02")
    assert settings.capture.legal_basis == '意见书 "2026-7"'
    assert settings.place.fence is None


def test_the_commented_camera_of_a_new_configuration_works_once_uncommented() -> None:
    text = new_config(site="s", node="n", place={"datum": "wgs84"}, capture={"mode": "after_consent"})
    head, example = text.split("# [[camera]]")
    settings = parse_settings(head + "[[camera]]" + example.replace("# ", ""), "x")
    assert [camera.id for camera in settings.camera] == ["door"]


def test_set_broker_leaves_the_appliance_s_link_to_its_configuration(tmp_path: Path) -> None:
    real, link = tmp_path / "node.toml", tmp_path / "firstvisit.toml"
    real.write_text(new_config(site="s", node="n", place={}, capture={"mode": "after_consent"}))
    real.chmod(0o640)
    link.symlink_to(real)
    set_broker(link, "mqtt://broker")
    assert link.is_symlink()
    assert load_settings(real).uplink.broker == "mqtt://broker"
    assert real.stat().st_mode & 0o777 == 0o640


def test_set_broker_keeps_comments_and_everything_else(tmp_path: Path) -> None:
    path = tmp_path / "firstvisit.toml"
    before = new_config(site="s", node="n", place={"lat": 31.2, "lon": 121.5}, capture={"mode": "after_consent"})
    path.write_text(before + "\n# the installer was here\n")
    set_broker(path, "mqtt://a:b@broker:1883")
    assert load_settings(path).uplink.broker == "mqtt://a:b@broker:1883"
    set_broker(path, "mqtt://10.0.0.2")
    assert load_settings(path).uplink.broker == "mqtt://10.0.0.2"
    assert load_settings(path).place.lat == 31.2
    kept = path.read_text()
    assert "# the installer was here" in kept
    assert [line for line in before.splitlines() if line.startswith("#")] == [
        line for line in kept.splitlines() if line.startswith("#") and "installer" not in line
    ]
    assert kept.count("[uplink]") == 1
