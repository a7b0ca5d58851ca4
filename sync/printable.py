"""What is printed: text of unknown origin made fit for a terminal or a line of a log, and numbers with their nouns."""

import logging
from types import TracebackType
from typing import TypeAlias

_Raised: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def printable(text: str) -> str:
    r"""Return `text` with every character that prints nothing, or moves what is printed, written as an escape.

    Records, frames and files hold what their writer liked: ESC sequences, line breaks, text that runs backwards.
    Spaces and letters of any script stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


class LineFormatter(logging.Formatter):
    """A log in which one message is one line, and a traceback stands indented: nobody's text can pass for a line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        return printable(super().formatMessage(record))

    def formatException(self, ei: _Raised) -> str:  # noqa: N802  # logging's name
        return "\n".join(f"  {printable(line)}" for line in super().formatException(ei).split("\n"))


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 head`, `2 heads`; plural: of a noun to which no s is added."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
