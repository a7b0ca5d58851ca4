"""The sign at the entrance (PIPL 17, 26): who processes what, why, for how long, and what people may ask for."""

from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt
from pathlib import Path
from typing import Literal, TypeAlias

from edge import EdgeError
from edge.consent import CapturePolicy
from edge.papers.paper import BRAND, BRAND_SOFT, HEIGHT_MM, INK, INK_2, WIDTH_MM, Colour, Paper, Weight
from edge.settings import Settings
from sync.web.languages import Languages
from sync.web.times import Times

SignSize: TypeAlias = Literal["A4", "A3"]

_TEXTS = Path(__file__).parent / "entrance_sign.toml"
_GOLD: Colour = (255, 213, 138)
_WHITE: Colour = (255, 255, 255)
_MARGIN = 16.0  # of the A4 page, which A3 enlarges
_HEAD_MM = 48.0


class NoSign(EdgeError):
    """What a sign needs and the configuration lacks; the text names the key."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its lines, each in Chinese and English."""

    head: tuple[str, str]
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Sign:
    """What the sign of a site says."""

    title: tuple[str, str]
    claim: tuple[str, str]
    sections: tuple[Section, ...]
    foot: tuple[tuple[str, str], ...]


def sign_of(settings: Settings, policy: CapturePolicy, made_us: int) -> Sign:
    """Put the sign together; raises NoSign where the configuration does not say who answers for the data."""
    operator = settings.operator
    if operator.missing:
        key = f"operator.{operator.missing[0]}"
        raise NoSign(f"{key}: missing, and the sign must say it (firstvisit.toml, section [operator])")
    languages = Languages(_TEXTS)
    zh, en = languages.named("zh"), languages.named("en")
    values = {
        "operator": operator.name,
        "contact": operator.contact,
        "basis": policy.legal_basis,
        "hours": f"{policy.unconsented.total_seconds() / 3600:g}",
        "days": f"{policy.consented.days}",
        "phones": f"{policy.phones.days}",
        "node": settings.node.id,
        "site": settings.site.id,
        "date": Times(settings.site.timezone).date(made_us),
    }

    def both(key: str) -> tuple[str, str]:
        return zh(key, **values), en(key, **values)

    kept = ("unconsented" if policy.embeds else "waiting", "consented", "phones", "records")
    return Sign(
        title=both("title.main"),
        claim=both(f"title.{policy.mode}"),
        sections=(
            Section(both("who.head"), (both("who.text"),)),
            Section(both("what.head"), (both(f"what.{policy.mode}"),)),
            Section(both("kept.head"), tuple(both(f"kept.{line}") for line in kept)),
            Section(
                both("impact.head"), (both("impact.why_all" if policy.embeds else "impact.why"), both("impact.text"))
            ),
            Section(both("rights.head"), (both("rights.text"),)),
        ),
        foot=(both("foot.law"), both("foot.made")),
    )


def draw_sign(sign: Sign, size: SignSize, made_us: int) -> bytes:
    """Return the PDF, one page.

    Raises PaperError where no Chinese font is installed, NoSign where the texts are too long for a page.
    """
    return _Drawing(sign, size, made_us).drawn()


class _Drawing:
    """Places everything as on A4; `_scale` enlarges it."""

    def __init__(self, sign: Sign, size: SignSize, made_us: int) -> None:
        self._sign = sign
        self._scale = 1.0 if size == "A4" else sqrt(2)
        self._paper = Paper(sign.title[0], datetime.fromtimestamp(made_us / 1e6, UTC), size)

    def drawn(self) -> bytes:
        self._paper.add_page()
        self._head()
        y = _HEAD_MM + 7
        for section in self._sign.sections:
            y = self._section(section, y)
        if y > HEIGHT_MM - 22:
            raise NoSign("operator.name, operator.contact or capture.legal_basis: too long for a sign of one page")
        self._box(_MARGIN, HEIGHT_MM - 20, WIDTH_MM - 2 * _MARGIN, 0.3, BRAND)
        at = HEIGHT_MM - 18.0
        for zh, en in self._sign.foot:
            at = self._words(_MARGIN, at, WIDTH_MM - 2 * _MARGIN, f"{zh}  {en}", 7, INK_2)
        return bytes(self._paper.output())

    def _head(self) -> None:
        self._box(0, 0, WIDTH_MM, _HEAD_MM, BRAND)
        self._camera(_MARGIN, 11)
        x = _MARGIN + 34
        y = self._words(x, 8, WIDTH_MM - x - 8, self._sign.title[0], 30, _WHITE, "B", 1.25)
        y = self._words(x, y, WIDTH_MM - x - 8, self._sign.title[1], 13, (191, 227, 214), "", 1.35)
        y = self._words(x, y + 1.2, WIDTH_MM - x - 8, self._sign.claim[0], 16, _GOLD, "B", 1.35)
        self._words(x, y, WIDTH_MM - x - 8, self._sign.claim[1], 10, _GOLD, "", 1.3)

    def _camera(self, x: float, y: float) -> None:
        """A camera over a door, so that the sign is understood from afar."""
        self._box(x, y, 26, 26, BRAND_SOFT, 5)
        self._box(x + 5, y + 9, 12, 8.5, BRAND, 1.6)
        k, paper = self._scale, self._paper
        paper.set_fill_color(*BRAND)
        lens = [(x + 18, y + 12), (x + 22, y + 9.5), (x + 22, y + 17), (x + 18, y + 14.5)]
        paper.polygon([(px * k, py * k) for px, py in lens], style="F")
        self._box(x + 9, y + 17.5, 2.4, 4.5, BRAND)
        self._box(x + 6, y + 21, 8.4, 1.6, BRAND, 0.6)

    def _section(self, section: Section, y: float) -> float:
        w = WIDTH_MM - 2 * _MARGIN
        self._box(_MARGIN, y + 0.9, 1.6, 6.2, BRAND)
        zh, en = section.head
        self._words(_MARGIN + 4.5, y, w, zh, 15.5, BRAND, "B", 1.45)
        beside = _MARGIN + 4.5 + self._paper.width_of(zh, 15.5 * self._scale, "B") / self._scale + 3
        self._words(beside, y + 1.9, w, en, 9.5, INK_2, "", 1.45)
        y += 8.6
        bullets = len(section.lines) > 1
        for zh, en in section.lines:
            x = _MARGIN + (9.5 if bullets else 4.5)
            if bullets:
                self._box(_MARGIN + 5, y + 2.1, 1.8, 1.8, BRAND, 0.9)
            y = self._words(x, y, WIDTH_MM - _MARGIN - x, zh, 12, INK, "", 1.38)
            y = self._words(x, y, WIDTH_MM - _MARGIN - x, en, 8.2, INK_2, "", 1.32) + 1.4
        return y + 3.4

    def _box(self, x: float, y: float, w: float, h: float, fill: Colour, radius: float = 0.0) -> None:
        k = self._scale
        self._paper.box(x * k, y * k, w * k, h * k, fill, radius * k)

    def _words(
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
        k = self._scale
        return self._paper.words(x * k, y * k, w * k, text, size * k, colour, weight, leading) / k
