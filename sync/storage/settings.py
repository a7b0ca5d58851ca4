"""central.toml: where the broker and the store are, and where the console listens; here for the verifier too."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sync import SyncError
from sync.format.records import valid_name

FILE_NAME = "central.toml"


class Broker(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = "mqtt://127.0.0.1:1883"


class Console(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8600, ge=1, le=65535)
    url: str | None = Field(default=None, pattern=r"^https?://[^/@\s]+/?$")


class Api(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8700, ge=1, le=65535)
    url: str | None = Field(default=None, pattern=r"^https://[^/@\s]+/?$")


class IngestSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    backfill_per_s: int = Field(default=2000, ge=1, le=1_000_000)


class StorePlace(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str | None = Field(default=None, pattern=r"^postgres(ql)?://")


class TimestampSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    ca: str | None = None

    @model_validator(mode="after")
    def _both(self) -> "TimestampSettings":
        if (self.url is None) != (self.ca is None):
            raise ValueError("url and ca belong together: without the authority's roots its answers prove nothing")
        return self


class Settings(BaseModel):
    """What central.toml says; every key but `id` has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    broker: Broker = Broker()
    console: Console = Console()
    api: Api = Api()
    ingest: IngestSettings = IngestSettings()
    store: StorePlace = StorePlace()
    timestamp: TimestampSettings = TimestampSettings()


def load_settings(directory: Path) -> Settings:
    """Read DIR/central.toml; raises SyncError with one line naming the file and the key."""
    path = directory / FILE_NAME
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SyncError(f"{path}: not there; `firstvisit central init {directory}` makes it") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SyncError(f"{path}: {error}") from error
    try:
        settings = Settings.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise SyncError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if not valid_name(settings.id):
        raise SyncError(f"{path}: id: {settings.id!r} is not a name (letters, digits, . _ -, at most 64)")
    return settings


def store_url(directory: Path) -> str | None:
    """What DIR's central.toml says of the store; None for central.db. Raises SyncError naming the file and the key."""
    return load_settings(directory).store.url if (directory / FILE_NAME).exists() else None


def settings_text(central_id: str, broker_url: str, store_url: str | None = None, api_name: str | None = None) -> str:
    """What `central init` writes; the values are already checked and need no escapes beyond TOML's own quotes.

    api_name: the host name or address by which nodes reach the API; None: there is none.
    """
    store = f"\n[store]\nurl = {_quoted(store_url)}\n" if store_url else ""
    return (
        f'id = "{central_id}"\n\n[broker]\nurl = {_quoted(broker_url)}\n\n'
        '[console]\n# Loopback unless a proxy with TLS stands before it.\nhost = "127.0.0.1"\nport = 8600\n'
        + store
        + ("" if api_name is None else _api_text(api_name))
    )


def _api_text(name: str) -> str:
    host = f"[{name}]" if ":" in name else name
    return (
        "\n[api]\n# TLS with central's own certificates: nothing needs to stand before it.\n"
        f'host = "0.0.0.0"\nport = 8700\nurl = "https://{host}:8700"\n'
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
