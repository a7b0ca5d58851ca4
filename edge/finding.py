"""One thing that `firstvisit doctor` or `check-config` looked at, and how it stands."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

State: TypeAlias = Literal["good", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. state: good; warn, it works but somebody should look; bad, it does not work."""

    part: str
    state: State
    text: str

    def listed(self) -> dict[str, Any]:
        return asdict(self)
