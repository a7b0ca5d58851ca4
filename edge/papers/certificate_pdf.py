"""The certificate on paper: two A4 pages in Chinese and English, drawn from a verified bundle and nothing else."""

from datetime import UTC, datetime
from pathlib import Path

import segno

from edge.papers.certificate_time import Row, draw_times
from edge.papers.paper import BRAND, BRAND_SOFT, HEIGHT_MM, INK, INK_2, INK_3, LINE, WIDTH_MM, Colour, Paper, Weight
from sync.certificate.certified import Certificate
from sync.certificate.coverage import Gap, GapReason
from sync.certificate.paper_code import code
from sync.format.records import Record
from sync.format.source import answers, proposed
from sync.format.visit_fields import CORRECTED, number_of, settles, text_of
from sync.web.languages import Languages, Texts
from sync.web.times import Times, lasting

MARGIN = 16.0
INNER = WIDTH_MM - 2 * MARGIN
AMBER: Colour = (134, 68, 0)
AMBER_SOFT: Colour = (253, 238, 211)
SUNKEN: Colour = (244, 243, 239)
GAP_COLOURS: dict[GapReason, Colour] = {
    "off": (150, 146, 135),
    "down": (163, 34, 29),
    "blind": (60, 60, 60),
    "frozen": (36, 88, 130),
    "backlit": (196, 168, 60),
    "moved": (122, 62, 130),
    "changed": (196, 92, 160),
    "silent": (206, 140, 40),
    "before": (222, 219, 210),
}
_TEXTS = Path(__file__).parent / "certificate.toml"
_GAPS_LISTED, _LATER_LISTED = 5, 7
_QR_MM = 56.0


def draw_certificate(certificate: Certificate, times: Times, issued_us: int, version: str, bundle: str) -> bytes:
    """Return the PDF; times: of the site's zone. bundle: the name of the zip it belongs to.

    Raises PaperError where no Chinese font is installed.
    """
    return _Page(certificate, times, issued_us, version, bundle).drawn()


