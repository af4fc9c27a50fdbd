"""The alphabet of the report's plots: SVG elements as values, scales, round tick marks.

A drawing is a size, a description for people who cannot see it, and elements in painting order; the template
writes them out, escaped. Colours come from the page's style sheet by class, so that one drawing serves light
screens, dark screens and paper.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Point = tuple[float, float]

_FINEST = 1e-9
"""A difference below this share of the values is rounding, not a course worth drawing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """An SVG element.

    Attributes:
        attributes: by their SVG names.
        text: its content.
        title: what a pointer shows when it rests on it; empty for nothing.
    """

    tag: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A picture.

    Attributes:
        width: of the coordinate system; it is shown at this many CSS pixels or fewer.
        label: what it shows, for readers who hear the page.
    """

    width: float
    height: float
    label: str
    elements: tuple[Element, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A linear map from values to coordinates.

    Attributes:
        low: the value at coordinate ``start``.
        high: the value at ``end``; not equal to ``low``.
    """

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The coordinate of ``value``."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def number(value: float) -> str:
    """A coordinate with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")


def line(start: Point, end: Point, style: str) -> Element:
    """A straight line."""
    return Element(
        tag="line",
        attributes={
            "class": style,
            "x1": number(start[0]),
            "y1": number(start[1]),
            "x2": number(end[0]),
            "y2": number(end[1]),
        },
    )


def text(at: Point, content: str, style: str, *, anchor: str = "start", title: str = "") -> Element:
    """A word; ``anchor`` is start, middle or end."""
    attributes = {"class": style, "x": number(at[0]), "y": number(at[1]), "text-anchor": anchor}
    return Element(tag="text", attributes=attributes, text=content, title=title)


def circle(at: Point, radius: float, style: str, *, title: str = "") -> Element:
    """A disc."""
    attributes = {"class": style, "cx": number(at[0]), "cy": number(at[1]), "r": number(radius)}
    return Element(tag="circle", attributes=attributes, title=title)


def box(at: Point, size: Point, style: str, *, title: str = "") -> Element:
    """A rectangle with slightly round corners; ``at`` is its upper left corner."""
    attributes = {
        "class": style,
        "x": number(at[0]),
        "y": number(at[1]),
        "width": number(size[0]),
        "height": number(size[1]),
        "rx": number(min(2.5, size[0] / 4)),
    }
    return Element(tag="rect", attributes=attributes, title=title)


def path(points: Sequence[Point], style: str) -> Element:
    """A line through points."""
    steps = " L".join(f"{number(x)} {number(y)}" for x, y in points)
    return Element(tag="path", attributes={"class": style, "d": f"M{steps}"})


def diamond(at: Point, radius: float, style: str, *, title: str = "") -> Element:
    """A square that stands on its corner."""
    x, y = at
    corners = ((x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y))
    steps = " L".join(f"{number(px)} {number(py)}" for px, py in corners)
    return Element(tag="path", attributes={"class": style, "d": f"M{steps} Z"}, title=title)


def cross(at: Point, radius: float, style: str, *, title: str = "") -> Element:
    """Two crossed strokes."""
    x, y = at
    strokes = (
        f"M{number(x - radius)} {number(y - radius)} L{number(x + radius)} {number(y + radius)} "
        f"M{number(x - radius)} {number(y + radius)} L{number(x + radius)} {number(y - radius)}"
    )
    return Element(tag="path", attributes={"class": style, "d": strokes}, title=title)


def ticks(low: float, high: float, *, about: int) -> tuple[float, ...]:
    """Round numbers in steps of 1, 2 or 5 times a power of ten that enclose ``low`` to ``high``.

    Args:
        low: the least value; at most a thousand million either way.
        high: the greatest; when it hardly differs from ``low``, the marks spread around both.
        about: how many are wanted, at least 2.
    """
    size = max(abs(low), abs(high))
    if high - low < _FINEST * max(1.0, size):
        spread = size / 10 if size > 1000 * _FINEST else 1.0
        low, high = low - spread, high + spread
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    # Rounding keeps 0.30000000000000004 out of the labels.
    return tuple(round(index * step, 12) for index in range(first, last + 1))


def shortened(word: str, most: int) -> str:
    """A label of at most ``most`` characters."""
    return word if len(word) <= most else word[: most - 1] + "…"
