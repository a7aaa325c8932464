"""VVC intra pictures (H.266): vvenc as encoder, both sides in ffmpeg processes of their own.

The binary is that of the package imageio-ffmpeg. 4:2:0 at 10 bits, which is all that its vvenc
takes, from RGB by BT.709 at full range.
"""

from __future__ import annotations

import io
import re
import struct
import subprocess
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ldm_ae.bench.coder import Pixels, Point
from ldm_ae.bench.image_codecs import MissingCodecError
from ldm_ae.errors import UserError

PACKAGE = "imageio-ffmpeg"
MAX_QP = 63
QUALITIES = (10, 15, 20, 25, 30, 35)  # 63 - QP: about 0.05 to 1 bit per pixel
# With vvenc's perceptual QP adaptation, its default: without it four Kodak photos took more bits at
# equal PSNR, MS-SSIM and LPIPS-alex alike.
OPTIONS = ("-preset", "medium", "-qpa", "1")

_SIZE = struct.Struct("<HH")  # width, height
_UNIT = 8  # sides are multiples of the smallest coding unit, and two units at least
_SCALE = "flags=lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"


class VVCCoder:
    """The quality of a point is 63 - QP. A file is the bitstream behind four bytes of size: sides
    are filled up to a multiple of 8 by repeating the edge.

    Raises MissingCodecError where no ffmpeg with vvenc is at hand.
    """

    name = "vvc"
    qualities: Sequence[float] = range(MAX_QP + 1)

    def __init__(self, qualities: Sequence[float] = QUALITIES) -> None:
        self.ffmpeg = find_ffmpeg()
        self.points = [Point("", quality) for quality in qualities]
        first_line = self._run(["-version"], b"").decode().partition("\n")[0]
        self.identity = {"options": OPTIONS, "versions": {"ffmpeg": first_line.split(" ")[2]}}

    def encode(self, pixels: Pixels, point: Point) -> bytes:
        height, width = pixels.shape[:2]
        bottom, right = (max(-side % _UNIT, 2 * _UNIT - side) for side in (height, width))
        padded = np.pad(pixels, ((0, bottom), (0, right), (0, 0)), mode="edge")
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24"]
        raw += ["-video_size", f"{padded.shape[1]}x{padded.shape[0]}", "-i", "-"]
        planes = f"scale=out_color_matrix=bt709:out_range=pc:{_SCALE},format=yuv420p10le"
        vvenc = ["-c:v", "libvvenc", "-qp", f"{MAX_QP - point.quality:g}", *OPTIONS]
        vvenc += ["-threads", "1", "-f", "vvc", "-"]
        stream = self._run([*raw, "-frames:v", "1", "-vf", planes, *vvenc], padded.tobytes())
        return _SIZE.pack(width, height) + stream

    def decode(self, file: bytes, point: Point) -> Pixels:
        width, height = _SIZE.unpack_from(file)
        colours = f"scale=in_color_matrix=bt709:in_range=pc:{_SCALE},format=rgb24"
        stream = ["-f", "vvc", "-threads", "1", "-i", "-"]
        picture = ["-vf", colours, "-c:v", "ppm", "-f", "image2pipe", "-"]
        with Image.open(io.BytesIO(self._run([*stream, *picture], file[_SIZE.size :]))) as image:
            return np.array(image)[:height, :width]

    def _run(self, arguments: Sequence[str], data: bytes) -> bytes:
        command = [self.ffmpeg, "-hide_banner", "-loglevel", "error", *arguments]
        done = subprocess.run(command, input=data, capture_output=True)
        if done.returncode:
            raise UserError(f"vvc: ffmpeg failed: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout


def find_ffmpeg() -> str:
    """The path of an ffmpeg that has vvenc and a VVC decoder. Raises MissingCodecError."""
    try:
        import imageio_ffmpeg

        path = str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise MissingCodecError(
            f'VVC needs the package {PACKAGE} ({error}): pip install "ldm-ae[vvc]"'
        ) from error
    for kind, name in (("-encoders", "libvvenc"), ("-decoders", "vvc")):
        listed = subprocess.run([path, "-hide_banner", kind], capture_output=True, text=True)
        if not re.search(rf"\s{name}\s", listed.stdout):
            raise MissingCodecError(f"VVC: the ffmpeg at {path} has no {name}")
    return path
