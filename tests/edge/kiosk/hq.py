"""A central that a desk's node has joined, without a broker between them; and pictures of its codes."""

import time
from contextlib import closing
from io import BytesIO
from pathlib import Path

import segno
from PIL import Image

from edge.clock import Clock
from sync.central.codes import issue
from sync.central.enrol import enrol
from sync.central.store.location import open_store
from sync.format.codes import SignedCode
from sync.node.trust import Trust, join
from tests.edge.kiosk.conftest import Desk
from tests.sync.uplink_site import Central

AGENT = "agt-" + "0b" * 8


class Hq:
    """A central that this desk's node has joined."""

    def __init__(self, desk: Desk, folder: Path) -> None:
        self.home = desk.home
        self.directory = Central(folder / "central").directory
        enrol(self.directory, desk.home.node_pub)
        join(desk.home.path, self.directory / "central.pub")

    def report(self, digits: str = "1385678", days: int = 30) -> SignedCode:
        return issue(self.directory, "report", days, ("puxi-01",), AGENT, digits=digits)[0]

    def agent(self) -> SignedCode:
        return issue(self.directory, "agent", 30, agent_id=AGENT)[0]

    def site(self) -> SignedCode:
        return issue(self.directory, "site", 30, ("puxi-01",))[0]

    def tell(self) -> None:
        """The node hears everything it was told."""
        trust = Trust(self.home.path)
        with closing(self.home.open_ledger("node", Clock())) as ledger, open_store(self.directory) as store:
            for row in store.notices("puxi-01-a"):
                trust.apply(row.data, ledger, "puxi-01-a", time.time_ns() // 1000)


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