class _Page:
    def __init__(self, certificate: Certificate, times: Times, issued_us: int, version: str, bundle: str) -> None:
        languages = Languages(_TEXTS)
        self._zh, self._en = languages.named("zh"), languages.named("en")
        self._c, self._times = certificate, times
        self._issued_us, self._version, self._bundle = issued_us, version, bundle
        self._first = certificate.settled.decision == "first"
        title = self._zh("title.first" if self._first else "title.return")
        self._paper = Paper(title, datetime.fromtimestamp(issued_us / 1e6, UTC))

    def drawn(self) -> bytes:
        paper = self._paper
        paper.add_page()
        y = self._head()
        y = self._verdict(y)
        y = self._tiles(y)
        y = self._when(y)
        y = self._where(y)
        y = self._compared(y)
        self._watched(y)
        self._foot(1)
        paper.add_page()
        y = self._later(MARGIN)
        y = self._evidence(y)
        y = self._verification(y)
        self._limits(y)
        self._foot(2)
        return bytes(paper.output())

    # -- page 1 ------------------------------------------------------------------------------------------------------

    def _head(self) -> float:
        paper, record = self._paper, self._c.record
        paper.box(0, 0, WIDTH_MM, 37, BRAND)
        self._mark(MARGIN, 10)
        title = "title.first" if self._first else "title.return"
        paper.words(MARGIN + 22, 8.5, 120, self._zh(title), 21, (255, 255, 255), "B", 1.2)
        paper.words(MARGIN + 22, 19.5, 120, self._en(title), 11, (191, 227, 214))
        zone = self._zh("title.zone", zone=self._zone()) + "  " + self._en("title.zone", zone=self._zone())
        paper.words(MARGIN + 22, 26.2, 110, zone, 7.5, (191, 227, 214))
        digits = record.hash.hex()[:16]
        number = " ".join(digits[i : i + 4] for i in range(0, 16, 4))
        x = WIDTH_MM - MARGIN - 50
        paper.words(x, 9.5, 50, f"{self._zh('title.number')}  {self._en('title.number')}", 7.5, (191, 227, 214))
        paper.words(x, 13.5, 50, number, 9.5, (255, 255, 255), "B")
        issued = self._moment(self._issued_us)
        paper.words(x, 20, 50, self._zh("title.issued", moment=issued), 7.5, (191, 227, 214))
        paper.words(x, 24, 50, self._en("title.issued", moment=issued), 7.5, (191, 227, 214))
        return 42.0

    def _mark(self, x: float, y: float) -> None:
        """The door with the tick, as on the pages."""
        paper = self._paper
        paper.box(x, y, 17, 17, (9, 62, 58), 3.5)
        for colour, thick, points in (
            ((191, 227, 214), 1.0, [(4.4, 13.6), (4.4, 4.4), (12.6, 4.4), (12.6, 13.6)]),
            ((191, 227, 214), 1.0, [(3.2, 13.6), (13.8, 13.6)]),
            ((255, 213, 138), 1.25, [(6.5, 9.4), (8.1, 11.0), (10.9, 7.4)]),
        ):
            paper.set_draw_color(*colour)
            paper.set_line_width(thick)
            paper.polyline([(x + dx, y + dy) for dx, dy in points])

    def _verdict(self, y: float) -> float:
        c, paper = self._c, self._paper
        warned = c.confirmed is None or c.arrival.moment.contradicted
        fill, edge = (AMBER_SOFT, AMBER) if warned else (BRAND_SOFT, BRAND)
        zh, en = self._verdict_in(self._zh), self._verdict_in(self._en)
        lines: list[tuple[str, float, Colour, Weight, float]] = [
            (zh[0], 16, INK, "B", 1.4),
            (en[0], 9.5, INK_2, "B", 1.5),
            (zh[1], 9.6, INK, "", 1.6),
            (en[1], 8, INK_2, "", 1.4),
        ]
        for note_zh, note_en in zip(zh[2:], en[2:], strict=True):
            lines += [(note_zh, 9.2, edge, "B", 1.75), (note_en, 7.8, edge, "", 1.35)]
        w = INNER - 12
        height = 7 + sum(paper.height_of(w, text, size, weight, leading) for text, size, _, weight, leading in lines)
        paper.box(MARGIN, y, INNER, height, fill, 2.5)
        paper.box(MARGIN, y + 2.5, 1.2, height - 5, edge)
        at = y + 3.5
        for text, size, colour, weight, leading in lines:
            at = paper.words(MARGIN + 6, at, w, text, size, colour, weight, leading)
        return y + height + 4

    def _verdict_in(self, t: Texts) -> list[str]:
        """The verdict, the arrival, and whatever a reader must know before believing either."""
        c, fields = self._c, self._c.fields
        people = number_of(fields, "gallery_n") or 0
        since_us = number_of(fields, "gallery_since_us")
        since = self._times.date(since_us) if since_us is not None else "?"
        key = "return" if not self._first else "first" if people else "first_empty"
        said = [
            t(f"verdict.{key}", people=f"{people:,}", since=since),
            t(
                "verdict.arrived" if c.arrival.moment.claimed is not None else "verdict.arrived_unsure",
                moment=self._times.local(self._arrived_us()).strftime(t("verdict.date")),
                site=text_of(fields, "site") or "?",
                camera=text_of(fields, "camera") or "?",
                node=c.record.node_id,
            ),
        ]
        if c.settled.corrected and c.settled.original != c.settled.decision:
            original, decision = (t.code("decision", code) for code in (c.settled.original, c.settled.decision))
            said.append(t("verdict.corrected", original=original, decision=decision))
        if c.seen is not None:
            compared = self._moment(c.record.stamp.wall_us, seconds=True)
            said.append(t("verdict.after_consent", seq=c.seen.seq, moment=compared))
        if c.confirmed is None:
            said.append(t("verdict.unconfirmed"))
        if c.arrival.moment.contradicted:
            said.append(t("verdict.contradicted"))
        return said

    def _tiles(self, y: float) -> float:
        c, moment = self._c, self._c.arrival.moment
        place = c.fields.get("place")
        inside = place.get("inside", "unknown") if isinstance(place, dict) else "none"
        grade = text_of(c.fields, "grade") or "C"
        if c.confirmed is None:
            central = ("—", self._zh("tile.central_no"), self._en("tile.central_no"))
        else:
            at = self._moment(c.confirmed.central_time_us, seconds=True)
            central = (
                "✓",
                self._zh("tile.central_yes", moment=at),
                self._en("tile.central_yes", central=c.central.central_id),
            )
        tiles = (
            ("time", moment.grade, self._zh(f"tile.time_{moment.grade}"), self._en(f"tile.time_{moment.grade}")),
            ("match", grade, self._zh.code("tile", f"match_{grade}"), self._en.code("tile", f"match_{grade}")),
            ("central", *central),
            (
                "place",
                {"in": "✓", "out": "✗"}.get(inside, "—"),
                self._zh.code("tile", f"place_{inside}"),
                self._en.code("tile", f"place_{inside}"),
            ),
        )
        paper, w = self._paper, (INNER - 9) / 4
        for i, (name, sign, zh, en) in enumerate(tiles):
            x = MARGIN + i * (w + 3)
            paper.box(x, y, w, 21, SUNKEN, 2)
            paper.words(x + 3, y + 1.8, w - 6, f"{self._zh(f'tile.{name}')}  {self._en(f'tile.{name}')}", 6.8, INK_3)
            self._sign(x + 3, y + 7, sign)
            below = paper.words(x + 12.5, y + 6.6, w - 14, zh, 8, INK, "B", 1.3)
            paper.words(x + 12.5, below + 0.3, w - 14, en, 6.8, INK_2, "", 1.25)
        return y + 26

    def _sign(self, x: float, y: float, sign: str) -> None:
        """A grade's letter, or a tick, a cross or a dash drawn: no font need have them."""
        paper = self._paper
        lines = {"✓": [(0.4, 3.6), (2.6, 5.8), (6.6, 0.8)], "—": [(0.8, 3.3), (5.8, 3.3)]}
        if sign in lines or sign == "✗":
            paper.set_draw_color(*(BRAND if sign == "✓" else AMBER))
            paper.set_line_width(1.1)
            for points in [lines[sign]] if sign in lines else [[(1, 1), (6, 6)], [(6, 1), (1, 6)]]:
                paper.polyline([(x + dx, y + dy) for dx, dy in points])
        else:
            paper.words(x, y - 1.2, 10, sign, 22, BRAND if sign != "C" else AMBER, "B", 1.1)

    def _when(self, y: float) -> float:
        arrival = self._c.arrival
        y = self._heading(y, "time.heading")
        by = ("by_signed", "by_carried", "by_claimed")
        spans = (arrival.record.signed, arrival.moment.carried, arrival.moment.claimed)
        rows = [
            Row(
                f"{self._zh(what)} · {self._zh(f'time.{how}')}",
                f"{self._en(what)}: {self._en(f'time.{how}')}",
                span,
                BRAND if i < 2 else (90, 120, 160),
            )
            for i, (what, how, span) in enumerate(
                zip(("time.record", "time.arrived", "time.arrived"), by, spans, strict=True)
            )
        ]
        return draw_times(self._paper, y, rows, self._arrived_us(), self._times, self._zh, self._en) + 3.5

    def _where(self, y: float) -> float:
        place, fields = self._c.fields.get("place"), self._c.fields
        y = self._heading(y, "place.heading")
        y = self._line(
            y,
            "place.camera",
            site=text_of(fields, "site") or "?",
            node=self._c.record.node_id,
            camera=text_of(fields, "camera") or "?",
        )
        if not isinstance(place, dict):
            return self._line(y, "place.none") + 3
        y = self._line(
            y,
            "place.position",
            lat=f"{(number_of(place, 'lat_e7') or 0) / 1e7:.6f}",
            lon=f"{(number_of(place, 'lon_e7') or 0) / 1e7:.6f}",
            accuracy=f"{(number_of(place, 'accuracy_e6') or 0) / 1e6:g}",
        )
        if fence := text_of(place, "fence"):
            y = self._line(y, "place.fence", fence=f"{fence[:24]}…")
        return y + 3

    def _compared(self, y: float) -> float:
        fields = self._c.fields
        since_us = number_of(fields, "gallery_since_us")
        horizon_s = number_of(fields, "unconsented_horizon_s") or 0
        y = self._heading(y, "compared.heading")
        spans = [lasting(horizon_s, t) for t in (self._zh, self._en)]
        people = f"{number_of(fields, 'gallery_n') or 0:,}"
        since = self._times.date(since_us) if since_us is not None else "?"
        y = self._two(
            y,
            self._zh("compared.what", people=people, since=since, horizon=spans[0]),
            self._en("compared.what", people=people, since=since, horizon=spans[1]),
        )
        numbers = {
            name: self._fraction(f"{name}_e6") for name in ("similarity", "margin", "upper", "lower", "quality")
        }  # fmt: skip
        pack, shots = text_of(fields, "pack") or "?", number_of(fields, "shots") or 0
        return self._pair(y, "compared.scores", pack=pack, shots=shots, **numbers) + 3

    def _watched(self, y: float) -> float:
        c, paper = self._c.coverage, self._paper
        y = self._heading(y, "coverage.heading")
        paper.box(MARGIN, y + 0.5, INNER, 6.5, BRAND)
        scale = INNER / (c.to_us - c.from_us)
        for gap in c.gaps:
            width = max(0.35, gap.length_us * scale)
            paper.box(MARGIN + (gap.from_us - c.from_us) * scale, y + 0.5, width, 6.5, GAP_COLOURS[gap.reason])
        y += 8
        for share, align in ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0)):
            label = self._times.date(round(c.from_us + share * (c.to_us - c.from_us)))
            width = paper.width_of(label, 6.8)
            paper.words(MARGIN + INNER * share - width * align, y - 0.6, 30, label, 6.8, INK_3)
        y += 4
        said = f"{c.share:.1%}"
        said = "99.9%" if said == "100.0%" and c.gaps else said  # rounding must not fill a gap
        watched = c.covered_us / 1e6
        y = self._two(
            y,
            self._zh("coverage.share", share=said, watched=self._span(watched, self._zh)),
            self._en("coverage.share", share=said, watched=self._span(watched, self._en)),
        )
        fit = int((HEIGHT_MM - 15 - y) / 5) - 2  # what is left of the page, and room for two lines about the rest
        listed = sorted(c.gaps, key=lambda gap: gap.length_us, reverse=True)[: max(0, min(_GAPS_LISTED, fit))]
        if not c.gaps:
            y = self._line(y, "coverage.no_gaps")
        for gap in sorted(listed, key=lambda gap: gap.from_us):
            y = self._gap(y, gap)
        for key, number, length_us in (
            ("coverage.more", len(c.gaps) - len(listed), sum(gap.length_us for gap in c.gaps if gap not in listed)),
            ("coverage.short", c.unnamed, c.unnamed_us),
        ):
            if number:
                zh, en = (t(key, n=number, length=self._span(length_us / 1e6, t)) for t in (self._zh, self._en))
                y = self._one(y, zh, en)
        return y

    def _gap(self, y: float, gap: Gap) -> float:
        self._paper.box(MARGIN, y + 1.0, 2.4, 2.4, GAP_COLOURS[gap.reason], 0.5)
        said = [
            t("coverage.gap", start=self._moment(gap.from_us), length=self._span(gap.length_us / 1e6, t),
              reason=t.code("coverage", gap.reason))
            for t in (self._zh, self._en)
        ]  # fmt: skip
        return self._one(y, said[0], said[1], indent=4.0)

    # -- page 2 ------------------------------------------------------------------------------------------------------

    def _later(self, y: float) -> float:
        y = self._heading(y, "later.heading")
        later = self._c.later
        if not later:
            return self._pair(y, "later.none") + 3
        for record in later[:_LATER_LISTED]:
            moment = self._moment(record.stamp.wall_us)
            zh, en = (self._what(record, t) for t in (self._zh, self._en))
            y = self._one(y, f"#{record.seq} · {moment} · {zh}", en)
        if len(later) > _LATER_LISTED:
            y = self._pair(y, "later.more", n=len(later) - _LATER_LISTED)
        return y + 3

    def _what(self, record: Record, t: Texts) -> str:
        key = f"later.{record.kind.replace('.', '_')}"
        if record.kind == CORRECTED and not (settles(record.fields) and self._c.settled.original == "unsure"):
            key += "_proposed" if proposed(record.fields) else "_beside"
        if answers(record):
            rests = [one.basis for one in self._c.source.proposals if one.decided is record]
            key = f"later.word_{rests[0] if rests else 'uncounted'}"
        length = lasting((number_of(record.fields, "out_us") or 0) / 1e6, t)
        decision = t.code("decision", text_of(record.fields, "decision") or "?")
        state = t.code("checkin", text_of(record.fields, "state") or "?")
        reason = t.code("correction", text_of(record.fields, "reason") or "?")
        verdict = t.code("verdict_of", text_of(record.fields, "verdict") or "?")
        try:
            return t(key, verdict=verdict, length=length, decision=decision, state=state, reason=reason)
        except KeyError:  # a later version's kind is shown as it is
            return record.kind

    def _evidence(self, y: float) -> float:
        c = self._c
        y = self._heading(y, "evidence.heading")
        none = (self._zh("evidence.none"), self._en("evidence.none"))
        before = c.before.hash.hex()[:24] + "…" if c.before else none[0]
        after = c.after.hash.hex()[:24] + "…" if c.after else none[0]
        rows: list[tuple[str, str, str]] = [
            ("record", f"#{c.record.seq} · epoch {c.record.epoch} · {c.record.kind}", c.record.hash.hex()),
            ("chain", f"{before}  /  {after}", ""),
        ]
        if c.confirmed is not None:
            at = self._moment(c.confirmed.central_time_us, seconds=True)
            said = self._zh("evidence.ack_is", moment=at, upto=c.confirmed.upto_seq)
            rows.append(("ack", f"{said} · {c.central.central_id}", c.confirmed.ack_hash.hex()))
        else:
            rows.append(("ack", f"{self._zh('tile.central_no')} {self._en('tile.central_no')}", ""))
        if c.log is not None and c.log_index is not None:
            said = " · ".join(
                t("evidence.log_is", index=c.log_index, size=c.log.size) for t in (self._zh, self._en)
            )  # fmt: skip
            rows.append(("log", said, c.log.root.hex()))
        else:
            rows.append(("log", f"{self._zh('evidence.log_none')} {self._en('evidence.log_none')}", ""))
        kept = [t.code("evidence", f"custody_{c.custody or 'unknown'}") for t in (self._zh, self._en)]
        rows += [
            ("node", c.key.fingerprint, " · ".join(kept)),
            ("root", c.central.root.fingerprint, ""),
        ]
        paper = self._paper
        for name, one, two in rows:
            top = y
            label = paper.words(MARGIN, y, 36, self._zh(f"evidence.{name}"), 8.2, INK_2, "B", 1.3)
            paper.words(MARGIN, label - 0.3, 36, self._en(f"evidence.{name}"), 6.6, INK_3, "", 1.2)
            y = paper.words(MARGIN + 38, y, INNER - 38, one, 8.2, INK, "", 1.35)
            if two:
                y = paper.words(MARGIN + 38, y, INNER - 38, two, 7, INK_2, "", 1.3)
            y = max(y, top + 7.2)
            paper.rule(MARGIN, y + 0.2, INNER, LINE, 0.15)
            y += 1.2
        return y + 3

    def _verification(self, y: float) -> float:
        y = self._heading(y, "verify.heading")
        paper, left = self._paper, INNER - _QR_MM - 8
        end = self._qr(WIDTH_MM - MARGIN - _QR_MM, y)
        for number, name in enumerate(("one", "two", "three"), 1):
            paper.dot(MARGIN, y + 0.5, 5.6, BRAND)
            width = paper.width_of(str(number), 8.5, "B")
            paper.words(MARGIN + 2.8 - width / 2, y + 1.3, 6, str(number), 8.5, (255, 255, 255), "B", 1.3)
            y = paper.words(MARGIN + 8, y, left - 8, self._zh(f"verify.{name}", bundle=self._bundle), 8.4, INK)
            y = paper.words(
                MARGIN + 8, y, left - 8, self._en(f"verify.{name}", bundle=self._bundle), 7, INK_2, "", 1.3
            ) + 2.2  # fmt: skip
        y = paper.words(MARGIN + 8, y, left - 8, self._zh("verify.only"), 8.4, BRAND, "B")
        y = paper.words(MARGIN + 8, y, left - 8, self._en("verify.only"), 7, BRAND)
        return max(y, end) + 4

    def _qr(self, x: float, y: float) -> float:
        compact = code(self._c)
        if compact is None:
            return self._paper.words(
                x, y, _QR_MM, f"{self._zh('verify.no_code')} {self._en('verify.no_code')}", 8, AMBER
            )
        made = segno.make_qr(compact.text(), mode="alphanumeric", error="l", boost_error=False)
        matrix = [list(row) for row in made.matrix]
        quiet = 4  # ISO/IEC 18004 6.3.8
        module = _QR_MM / (len(matrix) + 2 * quiet)
        self._paper.box(x, y, _QR_MM, _QR_MM, (255, 255, 255))
        for i, row in enumerate(matrix):
            start = None
            for j, dark in enumerate([*row, 0]):
                if dark and start is None:
                    start = j
                elif not dark and start is not None:
                    left, top = x + (quiet + start) * module, y + (quiet + i) * module
                    self._paper.box(left, top, (j - start) * module, module, (0, 0, 0))
                    start = None
        return y + _QR_MM

    def _limits(self, y: float) -> float:
        paper = self._paper
        names = ("one", "two", "three", "four", "five", "six")
        w = INNER - 14
        height = 12.5 + sum(
            paper.height_of(w, self._zh(f"limits.{name}"), 8.4, "", 1.38)
            + paper.height_of(w, self._en(f"limits.{name}"), 7.2, "", 1.32)
            + 1.2
            for name in names
        )
        paper.box(MARGIN, y, INNER, height, AMBER_SOFT, 2.5)
        heading = f"{self._zh('limits.heading')}  "
        paper.words(MARGIN + 5, y + 2.6, INNER, heading, 10.5, AMBER, "B")
        paper.words(
            MARGIN + 5 + paper.width_of(heading, 10.5, "B"), y + 3.5, 90, self._en("limits.heading"), 8.2, AMBER
        )
        y += 9.2
        for name in names:
            paper.dot(MARGIN + 5.4, y + 1.5, 1.2, AMBER)
            y = paper.words(MARGIN + 9, y, w, self._zh(f"limits.{name}"), 8.4, INK, "", 1.38)
            y = paper.words(MARGIN + 9, y, w, self._en(f"limits.{name}"), 7.2, INK_2, "", 1.32) + 1.2
        return y

    # -- parts -------------------------------------------------------------------------------------------------------

    def _heading(self, y: float, key: str) -> float:
        zh = f"{self._zh(key)}  "
        self._paper.words(MARGIN, y, INNER, zh, 10.5, BRAND, "B", 1.3)
        x = MARGIN + self._paper.width_of(zh, 10.5, "B")
        self._paper.words(x, y + 0.75, INNER, self._en(key), 8, INK_3, "", 1.3)
        self._paper.rule(MARGIN, y + 5.4, INNER, LINE)
        return y + 6.8

    def _pair(self, y: float, key: str, **values: object) -> float:
        return self._two(y, self._zh(key, **values), self._en(key, **values))

    def _two(self, y: float, zh: str, en: str) -> float:
        y = self._paper.words(MARGIN, y, INNER, zh, 8.6, INK, "", 1.38)
        return self._paper.words(MARGIN, y, INNER, en, 7.3, INK_2, "", 1.35) + 0.6

    def _one(self, y: float, zh: str, en: str, indent: float = 0.0) -> float:
        """Both languages on one line."""
        self._paper.words(MARGIN + indent, y, INNER, zh, 8.2, INK, "", 1.35)
        x = MARGIN + INNER * 0.54
        return self._paper.words(x, y + 0.3, INNER * 0.46, en, 7.3, INK_2, "", 1.5) + 0.3

    def _line(self, y: float, key: str, **values: object) -> float:
        return self._one(y, self._zh(key, **values), self._en(key, **values))

    def _foot(self, page: int) -> None:
        paper, y = self._paper, HEIGHT_MM - 11
        paper.rule(MARGIN, y - 1.5, INNER, LINE)
        made = [t("foot.made", version=self._version) for t in (self._zh, self._en)]
        paper.words(MARGIN, y, 140, " · ".join(made), 6.6, INK_3)
        pages = " · ".join(t("foot.page", n=page, pages=2) for t in (self._zh, self._en))
        paper.words(WIDTH_MM - MARGIN - paper.width_of(pages, 6.6), y, 80, pages, 6.6, INK_3)

    def _arrived_us(self) -> int:
        return number_of(self._c.fields, "arrived_us") or 0

    def _moment(self, us: int, *, seconds: bool = False) -> str:
        return f"{self._times.date(us)} {self._times.seconds(us) if seconds else self._times.clock(us)}"

    def _zone(self) -> str:
        offset = self._times.local(self._arrived_us()).strftime("%z")
        return f"{self._times.name} (UTC{offset[:3]}:{offset[3:]})"

    def _fraction(self, name: str) -> str:
        value = number_of(self._c.fields, name)
        return "—" if value is None else f"{value / 1e6:.3f}"

    @staticmethod
    def _span(seconds: float, t: Texts) -> str:
        """A length of time in its two largest units."""
        whole = round(seconds)
        for unit, key, less, lesser in (
            (86400, "days", 3600, "hours"),
            (3600, "hours", 60, "minutes"),
            (60, "minutes", 1, "seconds"),
        ):
            if whole >= unit:
                rest = whole % unit // less
                return t(f"span.{key}", n=whole // unit) + (f" {t(f'span.{lesser}', n=rest)}" if rest else "")
        return t("span.seconds", n=whole)
