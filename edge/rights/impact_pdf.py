"""The report for the impact assessment on paper: what its page says, set in A4, so that the two cannot differ."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser

from edge.papers.paper import HEIGHT_MM, MM_PER_PT, WIDTH_MM, Colour, Paper, Weight

_MARGIN, _FOOT_MM = 18.0, 16.0
_INK: Colour = (27, 36, 48)
_GREY: Colour = (81, 96, 111)
_LINE: Colour = (207, 214, 223)
_OPEN: Colour = (255, 245, 214)
_FOR_THE_OPERATOR = "由运营者填写 · for the operator to write："
_BLOCKS = frozenset(("h1", "h2", "p", "td"))


@dataclass(slots=True)
class _Block:
    """A paragraph, heading or cell of the page; said: its Chinese; beside: the English that stands in grey."""

    tag: str
    open: bool = False
    said: str = ""
    beside: str = ""


@dataclass
class _Page(HTMLParser):
    """The blocks of a page that `impact.report` made: it knows no other HTML."""

    blocks: list[_Block] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.blocks.append(_Block(tag, open=("class", "open") in attrs))
        if tag not in ("br", "meta"):
            self._inside.append("en" if ("class", "en") in attrs or tag == "small" else tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._inside.pop() in (tag, "en"), "the page closes what it opens"

    def handle_data(self, data: str) -> None:
        if not self.blocks or not _BLOCKS.intersection(self._inside):
            return
        text, block = " ".join(data.split()), self.blocks[-1]
        if "en" in self._inside:
            block.beside = f"{block.beside} {text}".strip()
        else:
            block.said = f"{block.said} {text}".strip() if block.said[-1:].isascii() else block.said + text


def draw_report(page: str, made_us: int) -> bytes:
    """Return the PDF of the page that `impact.report` made; raises PaperError where no Chinese font is installed."""
    read = _Page()
    read.feed(page)
    blocks = read.blocks
    paper = _Sheets(blocks[0].said, made_us)
    number = 0
    while number < len(blocks):
        block = blocks[number]
        if block.tag == "td":
            paper.row(block, blocks[number + 1])
            number += 1
        elif block.tag in ("h1", "h2"):
            paper.heading(block)
        else:
            paper.paragraph(block)
        number += 1
    return paper.done()


class _Sheets:
    """A4 pages, filled from above; a block that does not fit begins the next one."""

    def __init__(self, title: str, made_us: int) -> None:
        self._paper = Paper(title, datetime.fromtimestamp(made_us / 1e6, UTC))
        self._title = title
        self._y = 0.0
        self._sheet()

    def heading(self, block: _Block) -> None:
        size = 17.0 if block.tag == "h1" else 12.5
        self._room(24.0)
        self._y += 0.0 if block.tag == "h1" else 5.0
        self._y = self._words(_MARGIN, self._whole, block.said, size, _INK, "B")
        if block.beside:
            self._y = self._words(_MARGIN, self._whole, block.beside, 9.5, _GREY)
        self._paper.rule(_MARGIN, self._y + 1.0, self._whole, _LINE)
        self._y += 3.0

    def paragraph(self, block: _Block) -> None:
        text, inset = (f"{_FOR_THE_OPERATOR}{block.said}", 3.0) if block.open else (block.said, 0.0)
        w = self._whole - 2 * inset
        high = self._paper.height_of(w, text, 10) + self._paper.height_of(w, block.beside, 8.5) + 2 * inset
        self._room(high + 20.0 * block.open)
        if block.open:
            # room to write by hand: that is what a printed form is for
            self._paper.box(_MARGIN, self._y, self._whole, high + 18.0, _OPEN, 1.5)
        below = self._y + high + 20.0
        self._y = self._words(_MARGIN + inset, w, text, 10, _INK, top=self._y + inset)
        if block.beside:
            self._y = self._words(_MARGIN + inset, w, block.beside, 8.5, _GREY)
        self._y = below if block.open else self._y + 2.0

    def row(self, left: _Block, right: _Block) -> None:
        half = self._whole * 0.42
        columns = ((left, _MARGIN, half - 4.0), (right, _MARGIN + half, self._whole - half))
        high = max(
            self._paper.height_of(w, one.said, 10) + self._paper.height_of(w, one.beside, 8.5) for one, _, w in columns
        )
        self._room(high + 3.0)
        top = self._y
        for one, x, w in columns:
            y = self._words(x, w, one.said, 10, _INK, top=top)
            if one.beside:
                self._words(x, w, one.beside, 8.5, _GREY, top=y)
        self._y = top + high + 1.2
        self._paper.rule(_MARGIN, self._y, self._whole, _LINE, 0.15)
        self._y += 1.8

    def done(self) -> bytes:
        return bytes(self._paper.output())

    @property
    def _whole(self) -> float:
        return WIDTH_MM - 2 * _MARGIN

    def _room(self, high: float) -> None:
        if self._y + high > HEIGHT_MM - _FOOT_MM:
            self._sheet()

    def _sheet(self) -> None:
        self._paper.add_page()
        foot = f"{self._title} · {self._paper.page_no()}"
        self._words(_MARGIN, self._whole, foot, 8, _GREY, top=HEIGHT_MM - _FOOT_MM + 8 * MM_PER_PT)
        self._y = _MARGIN

    def _words(
        self,
        x: float,
        w: float,
        text: str,
        size: float,
        colour: Colour,
        weight: Weight = "",
        top: float | None = None,
    ) -> float:
        return self._paper.words(x, self._y if top is None else top, w, text, size, colour, weight)
