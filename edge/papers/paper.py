"""A4 pages in Chinese and English: fonts found on this machine, text that breaks where both languages may, boxes."""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from fontTools.ttLib import TTCollection
from fpdf import FPDF

from edge import EdgeError

Colour: TypeAlias = tuple[int, int, int]
Weight: TypeAlias = Literal["", "B"]

INK: Colour = (20, 33, 31)
INK_2: Colour = (68, 83, 79)
INK_3: Colour = (95, 110, 105)
LINE: Colour = (222, 219, 210)
BRAND: Colour = (13, 79, 74)
BRAND_SOFT: Colour = (225, 239, 235)
WIDTH_MM, HEIGHT_MM = 210.0, 297.0
MM_PER_PT = 25.4 / 72
_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".local/share/fonts")
_FAMILY = "Noto Sans CJK SC"
# a Latin word or number with what clings to it, a space, or one letter of a script that breaks anywhere
_PIECES = re.compile(r"[!-~\u00a0-\u02ff\u2013\u2026]+|\s|.", re.DOTALL)
_NEVER_FIRST = frozenset("，。；：！？、）》”’…％")
_NEVER_LAST = frozenset("（《“‘")


class PaperError(EdgeError):
    """What a page needs and this machine has not."""


class Paper(FPDF):
    """Pages of one design; everything is placed in millimetres from the upper left, text by its upper edge."""

    def __init__(self, title: str, made_at: datetime, size: Literal["A4", "A3"] = "A4") -> None:
        """Raises PaperError where no Chinese font is installed."""
        super().__init__(format=size)
        self.set_auto_page_break(False)
        self.set_margin(0)
        for weight, name in (("", "Regular"), ("B", "Bold")):
            path, index = font_file(name)
            self.add_font("sans", weight, path, collection_font_number=index)
        self.set_title(title)
        self.set_creator("FirstVisit")
        self.set_lang("zh-CN")
        self.set_creation_date(made_at)

    def box(self, x: float, y: float, w: float, h: float, fill: Colour, radius: float = 0.0) -> None:
        self.set_fill_color(*fill)
        self.rect(x, y, w, h, style="F", round_corners=radius > 0, corner_radius=radius)

    def rule(self, x: float, y: float, w: float, colour: Colour, thick: float = 0.2) -> None:
        self.box(x, y, w, thick, colour)

    def words(
        self,
        x: float,
        y: float,
        w: float,
        text: str,
        size: float,
        colour: Colour,
        weight: Weight = "",
        leading: float = 1.45,
    ) -> float:
        """Set a paragraph of width `w` at (x, y), size in points; returns where the next line would begin."""
        self.set_font("sans", weight, size)
        self.set_text_color(*colour)
        line_mm = size * MM_PER_PT * leading
        for line in self._lines(text, w):
            self.text(x, y + size * MM_PER_PT * 0.88 + (line_mm - size * MM_PER_PT) / 2, line)
            y += line_mm
        return y

    def height_of(self, w: float, text: str, size: float, weight: Weight = "", leading: float = 1.45) -> float:
        """How high `words` would be."""
        self.set_font("sans", weight, size)
        return sum(size * MM_PER_PT * leading for _ in self._lines(text, w))

    def dot(self, x: float, y: float, size: float, colour: Colour) -> None:
        self.set_fill_color(*colour)
        self.ellipse(x, y, size, size, style="F")

    def width_of(self, text: str, size: float, weight: Weight = "") -> float:
        self.set_font("sans", weight, size)
        return float(self.get_string_width(text))

    def _lines(self, text: str, w: float) -> Iterator[str]:
        """Break between words in Latin and between letters in Chinese; closing marks never begin a line."""
        line, pieces = "", [found[0] for found in _PIECES.finditer(text)]
        for i, piece in enumerate(pieces):
            following = pieces[i + 1] if i + 1 < len(pieces) else ""
            needed = piece + (following if following in _NEVER_FIRST and following else "")
            if piece in _NEVER_LAST:
                needed += following
            if line and self.get_string_width(line + needed) > w:
                yield line.rstrip()
                line = "" if piece.isspace() else piece
            else:
                line += piece
            while self.get_string_width(line) > w and len(line) > 1:  # a hash longer than the column
                cut = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or self.get_string_width(line[:n]) <= w)
                yield line[:cut]
                line = line[cut:]
        if line:
            yield line


@cache
def font_file(name: str) -> tuple[Path, int]:
    """The file of a weight of the font, and its number in a collection; raises PaperError."""
    for folder in _FOLDERS:
        for path in sorted(folder.rglob(f"NotoSansCJK-{name}.ttc")):
            fonts = TTCollection(path, lazy=True).fonts
            for index, font in enumerate(fonts):
                if font["name"].getDebugName(1) == _FAMILY:
                    return path, index
        for path in sorted(folder.rglob(f"NotoSans*SC-{name}.otf")):
            return path, 0
    raise PaperError(f"no Chinese font on this machine: NotoSansCJK-{name}.ttc is missing (apt install fonts-noto-cjk)")
