"""The figure of a certificate's time: what each word bounds, one bar under the other on one axis."""

from collections.abc import Callable
from dataclasses import dataclass

from edge.papers.paper import INK, INK_2, INK_3, LINE, WIDTH_MM, Colour, Paper
from sync.certificate.timeline import Interval
from sync.web.languages import Texts
from sync.web.times import Times

_LEFT, _RIGHT = 76.0, WIDTH_MM - 16.0
_ROW_MM = 11.0
_GOLD: Colour = (206, 140, 40)


@dataclass(frozen=True, slots=True)
class Row:
    """One word on the time, in both languages; None: nothing was claimed."""

    zh: str
    en: str
    interval: Interval | None
    colour: Colour


def draw_times(paper: Paper, y: float, rows: list[Row], wall_us: int, times: Times, zh: Texts, en: Texts) -> float:
    """Draw the rows and the device's wall clock, from `y` down; returns where the figure ends."""
    ends = [
        end for row in rows if row.interval for end in (row.interval.lo_us, row.interval.hi_us) if end is not None
    ]  # fmt: skip
    # the clock's own reading belongs into the figure unless the clock is far off
    ends = ends or [wall_us]
    low, high = min(ends), max(ends)
    pad = max((high - low) * 0.08, 200_000)
    low, high = round(low - pad), round(high + pad)
    scale = (_RIGHT - _LEFT) / (high - low)
    top = y

    def x_of(us: int) -> float:
        return _LEFT + (us - low) * scale

    for row in rows:
        paper.words(16, y + 0.2, _LEFT - 19, row.zh, 8.0, INK, "", 1.25)
        paper.words(16, y + 4.4, _LEFT - 19, row.en, 6.4, INK_2, "", 1.25)
        paper.rule(_LEFT, y + 3.4, _RIGHT - _LEFT, LINE, 0.2)
        _bar(paper, y, row, x_of)
        label = _label(row.interval, wall_us, times, zh, en)
        width = paper.width_of(label, 7)
        middle = (_LEFT + _RIGHT) / 2
        if row.interval is not None and row.interval.width_us is not None:
            middle = (x_of(row.interval.lo_us or 0) + x_of(row.interval.hi_us or 0)) / 2
        x = min(max(_LEFT, middle - width / 2), _RIGHT - width)
        paper.words(x, y + 5.3, width + 2, label, 7, INK_2, "", 1.3)
        y += _ROW_MM
    if low <= wall_us <= high:
        for number in range(len(rows)):
            paper.box(x_of(wall_us) - 0.25, top + number * _ROW_MM + 1.2, 0.5, 4.6, _GOLD)
    wall = f"{zh('time.wall')} {en('time.wall')}  {times.date(wall_us)} {times.seconds(wall_us)}"
    paper.box(_LEFT, y + 1.2, 3, 0.6, _GOLD)
    paper.words(_LEFT + 5, y - 0.2, 110, wall, 6.8, INK_3)
    return y + 3.4


def _bar(paper: Paper, y: float, row: Row, x_of: Callable[[int], float]) -> None:
    if row.interval is None or (row.interval.lo_us is None and row.interval.hi_us is None):
        return
    left = _LEFT if row.interval.lo_us is None else x_of(row.interval.lo_us)
    right = _RIGHT if row.interval.hi_us is None else x_of(row.interval.hi_us)
    paper.box(left, y + 2.0, max(0.6, right - left), 3.0, row.colour, 0)
    for open_end, x, step in ((row.interval.lo_us is None, left, 1.6), (row.interval.hi_us is None, right, -1.6)):
        if open_end:  # an arrow's head cut out of the bar: no bound on that side
            paper.set_fill_color(255, 255, 255)
            for upper in (y + 2.0, y + 5.0):
                paper.polygon([(x, upper), (x + step, upper), (x, y + 3.5)], style="F")


def _label(interval: Interval | None, wall_us: int, times: Times, zh: Texts, en: Texts) -> str:
    if interval is None:
        return f"{zh('time.none')} {en('time.none')}"
    ends = [
        f"{zh('time.open')} {en('time.open')}" if end is None else _moment(end, wall_us, times)
        for end in (interval.lo_us, interval.hi_us)
    ]
    width = "" if interval.width_us is None else f"   ({_width(interval.width_us)})"
    return f"{ends[0]}  –  {ends[1]}{width}"


def _moment(us: int, wall_us: int, times: Times) -> str:
    day = "" if times.date(us) == times.date(wall_us) else f"{times.date(us)} "
    return f"{day}{times.seconds(us)}.{us // 100_000 % 10}"


def _width(us: int) -> str:
    for unit, name in ((86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "min")):
        if us >= 2 * unit:
            return f"{us / unit:.1f} {name}"
    return f"{us / 1e6:.1f} s"
