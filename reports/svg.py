"""Figures as SVG that may stand inside a page: drawing elements only, short numbers, ids of their own, the page's
colours.

matplotlib writes the SVG; what leaves here has been parsed and written anew, so that no comment, script, style sheet,
link or foreign element can come through it.
"""

import re
from typing import Final
from xml.etree import ElementTree

from tiergarten.reports import style

_SVG: Final = "http://www.w3.org/2000/svg"
_XLINK: Final = "http://www.w3.org/1999/xlink"
_ELEMENTS: Final = frozenset(
    {"svg", "g", "defs", "path", "use", "clipPath", "rect", "pattern", "image", "circle", "linearGradient", "stop"}
)
_ATTRIBUTES: Final = frozenset({
    "id", "d", "x", "y", "width", "height", "style", "transform", "viewBox", "clip-path", "preserveAspectRatio",
    "patternUnits", "rx", "ry",
    "fill", "stroke", "cx", "cy", "r", "offset",
})  # fmt: skip
_DECIMALS: Final = re.compile(r"-?\d+\.\d{3,}(?![\deE])")
_THEME: Final = {
    style.INK: "var(--ink)", style.PAPER: "var(--paper)", style.GRID: "var(--grid)", style.MUTED: "var(--muted)",
    style.EMPTY: "var(--empty)", style.BLUE: "var(--blue)",
}  # fmt: skip


def inline_svg(svg: bytes, prefix: str, description: str) -> str:
    """An `<svg>` element for a page. Ids get the prefix; ink, paper and grid follow the page's custom properties.

    Args:
        svg: what `render.encode(figure, "svg")` gave.
        prefix: unique on the page, letters and digits only.
        description: text for readers who do not see the picture.
    """
    root = ElementTree.fromstring(svg)
    _clean(root, prefix)
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    root.set("role", "img")
    root.set("aria-label", description)
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _clean(element: ElementTree.Element, prefix: str) -> None:
    for child in list(element):
        if child.tag.removeprefix(f"{{{_SVG}}}") in _ELEMENTS:
            _clean(child, prefix)
        else:
            element.remove(child)
    element.text = element.tail = None
    for name, value in list(element.attrib.items()):
        if name in (f"{{{_XLINK}}}href", "href"):
            if value.startswith("#"):
                element.set(name, f"#{prefix}-{value[1:]}")
            elif not value.startswith("data:image/png;base64,"):
                del element.attrib[name]
        elif name not in _ATTRIBUTES:
            del element.attrib[name]
        elif name == "id":
            element.set(name, f"{prefix}-{value}")
        else:
            element.set(name, _short(value, prefix, exact=name == "transform"))


def _short(value: str, prefix: str, *, exact: bool) -> str:
    value = value.replace("url(#", f"url(#{prefix}-")
    if not exact:  # transforms scale glyphs by a few hundredths
        value = _DECIMALS.sub(lambda number: f"{float(number[0]):.2f}", value)
    for colour, custom in _THEME.items():
        value = value.replace(colour, custom)
    return " ".join(value.split())
