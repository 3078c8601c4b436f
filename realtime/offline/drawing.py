"""Lines, dots and words on white paper, as SVG text or as a PNG: what a diagram needs and no more."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import cv2
import numpy as np

from models.label_files import replaced
from models.overlay import FONT, FONT_PX, Picture, write_picture

Colour = tuple[int, int, int]
"""Red, green, blue, 0 … 255."""
Anchor = Literal["start", "middle", "end"]
BLACK, GREY, PALE = (0, 0, 0), (120, 120, 120), (225, 225, 225)
DASH_PX = 3.0
FINE = 4
"""Bits of a pixel's fraction that OpenCV takes."""


@dataclass(frozen=True)
class Line:
    """From one point to another, in pixels from the upper left corner."""

    x0: float
    y0: float
    x1: float
    y1: float
    colour: Colour = BLACK
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True)
class Dot:
    """A filled circle."""

    x: float
    y: float
    radius: float
    colour: Colour


@dataclass(frozen=True)
class Words:
    """A line of text; `y` is its baseline, `anchor` what of it stands at `x`. ASCII only, as OpenCV's letters are."""

    x: float
    y: float
    text: str
    height: float = 10.0
    colour: Colour = BLACK
    anchor: Anchor = "start"


@dataclass
class Drawing:
    """Shapes in the order in which they are drawn."""

    width: int
    height: int
    shapes: list[Line | Dot | Words] = field(default_factory=list)

    def add(self, *shapes: Line | Dot | Words) -> None:
        self.shapes += shapes

    def write_svg(self, path: Path) -> None:
        """As a vector graphic."""
        size = {"width": str(self.width), "height": str(self.height), "viewBox": f"0 0 {self.width} {self.height}"}
        root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "font-family": "sans-serif"} | size)
        SubElement(root, "rect", width="100%", height="100%", fill="white")
        for shape in self.shapes:
            _add_to_svg(root, shape)
        ElementTree.indent(root)
        with replaced(path) as part:
            ElementTree.ElementTree(root).write(part, encoding="UTF-8", xml_declaration=True)

    def write_png(self, path: Path, zoom: int = 2) -> None:
        """As pixels, `zoom` to a unit of the drawing."""
        picture: Picture = np.full((self.height * zoom, self.width * zoom, 3), 255, np.uint8)
        for shape in self.shapes:
            _paint(picture, shape, zoom)
        write_picture(path, picture)


def _add_to_svg(root: Element, shape: Line | Dot | Words) -> None:
    colour = "#{:02x}{:02x}{:02x}".format(*shape.colour)
    match shape:
        case Line(x0, y0, x1, y1):
            ends = {"x1": f"{x0:.1f}", "y1": f"{y0:.1f}", "x2": f"{x1:.1f}", "y2": f"{y1:.1f}"}
            line = SubElement(root, "line", ends, stroke=colour)
            line.set("stroke-width", f"{shape.width:g}")
            line.set("stroke-linecap", "butt" if shape.dashed else "round")
            if shape.dashed:
                line.set("stroke-dasharray", f"{DASH_PX:g}")
        case Dot(x, y, radius):
            SubElement(root, "circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{radius:g}", fill=colour)
        case Words(x, y, text):
            words = SubElement(root, "text", x=f"{x:.1f}", y=f"{y:.1f}", fill=colour)
            words.set("font-size", f"{shape.height:g}")
            words.set("text-anchor", shape.anchor)
            words.text = text


def _paint(picture: Picture, shape: Line | Dot | Words, zoom: int) -> None:
    colour = shape.colour[::-1]
    match shape:
        case Line():
            for line in _dashes(shape) if shape.dashed else [shape]:
                start, end = _fine(line.x0 * zoom, line.y0 * zoom), _fine(line.x1 * zoom, line.y1 * zoom)
                cv2.line(picture, start, end, colour, max(1, round(line.width * zoom)), cv2.LINE_AA, FINE)
        case Dot(x, y, radius):
            centre, radius_px = _fine(x * zoom, y * zoom), round(radius * zoom * 2**FINE)
            cv2.circle(picture, centre, radius_px, colour, cv2.FILLED, cv2.LINE_AA, FINE)
        case Words(x, y, text):
            scale = 0.75 * shape.height * zoom / FONT_PX  # the height of a letter is three quarters of its font's
            (width, _), _ = cv2.getTextSize(text, FONT, scale, 1)
            left = x * zoom - {"start": 0.0, "middle": 0.5, "end": 1.0}[shape.anchor] * width
            cv2.putText(picture, text, (round(left), round(y * zoom)), FONT, scale, colour, 1, cv2.LINE_AA)


def _fine(x: float, y: float) -> tuple[int, int]:
    return round(x * 2**FINE), round(y * 2**FINE)


def _dashes(line: Line) -> list[Line]:
    """A line as strokes and gaps of DASH_PX."""
    length = float(np.hypot(line.x1 - line.x0, line.y1 - line.y0))
    starts = np.arange(0, length, 2 * DASH_PX)
    along = np.stack([starts, np.minimum(starts + DASH_PX, length)], axis=1) / max(length, 1e-9)
    x, y = line.x0 + along * (line.x1 - line.x0), line.y0 + along * (line.y1 - line.y0)
    return [Line(x[i, 0], y[i, 0], x[i, 1], y[i, 1], line.colour, line.width) for i in range(len(along))]
