"""A central that a desk's node has joined, without a broker between them; and pictures of its codes."""

from io import BytesIO
from pathlib import Path

import segno
from PIL import Image

from sync.central.codes import issue
from sync.format.codes import SignedCode
from tests.edge.head_office import HeadOffice
from tests.edge.kiosk.conftest import Desk

AGENT = "agt-" + "0b" * 8


class Hq(HeadOffice):
    """A central that this desk's node has joined."""

    def __init__(self, desk: Desk, folder: Path) -> None:
        super().__init__(desk.home, folder / "central")

    def report(self, digits: str = "1385678", days: int = 30) -> SignedCode:
        return issue(self.directory, "report", days, ("puxi-01",), AGENT, digits=digits)[0]

    def agent(self) -> SignedCode:
        return issue(self.directory, "agent", 30, agent_id=AGENT)[0]

    def site(self) -> SignedCode:
        return issue(self.directory, "site", 30, ("puxi-01",))[0]


def picture_of(*texts: str, wide: int = 0) -> bytes:
    """A JPEG that shows these codes side by side, a little askew; wide: at least so many pixels, as from a camera."""
    made = []
    for text in texts:
        file = BytesIO()
        segno.make(text, error="m").save(file, kind="png", scale=5)
        made.append(Image.open(file).convert("L"))
    width = max(wide, sum(one.width for one in made) + 200)
    sheet = Image.new("L", (width, max(wide * 9 // 16, 500, *(one.height + 200 for one in made))), 200)
    left = 100
    for one in made:
        sheet.paste(one, (left, 100))
        left += one.width
    out = BytesIO()
    sheet.rotate(7, fillcolor=200).save(out, "JPEG", quality=80)
    return out.getvalue()
