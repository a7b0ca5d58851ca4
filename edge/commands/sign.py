"""`firstvisit sign`: the notice that hangs at the entrance."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edge.clock import wall_us
from edge.commands.screen import say

app = typer.Typer()


class Size(StrEnum):
    A4 = "A4"
    A3 = "A3"


@app.command()
def sign(
    home: Annotated[Path, typer.Option("--home", help="The node's HOME.", show_default=False)],
    pdf: Annotated[Path, typer.Option("--pdf", help="The file to write.", show_default=False)],
    size: Annotated[Size, typer.Option(help="Of the paper.")] = Size.A4,
) -> None:
    """Print the sign for the entrance, in Chinese and English, as the capture policy in force calls for it.

    It needs section operator of firstvisit.toml: name, contact. Print it anew when the policy or a retention changes.

    Example: firstvisit sign --home /var/lib/firstvisit/home --pdf sign.pdf --size A3
    """
    from edge.home import Home
    from edge.rights.entrance_sign import NoSign, draw_sign, sign_of

    found = Home(home)
    settings = found.settings()
    now_us = wall_us()
    drawn = draw_sign(sign_of(settings, found.policy(settings), now_us), size.value, now_us)
    try:
        with pdf.open("xb") as file:
            file.write(drawn)
    except FileExistsError as error:
        raise NoSign(f"{pdf}: already there") from error
    except OSError as error:
        raise NoSign(f"{pdf}: {error.strerror}") from error
    say(f"wrote {pdf}, {size.value}, for capture.mode {found.policy(settings).mode}")
