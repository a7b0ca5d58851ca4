"""The code that visitors scan, as this minute's picture of it."""

import time
from typing import Any

import segno
from markupsafe import Markup

from edge.desk.desk_secrets import desk_secret
from edge.desk.visitor_code import STEP_S, VisitorCode
from edge.home import Home
from edge.visitor.serving import visitor_url


class ShownCode:
    """The code of one HOME, for whichever screen shows it."""

    def __init__(self, home: Home) -> None:
        settings = home.settings().visitor
        self._codes = VisitorCode(desk_secret(home.keys_database, "visitor_code"))
        self._url = None if settings.listen is None else visitor_url(settings)

    def drawn(self) -> dict[str, Any]:
        """What visitor_qr.html is given. qr: None where there is no page for visitors. left_ms: until the next one."""
        now_s = time.time()
        if self._url is None:
            return {"qr": None, "left_ms": STEP_S * 1000}
        made = segno.make(f"{self._url}/v/{self._codes.code(now_s)}", error="m")
        svg = made.svg_inline(scale=8, border=4, dark="#14211f", light="#ffffff", omitsize=True)
        return {"qr": Markup(svg), "left_ms": round((STEP_S - now_s % STEP_S) * 1000)}
