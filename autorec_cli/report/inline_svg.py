"""SVG of matplotlib as elements of a page with a strict policy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

STYLES = (
    *("fill", "fill-opacity", "opacity", "stroke", "stroke-width", "stroke-linecap", "stroke-linejoin"),
    *("stroke-dasharray", "stroke-dashoffset", "stroke-opacity", "text-anchor", "font-size"),
)
GEOMETRY = ("d", "points", "transform", "x", "y", "width", "height")
DECIMAL = re.compile(r"-?\d+\.\d{2,}")
ON_ROOT = {"stroke-linejoin": "round", "font-size": "9"}
"""Attributes that most elements have; they inherit them."""


def inlined(svg: str, label: str) -> str:
    """SVG element of a file, without metadata and style sheets.

    Pages with a strict policy allow no style attributes, but attributes of SVG say the same. Nothing is clipped: axes
    are as wide as what they show.
    """
    root = ElementTree.fromstring(svg)
    _without(root, ("metadata", "style", "clipPath"))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.tail = None
        element.text = element.text if element.tag == "text" else None
        element.attrib = _attributes(element)
    _flatten(root)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label, **ON_ROOT}
    return ElementTree.tostring(root, encoding="unicode")


def _without(parent: ElementTree.Element, tags: Sequence[str]) -> None:
    for child in list(parent):
        if child.tag.rpartition("}")[2] in tags:
            parent.remove(child)
        else:
            _without(child, tags)


def _flatten(parent: ElementTree.Element) -> None:
    """Replace groups that say nothing by their children."""
    for child in list(parent):
        _flatten(child)
        if child.tag == "g":
            _share(child)
        if not child.attrib and (child.tag == "g" or (child.tag == "defs" and not len(child))):
            place = list(parent).index(child)
            parent[place : place + 1] = list(child)


def _share(group: ElementTree.Element) -> None:
    """Give a group the styles that all its children have."""
    if len(group) < 3:
        return
    common = set.intersection(*(set(child.attrib.items()) for child in group))
    shared = {name: value for name, value in sorted(common) if name in STYLES}
    group.attrib |= shared
    for child in group:
        child.attrib = {name: value for name, value in child.attrib.items() if name not in shared}


def _attributes(element: ElementTree.Element) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for name, value in element.attrib.items():
        name = name.rpartition("}")[2]
        if name == "style":
            attributes |= _from_style(value)
        # matplotlib rotates by -0 what is not rotated.
        elif name in GEOMETRY and not value.startswith("rotate(-0"):
            attributes[name] = _short(value)
        elif name in ("href", "viewBox") or (name == "id" and element.tag == "path"):
            attributes[name] = value
    return {name: value for name, value in attributes.items() if ON_ROOT.get(name) != value}


def _from_style(style: str) -> dict[str, str]:
    found = dict(part.strip().split(": ", 1) for part in style.split(";") if part.strip())
    if "font" in found:  # size and family; the family is the page's
        found["font-size"] = found["font"].split("px")[0].rpartition(" ")[2]
    return {name: found[name].removesuffix("px") for name in STYLES if name in found}


def _short(geometry: str) -> str:
    """Coordinates with one decimal, without needless blanks."""
    rounded = DECIMAL.sub(lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), geometry)
    return re.sub(r" *([MLCQzZ]) *", r"\1", rounded).strip()
