"""What the forms of the desk bring along."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, HTTPException

from edge.desk.consents import MAX_SIGNATURE

_REQUEST = re.compile(r"[0-9a-f]{32}")


def once(sent: str) -> bool:
    """Whether a text is the id of a form."""
    return _REQUEST.fullmatch(sent) is not None


def sent_once(sent: str) -> str:
    """The id that a form brings, so that sending it twice records once; any other text is no form of ours."""
    if not once(sent):
        raise HTTPException(422, "form")
    return sent


@dataclass(frozen=True, slots=True)
class Registering:
    """What the form of a registration holds, however it is sent: by its own buttons, or along with a code.

    phone, heads: as typed. consent: the versions of the texts that were ticked. signature: of `read_signature`.
    """

    request_id: str
    phone: str
    consent: tuple[str, ...]
    language: str
    signature: str
    companions: tuple[str, ...]
    heads: str


def registering(
    request_id: Annotated[str, Form()],
    phone: Annotated[str, Form(max_length=40)] = "",
    consent: Annotated[tuple[str, ...], Form()] = (),
    language: Annotated[str, Form()] = "",
    signature: Annotated[str, Form(max_length=MAX_SIGNATURE)] = "",
    companion: Annotated[list[str] | None, Form()] = None,
    heads: Annotated[str, Form(max_length=8)] = "",
) -> Registering:
    """Read that form; a dependency of the routes it is sent to."""
    return Registering(sent_once(request_id), phone, consent, language, signature, tuple(companion or ()), heads)
