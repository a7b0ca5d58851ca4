"""What every form of the desk brings along."""

import re

from fastapi import HTTPException

_REQUEST = re.compile(r"[0-9a-f]{32}")


def once(sent: str) -> bool:
    """Whether a text is the id of a form."""
    return _REQUEST.fullmatch(sent) is not None


def sent_once(sent: str) -> str:
    """The id that a form brings, so that sending it twice records once; any other text is no form of ours."""
    if not once(sent):
        raise HTTPException(422, "form")
    return sent
