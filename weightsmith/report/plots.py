"""Plots as inline SVG, in the colours that the page's style sheet gives to their classes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

from weightsmith.foreign_text import visible
from weightsmith.formats import significant
from weightsmith.language import spoken
from weightsmith.report.blocks import Bars, Dots, Grid, Scatter
from weightsmith.report.markup import element, escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weightsmith.language import Language
    from weightsmith.report.blocks import Plot

_WIDTH = 720
# Room for labels of the axes, and for figures behind the longest bar.
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 14, 46
_HEIGHT = 260
_SQUARE = 440
_BAR, _LABELS, _FIGURES = 24, 270, 90
# Columns of a label; Chinese signs take two.
_LONGEST_LABEL = 40
_MOST_TICKS = 8
# Of a grid: as many classes `shade1`, … as the style sheet has.
_SHADES = 5
# How wide a figure of a label is.
_SIGN = 7
_MOST_POINTS = 2000
# Beyond these a figure is a fault, which its table shows, and would leave nothing to see of the others.
_SMALLEST, _FURTHEST = 1e-12, 1e4


def drawn(plot: Plot, language: Language) -> str:
    """A figure with its title, legend and drawing."""
    if isinstance(plot, Dots):
        drawing, legend = _dots(plot, language), _legend(plot, language)
    elif isinstance(plot, Scatter):
        drawing, legend = _scatter(plot, language), ""
    elif isinstance(plot, Grid):
        drawing, legend = _grid(plot, language), _shades(plot)
    else:
        drawing, legend = _bars(plot, language), _limit_legend(plot, language)
    title = element("figcaption", escaped(spoken(plot.title, language)) + legend)
    return element("figure", title + drawing, klass="square" if isinstance(plot, Scatter) else None)


def _svg(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    content = element("title", escaped(title)) + "".join(parts)
    return element("svg", content, viewBox=f"0 0 {width:g} {height:g}", role="img")


def _legend(plot: Dots, language: Language) -> str:
    keys = [(f"key s{n}", spoken(one.name, language)) for n, one in enumerate(plot.series)]
    if plot.line is not None:
        keys.append(("key line", f"{spoken(plot.line[0], language)} ({significant(plot.line[1])})"))
    return _keys(keys)


def _limit_legend(plot: Bars, language: Language) -> str:
    if plot.limit is None:
        return ""
    return _keys([("key line", f"{spoken(plot.limit[0], language)} ({significant(plot.limit[1])})")])


def _keys(keys: Sequence[tuple[str, str]]) -> str:
    return element(
        "span",
        "".join(element("span", element("i", klass=klass) + escaped(words)) for klass, words in keys),
        klass="legend",
    )


def _dots(plot: Dots, language: Language) -> str:
    series = [[(n, y) for n, y in enumerate(one.values) if y is not None] for one in plot.series]
    line = None if plot.line is None or plot.line[1] <= 0 else plot.line[1]
    low, high = _decades([*(y for values in series for _, y in values if y > 0), *([line] if line else [])])
    count = max((len(one.values) for one in plot.series), default=1)

    def across(n: float) -> float:
        return _LEFT + (n + 0.5) * (_WIDTH - _LEFT - _RIGHT) / count

    def up(value: float) -> float:
        share = (math.log10(max(value, 10.0**low)) - low) / (high - low)
        return _HEIGHT - _BOTTOM - min(share, 1.0) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    step = max(1, (high - low) // 6)
    for power in range(low, high + 1, step):
        y = up(10.0**power)
        parts.append(_line(_LEFT, y, _WIDTH - _RIGHT, y, "grid"))
        parts.append(_words(_LEFT - 8, y + 4, f"1e{power}", "end"))
    every = max(1, -(-count // 16))
    parts += [_words(across(n), _HEIGHT - _BOTTOM + 18, str(n), "middle") for n in range(0, count, every)]
    parts.append(_words((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, spoken(plot.axis, language), "middle"))
    if line:
        parts.append(_line(_LEFT, up(line), _WIDTH - _RIGHT, up(line), "level"))
    for n, values in reversed(list(enumerate(series))):
        parts += [_point(across(x), up(y), 4.0, f"s{n}") for x, y in values]
    return _svg(_WIDTH, _HEIGHT, spoken(plot.title, language), parts)


def _scatter(plot: Scatter, language: Language) -> str:
    few = plot.points[:: max(1, -(-len(plot.points) // _MOST_POINTS))]
    points = [point for point in few if max(map(abs, point)) < _FURTHEST]
    values = [value for point in points for value in point]
    low, high = (min(values), max(values)) if values else (-1.0, 0.0)
    room = (high - low) * 0.04 or 1.0
    low, high = low - room, high + room
    side = _SQUARE - _LEFT - _RIGHT

    def across(value: float) -> float:
        return _LEFT + side * (value - low) / (high - low)

    def up(value: float) -> float:
        return _TOP + side - side * (value - low) / (high - low)

    parts = []
    for tick in _ticks(low, high):
        parts.append(_line(_LEFT, up(tick), _LEFT + side, up(tick), "grid"))
        parts.append(_line(across(tick), _TOP, across(tick), _TOP + side, "grid"))
        parts.append(_words(_LEFT - 8, up(tick) + 4, f"{tick:g}", "end"))
        parts.append(_words(across(tick), _TOP + side + 18, f"{tick:g}", "middle"))
    parts.append(_line(across(low), up(low), across(high), up(high), "level"))
    parts += [_point(across(x), up(y), 3.0, "s0 thin") for x, y in points]
    middle = _TOP + side / 2
    parts.append(_words(_LEFT + side / 2, _TOP + side + 38, spoken(plot.x, language), "middle"))
    parts.append(
        element(
            "text",
            escaped(spoken(plot.y, language)),
            x="16",
            y=f"{middle:g}",
            text_anchor="middle",
            transform=f"rotate(-90 16 {middle:g})",
        )
    )
    return _svg(_SQUARE, _TOP + side + _BOTTOM, spoken(plot.title, language), parts)


def _bars(plot: Bars, language: Language) -> str:
    limit = plot.limit[1] if plot.limit is not None else 0.0
    whole = plot.whole or max([0.0, limit * 1.1, *(bar.length for bar in plot.bars)]) or 1.0
    room = _WIDTH - _LABELS - _FIGURES
    parts = []
    for n, bar in enumerate(plot.bars):
        top = _TOP + n * _BAR
        reach = min(max(bar.length / whole, 0.0), 1.0) * room
        klass = "s0" if bar.good is None else "good" if bar.good else "bad"
        parts.append(_words(_LABELS - 10, top + 15, _cut(spoken(bar.label, language)), "end"))
        box = {"x": f"{_LABELS:g}", "y": f"{top + 3:g}", "height": f"{_BAR - 8:g}", "rx": "2"}
        parts.append(element("rect", klass="rail", width=f"{room:g}", **box))
        parts.append(element("rect", klass=klass, width=f"{max(reach, 1.0):.1f}", **box))
        parts.append(_words(_LABELS + room + 8, top + 15, bar.shown, "start"))
    height = _TOP + len(plot.bars) * _BAR + 4
    if plot.limit is not None:
        x = _LABELS + limit / whole * room
        parts.append(_line(x, _TOP - 4, x, height - 2, "level"))
    return _svg(_WIDTH, height, spoken(plot.title, language), parts)


def _grid(plot: Grid, language: Language) -> str:
    """A square for each value, in the shade of its decade; hovering tells it."""
    low, high = _range(plot)
    left, right = _LABELS, _WIDTH - _RIGHT
    wide = min((right - left) / max(len(plot.columns), 1), _BAR)
    parts = []
    for n, (label, values) in enumerate(plot.rows):
        top = _TOP + n * _BAR
        parts.append(_words(left - 10, top + 16, _cut(spoken(label, language)), "end"))
        for column, value in enumerate(values):
            if value is not None:
                told = f"{spoken(label, language)} {plot.columns[column]}: {significant(value)}"
                box = {"x": f"{left + column * wide:.1f}", "y": f"{top + 1:g}", "height": f"{_BAR - 2:g}"}
                box |= {"width": f"{max(wide - (2 if wide > 6 else 0), 0.5):.2f}"}
                klass = f"shade{_shade(value, low, high)}"
                parts.append(element("rect", element("title", escaped(told)), klass=klass, **box))
    bottom = _TOP + len(plot.rows) * _BAR
    every = max(1, math.ceil((_SIGN * max(map(len, plot.columns), default=1) + 6) / wide))
    for column in range(0, len(plot.columns), every):
        parts.append(_words(left + (column + 0.5) * wide, bottom + 16, _cut(plot.columns[column]), "middle"))
    middle = left + wide * len(plot.columns) / 2
    parts.append(_words(max(middle, left + 60), bottom + 36, spoken(plot.axis, language), "middle"))
    return _svg(_WIDTH, bottom + _BOTTOM, spoken(plot.title, language), parts)


def _range(plot: Grid) -> tuple[int, int]:
    return _decades([value for _, values in plot.rows for value in values if value], 1)


def _shade(value: float, low: int, high: int) -> int:
    """0: nothing; 1 to _SHADES: from the lowest decade to the highest."""
    if not value > 0:
        return 0
    share = (math.log10(min(value, 1 / _SMALLEST)) - low) / (high - low)
    return 1 + min(max(int(share * _SHADES), 0), _SHADES - 1)


def _shades(plot: Grid) -> str:
    """The legend: where each shade begins."""
    low, high = _range(plot)
    begins = (10 ** (low + n * (high - low) / _SHADES) for n in range(_SHADES))
    named = [(f"key box shade{n}", f"≥ {value:.2g}") for n, value in enumerate(begins, 1)]
    return _keys([("key box shade0", "0"), *named])


def _decades(values: Sequence[float], apart: int = 2) -> tuple[int, int]:
    """Powers of ten around the values, at least so many apart."""
    if not values:
        return -6, 0
    lowest, highest = (min(max(value, _SMALLEST), 1 / _SMALLEST) for value in (min(values), max(values)))
    low, high = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))
    return low, max(high, low + apart)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between the two."""
    rough = (high - low) / _MOST_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step)
    return [round(n * step, 12) for n in range(first, math.floor(high / step) + 1)]


def _cut(label: str) -> str:
    """A label with as many columns as it has room for."""
    used, text = 0, visible(label[: _LONGEST_LABEL + 1])
    for n, sign in enumerate(text):
        used += 2 if east_asian_width(sign) in "WF" else 1
        if used > _LONGEST_LABEL:
            return text[: n - 1] + "…"
    return text


def _line(x1: float, y1: float, x2: float, y2: float, klass: str) -> str:
    return element("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", klass=klass)


def _point(x: float, y: float, radius: float, klass: str) -> str:
    return element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{radius:g}", klass=klass)


def _words(x: float, y: float, words: str, anchor: str) -> str:
    return element("text", escaped(words), x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)
