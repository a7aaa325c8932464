"""What codecs are called and how they are coloured, the same in every picture."""

from __future__ import annotations

from collections.abc import Iterable

TITLES = {
    "avif": "AVIF",
    "webp": "WebP",
    "jpeg": "JPEG",
    "jxl": "JPEG XL",
    "jpeg2000": "JPEG 2000",
    "vvc": "VVC",
}
COLOURS = {
    "avif": "tab:orange",
    "webp": "tab:green",
    "jpeg": "tab:brown",
    "jxl": "tab:purple",
    "jpeg2000": "tab:olive",
    "vvc": "tab:gray",
}
# Of models and of what others published, in the order in which they come.
_MODELS = ("tab:blue", "tab:red", "tab:cyan", "tab:pink", "black")
_PUBLISHED = (
    *("#393b79", "#637939", "#8c6d31", "#843c39", "#7b4173", "#3182bd"),
    *("#6b6ecf", "#b5cf6b", "#e7ba52", "#d6616b", "#ce6dbd", "#31a354"),
)


def colours_of(models: Iterable[str], published: Iterable[str] = ()) -> dict[str, str]:
    """A colour for each codec, model and published curve."""
    found = dict(COLOURS)
    for names, palette in ((models, _MODELS), (published, _PUBLISHED)):
        for index, name in enumerate(dict.fromkeys(names)):
            found.setdefault(name, palette[index % len(palette)])
    return found
