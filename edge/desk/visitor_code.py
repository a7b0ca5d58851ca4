"""The rotating code at the desk, and the form that each scan of it opens: whoever has it stands before the screen."""

import base64
import hmac
import re
import secrets
from dataclasses import dataclass

STEP_S = 60
FORM_S = 15 * 60  # to fill in a form; whoever takes longer scans again
LOOK_S = 24 * 3600  # to look at what was sent
_CODE_BYTES = 10  # 80 bits, good for two minutes: beyond guessing
_MAC_BYTES = 16
_CODE, _FORM = b"firstvisit/v1/visitor-code\0", b"firstvisit/v1/visitor-form\0"
_TOKEN = re.compile(r"([0-9a-f]{32})([0-9a-f]{8})([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class OpenedForm:
    """A form that a scan opened. form_id: 32 hex digits, random; opened_s: when, in seconds since 1970."""

    form_id: str
    opened_s: int
    may_send: bool


class VisitorCode:
    """Codes and forms under one secret; nothing is kept of either."""

    def __init__(self, secret: bytes) -> None:
        """secret: 32 bytes that never leave keys.db."""
        self._secret = secret

    def code(self, now_s: float) -> str:
        """What the desk's QR code carries now: 16 letters and digits."""
        return self._of_step(int(now_s // STEP_S))

    def opens(self, code: str, now_s: float) -> bool:
        """Whether a scanned code is the current one or, for who has it on their screen still, the one before."""
        step = int(now_s // STEP_S)
        sent = code.encode()
        return any(hmac.compare_digest(sent, self._of_step(one).encode()) for one in (step, step - 1))

    def open(self, now_s: float) -> str:
        """A new form's token, which goes into its address."""
        head = f"{secrets.token_hex(16)}{int(now_s):08x}"
        return head + self._mac(head)

    def form(self, token: str, now_s: float) -> OpenedForm | None:
        """The form of a token; None where we did not make it, or so long ago that there is nothing to see any more."""
        found = _TOKEN.fullmatch(token)
        if found is None or not hmac.compare_digest(found[3], self._mac(found[1] + found[2])):
            return None
        opened_s = int(found[2], 16)
        age_s = now_s - opened_s
        return OpenedForm(found[1], opened_s, age_s <= FORM_S) if age_s <= LOOK_S else None

    def _of_step(self, step: int) -> str:
        digest = hmac.digest(self._secret, _CODE + step.to_bytes(8, "big"), "sha256")
        return base64.b32encode(digest[:_CODE_BYTES]).decode().lower()

    def _mac(self, head: str) -> str:
        return hmac.digest(self._secret, _FORM + head.encode(), "sha256")[:_MAC_BYTES].hex()
