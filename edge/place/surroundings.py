"""What a box can see of where it stands: its gateway, its cameras, the Wi-Fi stations around it."""

import os
import re
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

TOOL_TIMEOUT_S = 1.0  # reading a cached scan takes some milliseconds; frames wait meanwhile
_RTF_GATEWAY = 0x0002  # linux/route.h
_ATF_COM = 0x02  # linux/if_arp.h: the address is known
_BSS = re.compile(r"^BSS ((?:[0-9a-f]{2}:){5}[0-9a-f]{2})", re.IGNORECASE | re.MULTILINE)
_MAC = re.compile(r"(?:[0-9A-F]{2}:){5}[0-9A-F]{2}", re.IGNORECASE)
_INTERFACE = re.compile(r"^\s*Interface (\S+)$", re.MULTILINE)
_USB_DEPTH = 4  # from a video interface up to its device


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen at one moment; what could not be read is not in it, and says nothing.

    gateway: address and MAC of every default route's gateway. cameras: by camera id, host and MAC, or the USB
    device's ids and serial. wifi: station addresses.
    """

    gateway: frozenset[str] = frozenset()
    cameras: Mapping[str, str] | None = None
    wifi: frozenset[str] = frozenset()


class Surroundings:
    """Reads the kernel's tables and asks the Wi-Fi tools that are there; it sends nothing and changes nothing."""

    def __init__(
        self,
        cameras: Mapping[str, str],
        proc: Path = Path("/proc"),
        sys: Path = Path("/sys"),
        path: str | None = None,
    ) -> None:
        """cameras: the URI of each, by id. path: where `iw` and `nmcli` are looked for, as PATH; None: PATH."""
        self._cameras = dict(cameras)
        self._proc, self._sys = proc, sys
        self._path = os.environ.get("PATH", os.defpath) if path is None else path

    def look(self) -> Sight:
        """See what there is now; whatever cannot be read is left out."""
        macs = self._macs()
        gateway = frozenset(f"{address} {macs[address]}" for address in self._gateways() if address in macs)
        cameras = {
            camera_id: identity for camera_id, uri in self._cameras.items() if (identity := self._camera(uri, macs))
        }
        # a locally administered address is a phone's hotspot or a made-up one: it travels, and changes
        fixed = frozenset(mac for mac in self._stations() if not int(mac[:2], 16) & 0x02)
        return Sight(gateway, cameras, fixed)

    def _gateways(self) -> Iterator[str]:
        """The gateways of the IPv4 default routes (proc(5), /proc/net/route: addresses in the machine's byte order)."""
        for line in _lines(self._proc / "net" / "route")[1:]:
            fields = line.split()
            try:
                destination, gateway, flags, mask = (int(fields[i], 16) for i in (1, 2, 3, 7))
            except (IndexError, ValueError):
                continue
            if destination == mask == 0 and flags & _RTF_GATEWAY:
                yield socket.inet_ntoa(struct.pack("=L", gateway))

    def _macs(self) -> dict[str, str]:
        """Who has answered on the local networks, by address (proc(5), /proc/net/arp)."""
        known = {}
        for line in _lines(self._proc / "net" / "arp")[1:]:
            fields = line.split()
            if len(fields) >= 6 and int(fields[2], 16) & _ATF_COM and _MAC.fullmatch(fields[3]):
                known[fields[0]] = fields[3].lower()
        return known

    def _camera(self, uri: str, macs: Mapping[str, str]) -> str | None:
        usb = re.fullmatch(r"usb:(\d+)|/dev/video(\d+)", uri)
        if usb:
            return self._usb(int(usb[1] or usb[2]))
        try:
            address = str(ip_address(urlsplit(uri).hostname or ""))
        except ValueError:  # a name: asking for it would ask the network
            return None
        return f"{address} {macs[address]}" if address in macs else None

    def _usb(self, number: int) -> str | None:
        device = (self._sys / "class" / "video4linux" / f"video{number}" / "device").resolve()
        for folder in (device, *device.parents)[:_USB_DEPTH]:
            if vendor := _text(folder / "idVendor"):
                return f"{vendor}:{_text(folder / 'idProduct')}:{_text(folder / 'serial')}"
        return None

    def _stations(self) -> set[str]:
        found: set[str] = set()
        for interface in _INTERFACE.findall(self._ask("iw", "dev")):
            found.update(mac.lower() for mac in _BSS.findall(self._ask("iw", "dev", interface, "scan", "dump")))
        if not found:
            listed = self._ask("nmcli", "-t", "-f", "BSSID", "device", "wifi", "list", "--rescan", "no")
            found.update(mac.lower() for mac in _MAC.findall(listed.replace("\\:", ":")))
        return found

    def _ask(self, tool: str, *words: str) -> str:
        program = shutil.which(tool, path=self._path)
        if program is None:
            return ""
        try:
            answer = subprocess.run(
                [program, *words],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TOOL_TIMEOUT_S,
                check=False,
                env={"PATH": self._path, "LC_ALL": "C"},
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return answer.stdout if answer.returncode == 0 else ""


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
