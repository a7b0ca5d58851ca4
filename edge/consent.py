"""Who may be compared: the capture policy, which the chain carries as `policy.changed`."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from edge.settings import Settings
from sync.canonical import Fields
from sync.ledger import Ledger

_KEYS = ("mode", "unconsented_horizon_s", "legal_basis_sha256")  # a policy's own in its record


@dataclass(frozen=True, slots=True)
class CapturePolicy:
    """after_consent: arrivals are seen, nobody is embedded. ephemeral: everybody is compared, and forgotten after
    `unconsented`."""

    mode: Literal["after_consent", "ephemeral"]
    legal_basis: str
    unconsented: timedelta

    @classmethod
    def of(cls, settings: Settings) -> "CapturePolicy":
        return cls(
            settings.capture.mode,
            settings.capture.legal_basis.strip(),
            timedelta(hours=settings.retention.unconsented_h),
        )

    @property
    def embeds(self) -> bool:
        return self.mode == "ephemeral"

    @property
    def horizon_s(self) -> int:
        """How long somebody who has not consented is remembered."""
        return round(self.unconsented.total_seconds())

    def fields(self) -> Fields:
        """The policy as a record carries it; the legal basis is free text, so only its digest is in the chain."""
        fields: Fields = {"mode": self.mode, "unconsented_horizon_s": self.horizon_s}
        if self.legal_basis:
            fields["legal_basis_sha256"] = hashlib.sha256(self.legal_basis.encode()).hexdigest()
        return fields


def declare(policy: CapturePolicy, ledger: Ledger) -> None:
    """Append `policy.changed` where the chain's last word is another policy."""
    last = ledger.last_of("policy.changed")
    fields = policy.fields()
    if last is None or {key: last.fields[key] for key in _KEYS if key in last.fields} != fields:
        ledger.append("policy.changed", fields)
