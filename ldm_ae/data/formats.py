"""The picture formats that are opened here, and the endings by which their files are known."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from pathlib import PurePath

# Pillow's name of each format and its endings; others that Pillow knows start foreign programs
# (EPS) or hold no photos.
_BUILT_IN = {
    "JPEG": "jfif jpe jpeg jpg",  # they are tried in this order
    "PNG": "png",
    "WEBP": "webp",
    "TIFF": "tif tiff",
    "GIF": "gif",
    "BMP": "bmp",
    "PPM": "pgm pnm ppm",
    "AVIF": "avif",
    "JPEG2000": "jp2",
    "TGA": "tga",
}
# Opened where a plug-in is installed: its module, and this package's extra that installs it.
_PLUGINS = {
    "JXL": ("jxl", "pillow_jxl", "jxl"),
    "HEIF": ("heic heif hif", "pillow_heif", "heif"),
}
# Pictures too, but never opened: those who hold some want to know.
_OTHERS = (
    "3fr apng arw bpg cr2 cr3 crw dcr dds djvu dng eps erf exr fff hdr ico iiq j2k jpf jpx jxr kdc"
    " mef mos mrw nef nrw orf pcx pef psd qoi raf raw rw2 rwl sgi sr2 srf srw svg wdp x3f xcf"
)


@cache
def formats() -> Mapping[str, str]:
    """Pillow's names of the formats that are opened => their endings, separated by spaces."""
    found = dict(_BUILT_IN)
    for name, (endings, module, _) in _PLUGINS.items():
        try:
            plugin = importlib.import_module(module)
        except ImportError:
            continue
        if name == "HEIF":  # the other one registers itself with Pillow
            plugin.register_heif_opener()
        found[name] = endings
    return found


@cache
def image_endings() -> frozenset[str]:
    """The endings of files that are opened, in small letters: `.jpg` and so on."""
    return frozenset(f".{ending}" for text in formats().values() for ending in text.split())


def is_image_name(name: str | PurePath) -> bool:
    return PurePath(name).suffix.lower() in image_endings()


@cache
def unread_endings() -> Mapping[str, str]:
    """Endings of pictures that are not opened here => how they would be, or nothing."""
    found = {f".{ending}": "" for ending in _OTHERS.split()}
    for name, (endings, _, extra) in _PLUGINS.items():
        if name not in formats():
            remedy = f'pip install "ldm-ae[{extra}]"'
            found |= {f".{ending}": remedy for ending in endings.split()}
    return found
