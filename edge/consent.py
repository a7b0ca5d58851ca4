"""Who may be compared: the capture policy, which the chain carries as `policy.changed`."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Literal

from edge.proven import proven
from edge.settings import Settings
from sync.format.canonical import Fields
from sync.format.notices import Policy
from sync.format.stamp import to_us
from sync.node.ledger import Ledger

_KEYS = ("mode", "unconsented_horizon_s", "consented_horizon_s", "legal_basis_sha256")  # a policy's own in its record

HELD_S = 3600.0  # how long pictures wait for consent, design.md 5: at most 60 minutes


@dataclass(frozen=True, slots=True)
class CapturePolicy:
    """after_consent: arrivals are seen, nobody is embedded. ephemeral: everybody is compared, and forgotten after
    `unconsented`.

    notice: nseq of central's notice that made it stricter than the configuration, None where none did. phones: how long
    a phone is kept after the last visit it was given at. consented: how long a face is kept after its last consent.
    """

    mode: Literal["after_consent", "ephemeral"]
    legal_basis: str
    unconsented: timedelta
    notice: int | None = None
    phones: timedelta = timedelta(days=180)
    consented: timedelta = timedelta(days=180)

    @classmethod
    def of(cls, settings: Settings) -> "CapturePolicy":
        return cls(
            settings.capture.mode,
            settings.capture.legal_basis.strip(),
            timedelta(hours=settings.retention.unconsented_h),
            phones=timedelta(days=settings.retention.phones_days),
            consented=timedelta(days=settings.retention.consented_days),
        )

    def narrowed(self, asked: Policy, nseq: int) -> "CapturePolicy":
        """The stricter of this and what central asks, in each respect: nothing central says lets a site keep more."""
        mode = asked.mode or self.mode
        unconsented = self.unconsented
        if asked.unconsented_h is not None:
            unconsented = min(unconsented, timedelta(hours=asked.unconsented_h))
        if (mode, unconsented) == (self.mode, self.unconsented):
            return self
        return replace(self, mode=mode, unconsented=unconsented, notice=nseq)

    @property
    def embeds(self) -> bool:
        return self.mode == "ephemeral"

    @property
    def kept(self) -> timedelta:
        """How long a face of somebody who has not consented is kept after its visit."""
        return self.unconsented if self.embeds else timedelta(0)

    @property
    def horizon_s(self) -> int:
        """The same as configured, whether or not the mode lets anything be kept."""
        return round(self.unconsented.total_seconds())

    @property
    def consented_horizon_s(self) -> int:
        return round(self.consented.total_seconds())

    def fields(self) -> Fields:
        """The policy as a record carries it; the legal basis is free text, so only its digest is in the chain."""
        fields: Fields = {
            "mode": self.mode,
            "unconsented_horizon_s": self.horizon_s,
            "consented_horizon_s": self.consented_horizon_s,
        }
        if self.legal_basis:
            fields["legal_basis_sha256"] = hashlib.sha256(self.legal_basis.encode()).hexdigest()
        if self.notice is not None:
            fields["notice"] = self.notice
        return fields


def policy_text(policy: CapturePolicy) -> str:
    """A policy for people: the mode, how long faces are kept, and who made it stricter than the configuration."""
    text = f"mode {policy.mode}"
    if policy.embeds:
        text += f", unconsented faces kept {policy.unconsented / timedelta(hours=1):g} h"
    return text if policy.notice is None else f"{text} (made stricter by central, notice {policy.notice})"


class Horizon:
    """How far back "first" reaches: never further than any policy since has let the node remember."""

    def __init__(self, policy: CapturePolicy, ledger: Ledger, folder: Path) -> None:
        """Read the policies the chain has seen; `policy` is the one in force, already declared. folder: HOME.

        One that the node's key has not signed counts as one that kept nobody: a row in the database cannot make
        "first" reach further back.
        """
        self._kept, self._consented = policy.kept, max(policy.kept, policy.consented)
        # whoever was here before this moment has been forgotten by some policy, or is in no backup
        restored = (begun for begun in ledger.records(("epoch.started",)) if begun.fields.get("reason") == "restore")
        self._lost_before_us = max((begun.stamp.wall_us for begun in restored), default=0)
        changes = list(ledger.records(("policy.changed",)))
        counted = {record.hash for record in proven(folder, ledger, changes)}
        for earlier, later in pairwise(changes):
            kept = earlier.hash in counted and earlier.fields["mode"] == "ephemeral"
            kept_s = earlier.fields["unconsented_horizon_s"] if kept else 0
            self._lost_before_us = max(self._lost_before_us, later.stamp.wall_us - kept_s * 1_000_000)

    def since_us(self, first_us: int, now: datetime) -> int:
        """Since when people may be known, the first of whom was at first_us: no consent is kept for longer."""
        return max(first_us, to_us(now - self._consented))

    def seconds(self, now: datetime) -> int:
        """How long ago somebody who has not consented may have been here and still be known."""
        since_lost = now.timestamp() - self._lost_before_us / 1e6
        return max(0, round(min(self._kept.total_seconds(), since_lost)))


def declare(policy: CapturePolicy, ledger: Ledger, folder: Path) -> None:
    """Append `policy.changed` where the node's last word in the chain is another policy; folder: HOME."""
    last = next(reversed(proven(folder, ledger, ledger.records(("policy.changed",)))), None)
    fields = policy.fields()
    if last is None or any(last.fields.get(key) != fields.get(key) for key in _KEYS):
        ledger.append("policy.changed", fields)
