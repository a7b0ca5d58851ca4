"""The configuration of one HOME, validated at the door."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import tomlkit
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from edge import EdgeError
from sync.storage.files import write_durably

CONFIG_VERSION: Literal[1] = 1
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Zone: TypeAlias = Literal["entrance", "model", "showflat", "talks"]
"""What a camera watches: the door, the model of the site (沙盘), the show flat (样板间), the tables (洽谈)."""


def _time_of_day(value: str) -> str:
    if re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value) is None:
        raise ValueError("a time of day such as 08:30")
    return value


TimeOfDay = Annotated[str, AfterValidator(_time_of_day)]


class SettingsError(EdgeError):
    """A configuration that cannot be used; the text names the file, the key, the value and what is allowed."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Site(_Section):
    id: Name
    timezone: str = "Asia/Shanghai"

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a folder of zones, such as Asia
            raise ValueError("an IANA time zone such as Asia/Shanghai") from error
        return value


class NodeIdentity(_Section):
    id: Name


class PlaceSettings(_Section):
    lat: Annotated[float, Field(ge=-90, le=90)] | None = None
    lon: Annotated[float, Field(ge=-180, le=180)] | None = None
    datum: Literal["wgs84", "gcj02"] = "wgs84"
    accuracy_m: Annotated[float, Field(ge=0, le=100_000)] = 20.0
    fence: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.lat is None) != (self.lon is None):
            raise ValueError("lat and lon go together")
        return self


class Capture(_Section):
    mode: Literal["after_consent", "ephemeral"] = "after_consent"
    legal_basis: str = ""

    @model_validator(mode="after")
    def _lawful(self) -> Self:
        if self.mode == "ephemeral" and not self.legal_basis.strip():
            raise ValueError("mode ephemeral compares everybody: say why that is lawful in legal_basis")
        return self


class OperatorSettings(_Section):
    name: Annotated[str, Field(max_length=120)] = ""
    contact: Annotated[str, Field(max_length=200)] = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """The keys that say nothing."""
        return tuple(key for key, value in (("name", self.name), ("contact", self.contact)) if not value.strip())


class Retention(_Section):
    unconsented_h: Annotated[float, Field(gt=0, le=30 * 24)] = 24.0
    ledger_days: Annotated[int, Field(ge=1, le=36_500)] = 180
    phones_days: Annotated[int, Field(ge=1, le=3650)] = 180
    consented_days: Annotated[int, Field(ge=1, le=1095)] = 180


class Storage(_Section):
    reserve_mb: Annotated[int, Field(ge=1, le=4096)] = 16


class Recognition(_Section):
    pack: str | None = None
    evidence_fpir: Annotated[float, Field(gt=0, le=0.05)] = 0.003
    review_fpir: Annotated[float, Field(gt=0, le=0.5)] = 0.10
    margin: Annotated[float, Field(ge=0, le=2)] = 0.5

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.evidence_fpir >= self.review_fpir:
            raise ValueError("evidence_fpir lies below review_fpir")
        return self


class VisitSettings(_Section):
    gap_s: Annotated[float, Field(ge=0, le=7 * 86400)] = 4 * 3600.0


class CameraSettings(_Section):
    id: Name
    uri: Annotated[str, Field(min_length=1)]
    zone: Zone = "entrance"


class TlsSettings(_Section):
    cert: Annotated[str, Field(min_length=1)] | None = None
    key: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("tls.cert and tls.key go together")
        return self


