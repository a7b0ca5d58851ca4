"""Phone numbers at the desk: read once, shown masked, found again by a keyed hash."""

import hmac
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

import phonenumbers

from edge import EdgeError

REGION, _OWN_COUNTRY = "CN", "+86"
_REPORTED_HEAD, _REPORTED_TAIL = 3, 4  # 138****5678: what agents report of a customer before the visit
_MASKED = re.compile(r"(\d{3})[\s*＊xX·-]*(\d{4})")
_MOBILE = re.compile(r"(\+?86)?1[3-9]\d{9}", re.ASCII)
_NUMBER, _REPORTED = b"firstvisit/v1/phone-number\0", b"firstvisit/v1/phone-reported\0"

Fault: TypeAlias = Literal["empty", "unreadable", "impossible"]


class BadPhone(EdgeError):
    """A number that is none; fault: which way, as the pages name it. The text never holds what was typed."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"phone: {fault}")
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Phone:
    """A valid number. e164: +8613800005678. national: its digits without the country's."""

    e164: str
    national: str

    @property
    def reported(self) -> str:
        """The digits that agents report: the first three and the last four."""
        return self.national[:_REPORTED_HEAD] + self.national[-_REPORTED_TAIL:]

    @property
    def masked(self) -> str:
        """The number as pages show it: 138****5678, +44 791****3456; of a short one, only its last two digits."""
        country = self.e164.removesuffix(self.national)
        abroad = "" if country == _OWN_COUNTRY else f"{country} "
        if len(self.national) < 10:
            return f"{abroad}****{self.national[-2:]}"
        return f"{abroad}{self.national[:_REPORTED_HEAD]}****{self.national[-_REPORTED_TAIL:]}"


def parse_phone(typed: str) -> Phone:
    """Read what was typed, as a Chinese number unless it begins with +; raises BadPhone."""
    if not typed.strip():
        raise BadPhone("empty")
    try:
        number = phonenumbers.parse(typed, REGION)
    except phonenumbers.NumberParseException as error:
        raise BadPhone("unreadable") from error
    if not phonenumbers.is_valid_number(number):
        raise BadPhone("impossible")
    return Phone(
        phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164),
        phonenumbers.national_significant_number(number),
    )


def is_mobile(typed: str) -> bool:
    """Whether a text is a Chinese mobile number and nothing else, which the desk may have typed into any field."""
    return _MOBILE.fullmatch(typed.strip()) is not None


def parse_reported(typed: str) -> str | None:
    """Read the digits of a report, 1385678 or 138****5678, as `Phone.reported` gives them; None where it is no such."""
    found = _MASKED.fullmatch(typed.strip())
    return found[1] + found[2] if found else None


def number_hmac(pepper: bytes, phone: Phone) -> bytes:
    """32 bytes by which the same number is found again; without the pepper nobody can try numbers."""
    return hmac.digest(pepper, _NUMBER + phone.e164.encode(), "sha256")


def reported_hmac(pepper: bytes, digits: str) -> bytes:
    """32 bytes by which the digits of a report are found; digits: as `Phone.reported`."""
    return hmac.digest(pepper, _REPORTED + digits.encode(), "sha256")
