"""A box notices that it has been moved, and does not take an outage for a move."""

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge import cli
from edge.clock import Clock
from edge.doctor import examine
from edge.home import Home, create_home
from edge.node import RunOptions, run
from edge.place.attestation import Attestation, Standing, read_standing, unattested
from edge.place.site import Site
from edge.place.surroundings import Surroundings
from edge.settings import new_config
from sync.node.ledger import Ledger
from sync.verify.verify import verify

ROUTER, OTHER_ROUTER = ("192.168.1.1", "a4:2b:8c:00:00:01"), ("192.168.1.1", "b8:27:eb:00:00:02")
DOOR, SPARE = ("192.168.1.20", "c0:56:e3:00:00:03"), ("192.168.1.20", "c0:56:e3:00:00:04")
CAMERAS = {"door": "rtsp://user:secret@192.168.1.20:554/stream", "desk": "usb:0", "named": "rtsp://cam.local/s"}
PLACE = {"lat_e7": 312304000, "lon_e7": 1214737000, "accuracy_e6": 20_000_000, "source": "installer", "inside": "in"}


def stations(first: int, count: int) -> list[str]:
    return [f"00:1a:2b:00:00:{number:02x}" for number in range(first, first + count)]


class Box:
    """A kernel's tables and the tools of a box, under a folder; rewritten as the world around it changes."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.sys, self.tools = folder / "proc", folder / "sys", folder / "tools"
        for made in (self.proc / "net", self.sys / "class" / "video4linux" / "video0", self.tools):
            made.mkdir(parents=True)
        self.network(ROUTER, DOOR)
        self.usb("046d", "0825", "A1B2")
        self.wifi(stations(0, 10))

    def surroundings(self) -> Surroundings:
        return Surroundings(CAMERAS, self.proc, self.sys, str(self.tools))

    def network(self, router: tuple[str, str] | None, *others: tuple[str, str], resolved: bool = True) -> None:
        """The default route and who has answered; router None: the cable is out."""
        route = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        arp = "IP address       HW type     Flags       HW address            Mask     Device\n"
        if router is not None:
            gateway = bytes(map(int, router[0].split(".")))
            word = int.from_bytes(gateway, sys.byteorder)
            route += f"eth0\t00000000\t{word:08X}\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
            route += "eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
        for address, mac in (*((router,) if router else ()), *others):
            flags, seen = ("0x2", mac) if resolved else ("0x0", "00:00:00:00:00:00")
            arp += f"{address:<16} 0x1         {flags:<11} {seen:<21} *        eth0\n"
        (self.proc / "net" / "route").write_text(route)
        (self.proc / "net" / "arp").write_text(arp)

    def usb(self, vendor: str, product: str, serial: str) -> None:
        device = self.sys / "devices" / f"{vendor}-{product}-{serial}"
        interface = device / "1-2:1.0"
        interface.mkdir(parents=True)
        for name, value in (("idVendor", vendor), ("idProduct", product), ("serial", serial)):
            (device / name).write_text(f"{value}\n")
        link = self.sys / "class" / "video4linux" / "video0" / "device"
        link.unlink(missing_ok=True)
        link.symlink_to(interface)

    def wifi(self, macs: list[str], tool: str = "iw") -> None:
        for name in ("iw", "nmcli"):
            (self.tools / name).unlink(missing_ok=True)
        script = self.tools / tool
        if tool == "iw":
            listed = "".join(f"BSS {mac}(on wlan0)\n\tSSID: somebody\n" for mac in macs)
            script.write_text(
                "#!/bin/sh\n"
                'if [ "$*" = dev ]; then printf "phy#0\\n\\tInterface wlan0\\n\\t\\ttype managed\\n"; exit; fi\n'
                f"[ \"$*\" = \"dev wlan0 scan dump\" ] || exit 1\nprintf '%s' '{listed}'\n"
            )
        else:
            listed = "".join(mac.upper().replace(":", "\\:") + "\n" for mac in macs)
            script.write_text(f"#!/bin/sh\nprintf '%s' '{listed}'\n")
        script.chmod(0o755)

    def no_wifi(self) -> None:
        for name in ("iw", "nmcli"):
            (self.tools / name).unlink(missing_ok=True)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "box")


@pytest.fixture
def node(home: Home) -> Iterator[Ledger]:
    ledger = home.open_ledger("node", Clock())
    yield ledger
    ledger.close()


@pytest.fixture
def attestation(home: Home, box: Box) -> Attestation:
    return Attestation(home.database, box.surroundings())


@pytest.fixture
def settled(attestation: Attestation, node: Ledger) -> Attestation:
    """A box that has looked around once, where it belongs."""
    assert attestation.check(node).holds
    return attestation


def changes(ledger: Ledger) -> list[list[str]]:
    return [record.fields["changed"] for record in ledger.records(("place.changed",))]


def test_everything_around_is_seen_and_what_has_no_address_is_not_asked_for(box: Box) -> None:
    sight = box.surroundings().look()
    assert sight.gateway == {"192.168.1.1 a4:2b:8c:00:00:01"}
    assert sight.cameras == {"door": "192.168.1.20 c0:56:e3:00:00:03", "desk": "046d:0825:A1B2"}
    assert sight.wifi == set(stations(0, 10))


def test_either_tool_tells_of_the_neighbours_and_phones_that_play_station_are_none(box: Box) -> None:
    hotspot = "da:a1:19:00:00:01"  # locally administered
    box.wifi([*stations(0, 3), hotspot], "nmcli")
    assert box.surroundings().look().wifi == set(stations(0, 3))
    box.wifi([*stations(0, 3), hotspot])
    assert box.surroundings().look().wifi == set(stations(0, 3))
    box.no_wifi()
    assert box.surroundings().look().wifi == frozenset()


def test_a_machine_without_any_of_it_is_seen_as_nothing(tmp_path: Path) -> None:
    sight = Surroundings(CAMERAS, tmp_path / "proc", tmp_path / "sys", str(tmp_path)).look()
    assert (sight.gateway, sight.cameras, sight.wifi) == (frozenset(), {}, frozenset())


def test_a_new_box_takes_what_it_sees_for_its_place_and_says_nothing(settled: Attestation, node: Ledger) -> None:
    assert settled.check(node).holds
    assert changes(node) == []


def test_a_reboot_an_unplugged_cable_and_a_silent_wifi_are_no_move(
    home: Home, box: Box, settled: Attestation, node: Ledger
) -> None:
    box.network(ROUTER, DOOR, resolved=False)  # just booted: nobody has answered yet
    assert Attestation(home.database, box.surroundings()).check(node).holds
    box.network(None)
    box.no_wifi()
    (box.sys / "class" / "video4linux" / "video0" / "device").unlink()
    assert settled.check(node).holds
    box.network(ROUTER, DOOR)
    box.wifi(stations(0, 10))
    assert settled.check(node).holds
    assert changes(node) == []


def test_another_router_is_a_change_even_at_the_same_address_told_once(
    home: Home, box: Box, settled: Attestation, node: Ledger
) -> None:
    box.network(OTHER_ROUTER, DOOR)
    standing = settled.check(node)
    assert standing.changed == ("gateway",)
    assert Attestation(home.database, box.surroundings()).check(node) == standing  # a restart does not forget
    box.network(ROUTER, DOOR)  # put back: nobody has looked all the same
    assert settled.check(node) == standing == read_standing(home.database)
    assert changes(node) == [["gateway"]]
    record = node.last_of("place.changed")
    assert record is not None
    assert record.fields["reason"] == "surroundings"
    assert record.fields["fingerprint"] != record.fields["before"]


def test_another_camera_at_the_same_address_is_a_change_and_so_is_another_usb_camera(
    box: Box, settled: Attestation, node: Ledger
) -> None:
    box.network(ROUTER, SPARE)
    assert settled.check(node).changed == ("cameras",)
    settled.attest(node)
    box.usb("046d", "0825", "C3D4")
    assert settled.check(node).changed == ("cameras",)


def test_a_box_carried_to_another_office_sees_that_everything_is_another(
    box: Box, settled: Attestation, node: Ledger
) -> None:
    box.network(OTHER_ROUTER, SPARE)
    box.wifi([*stations(0, 1), *stations(100, 9)])  # one router travelled along
    assert settled.check(node).changed == ("gateway", "cameras", "wifi")
    assert changes(node) == [["gateway", "cameras", "wifi"]]


def test_a_box_without_a_network_is_given_away_by_its_neighbours(box: Box, settled: Attestation, node: Ledger) -> None:
    box.network(None)
    box.wifi(stations(100, 9))
    assert settled.check(node).changed == ("wifi",)


def test_neighbours_come_and_go_and_years_of_it_are_no_move(box: Box, settled: Attestation, node: Ledger) -> None:
    for first in range(1, 60):  # one shop a month changes its router
        box.wifi(stations(first, 10))
        assert settled.check(node).holds
    box.wifi([*stations(59, 3), *stations(100, 7)])  # and one bad scan
    assert settled.check(node).holds
    box.wifi(stations(200, 3))  # too few to say anything
    assert settled.check(node).holds
    assert changes(node) == []


def test_what_is_seen_for_the_first_time_belongs_to_the_place_from_then_on(
    box: Box, attestation: Attestation, node: Ledger
) -> None:
    box.network(None)
    box.no_wifi()
    assert attestation.check(node).holds
    box.network(ROUTER)
    assert attestation.check(node).holds
    box.network(ROUTER, DOOR)
    assert attestation.check(node).holds
    box.wifi(stations(0, 10))
    assert attestation.check(node).holds
    box.network(ROUTER, SPARE)
    assert attestation.check(node).changed == ("cameras",)


def test_attesting_takes_the_new_surroundings_and_a_later_change_is_told_again(
    home: Home, box: Box, settled: Attestation, node: Ledger
) -> None:
    box.network(OTHER_ROUTER, DOOR)
    settled.check(node)
    record, sight = settled.attest(node)
    assert sight.gateway == {" ".join(OTHER_ROUTER)}
    changed = next(node.records(("place.changed",)))
    assert (record.fields["changed"], record.fields["reason"]) == ([], "attested")
    assert record.fields["fingerprint"] == changed.fields["fingerprint"]
    assert record.fields["before"] == changed.fields["before"]
    assert settled.check(node) == Standing()
    box.network(ROUTER, DOOR)
    assert settled.check(node).changed == ("gateway",)
    assert changes(node) == [["gateway"], [], ["gateway"]]
    verdict = verify(home.path)
    assert verdict.ok, verdict.why


def test_nothing_readable_is_stored_or_signed_and_two_boxes_tell_different_fingerprints(
    home: Home, box: Box, settled: Attestation, node: Ledger, find_bytes, make_home
) -> None:
    other = make_home("other")
    with closing(other.open_ledger("node", Clock())) as ledger:
        twin, _ = Attestation(other.database, box.surroundings()).attest(ledger)
    record, _ = settled.attest(node)
    assert record.fields["fingerprint"] != twin.fields["fingerprint"]
    for readable in (*ROUTER, *DOOR, "A1B2", stations(0, 1)[0]):
        for spelled in (readable, readable.replace(":", ""), readable.upper()):
            assert find_bytes(home.path, spelled.encode()) == []


def test_records_name_no_place_for_certain_until_somebody_has_looked(
    box: Box, attestation: Attestation, node: Ledger, home: Home
) -> None:
    site = Site(PLACE, attestation)
    assert site.place(node) == PLACE
    box.network(OTHER_ROUTER, DOOR)
    assert site.place(node) == unattested(PLACE)
    assert unattested(PLACE)["inside"] == "unknown"
    (finding,) = [one for one in examine(home) if one.part == "place" and one.state == "bad"]
    assert "(gateway)" in finding.text
    assert f"firstvisit attest --home {home.path}" in finding.text
    attestation.attest(node)
    assert site.place(node) == PLACE
    assert not [one for one in examine(home) if one.part == "place" and one.state == "bad"]
    assert Site(None, attestation).place(node) is None


def test_a_home_of_an_earlier_version_is_read_as_one_that_was_never_checked(home: Home, node: Ledger) -> None:
    node.connection.execute("DROP TABLE attestation")
    assert read_standing(home.database) == Standing(looked=False)


@pytest.mark.usefixtures("pack")
def test_a_run_on_a_moved_box_records_visits_without_a_place_and_attest_brings_it_back(
    tmp_path: Path, box: Box, walk_in: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {"lat": 31.2304, "lon": 121.4737, "datum": "wgs84"}
    home = create_home(tmp_path / "moved", new_config(site="s", node="gate", place=place, capture={}), None)
    attestation = Attestation(home.database, box.surroundings())
    with closing(home.open_ledger("node", Clock())) as node:
        attestation.check(node)
        box.network(OTHER_ROUTER, DOOR)
        attestation.check(node)
        options = RunOptions(sources=(str(walk_in),), until_end=True, fast=True)
        assert run(home, options)
        told = [record.fields["place"] for record in node.records(("node.boot", "visit.seen"))]
        assert len(told) > 1
        assert {(one["inside"], one["attested"]) for one in told} == {("unknown", 0)}
        monkeypatch.setattr(sys, "argv", ["firstvisit", "attest", "--home", str(home.path)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        assert "attested" in capsys.readouterr().out
        assert run(home, options)
        boot = node.last_of("node.boot")
    assert boot is not None
    assert "attested" not in boot.fields["place"]