class KioskSettings(_Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8500
    url: Annotated[str, Field(pattern=r"^https?://[^/@\s]+/?$")] | None = None
    tls: TlsSettings = TlsSettings()


class VisitorSettings(_Section):
    listen: Annotated[str, Field(pattern=r"^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}$")] | None = None
    url: Annotated[str, Field(pattern=r"^https?://[^/@\s]+/?$")] | None = None
    tls: TlsSettings = TlsSettings()

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.listen is not None and self.url is None and self.address[0] in ("0.0.0.0", "::"):
            raise ValueError("listening everywhere: give url, which the visitors' phones are sent to")
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `listen`."""
        host, _, port = (self.listen or "").rpartition(":")
        return host.strip("[]"), int(port or 0)


class Shift(_Section):
    """A part of the day at the desk; it lasts until the next one starts."""

    id: Name
    starts: TimeOfDay


class DeskSettings(_Section):
    shift: tuple[Shift, ...] = (Shift(id="morning", starts="08:30"), Shift(id="evening", starts="14:00"))
    close_at: TimeOfDay = "00:30"

    @field_validator("shift")
    @classmethod
    def _in_order(cls, value: tuple[Shift, ...]) -> tuple[Shift, ...]:
        starts, ids = [shift.starts for shift in value], {shift.id for shift in value}
        if not value or starts != sorted(set(starts)) or len(ids) != len(value):
            raise ValueError("one shift at least, each with an id of its own and later than the one before")
        return value


class RightsSettings(_Section):
    send_command: tuple[Annotated[str, Field(min_length=1)], ...] = ()


class UplinkSettings(_Section):
    broker: str | None = None


class Settings(_Section):
    """Everything a HOME's firstvisit.toml says; config/README.md describes each key."""

    version: Literal[1] = CONFIG_VERSION
    site: Site
    node: NodeIdentity
    place: PlaceSettings = PlaceSettings()
    operator: OperatorSettings = OperatorSettings()
    capture: Capture = Capture()
    retention: Retention = Retention()
    storage: Storage = Storage()
    recognition: Recognition = Recognition()
    visit: VisitSettings = VisitSettings()
    camera: tuple[CameraSettings, ...] = ()
    kiosk: KioskSettings = KioskSettings()
    visitor: VisitorSettings = VisitorSettings()
    desk: DeskSettings = DeskSettings()
    uplink: UplinkSettings = UplinkSettings()
    rights: RightsSettings = RightsSettings()

    @field_validator("version", mode="before")
    @classmethod
    def _not_newer(cls, value: object) -> object:
        if isinstance(value, int) and value > CONFIG_VERSION:
            raise ValueError(f"written by a newer FirstVisit, this one reads version {CONFIG_VERSION}")
        return value

    @field_validator("camera")
    @classmethod
    def _distinct(cls, value: tuple[CameraSettings, ...]) -> tuple[CameraSettings, ...]:
        ids = [camera.id for camera in value]
        if doubled := {i for i in ids if ids.count(i) > 1}:
            raise ValueError(f"two cameras are called {', '.join(sorted(doubled))}")
        return value


def load_settings(path: Path) -> Settings:
    """Read and validate firstvisit.toml; raises SettingsError, one line."""
    try:
        text = path.read_text()
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: no configuration there (firstvisit init makes one)") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error
    return parse_settings(text, str(path))


def parse_settings(text: str, name: str) -> Settings:
    """Validate the text of a firstvisit.toml; raises SettingsError, which calls it `name`."""
    try:
        return Settings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{name}: {error}") from error
    except ValidationError as error:
        raise SettingsError(f"{name}: {_line(error)}") from error


def _line(error: ValidationError) -> str:
    """The first thing that is wrong, and how many more there are."""
    problems = error.errors(include_url=False)
    first = problems[0]
    key = _key(first["loc"])
    allowed = first["msg"].removeprefix("Value error, ")
    if first["type"] == "string_pattern_mismatch" and key.endswith(".id"):
        allowed = "a name begins with a letter or a digit and has up to 64 letters, digits, dots, underscores, dashes"
    match first["type"]:
        case "extra_forbidden":
            text = f"{key if key.isprintable() else ascii(key)}: no such key"
        case "missing":
            text = f"{key}: missing"
        case _:
            text = f"{key} = {_shown(key, first['input'])}: {allowed[0].lower() + allowed[1:]}"
    return text + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")


def _key(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _shown(key: str, value: Any) -> str:
    text = repr(value)
    if key.endswith((".uri", ".broker")) or "://" in text:
        return "(not shown)"  # may hold a password
    return text if len(text) <= 60 else text[:57] + "..."


def new_config(*, site: str, node: str, place: dict[str, Any], capture: dict[str, str]) -> str:
    """Return the text of a new firstvisit.toml; values are not judged here."""
    document = tomlkit.document()
    document.add(tomlkit.comment("FirstVisit. Every key: config/README.md. Check it: firstvisit check-config HOME"))
    document.add("version", tomlkit.item(CONFIG_VERSION))
    sections = {"site": {"id": site}, "node": {"id": node}, "place": place, "capture": capture}
    for name, values in sections.items():
        section = tomlkit.table()
        for key, value in values.items():
            if value not in (None, ""):
                section.add(key, value)
        document.add(tomlkit.nl())
        document.add(name, section)
    text = tomlkit.dumps(document)
    return (
        text
        + '\n# [operator]\n# name = "湖畔置业有限公司"\n# contact = "400-000-0000"\n'
        + '\n# [[camera]]\n# id = "door"\n# uri = "rtsp://user:password@192.0.2.10/stream1"\n# zone = "entrance"\n'
    )


def set_broker(path: Path, url: str) -> None:
    """Write uplink.broker into a firstvisit.toml, whose comments stay; raises SettingsError or SyncError."""
    _set(path, "uplink", "broker", url)


def set_kiosk_tls(path: Path, cert: str, key: str) -> None:
    """Write kiosk.tls into a firstvisit.toml, whose comments stay; raises SettingsError or SyncError."""
    pair = tomlkit.inline_table()
    pair.update({"cert": cert, "key": key})
    _set(path, "kiosk", "tls", pair)


def _set(path: Path, section: str, key: str, value: object) -> None:
    load_settings(path)  # says in one line what cannot be read
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    if section not in document:
        document.add(tomlkit.nl())
        document.add(section, tomlkit.table())
    cast(dict[str, Any], document[section])[key] = value
    write_durably(path, tomlkit.dumps(document))
