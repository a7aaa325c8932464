"""An image codec: an autoencoder, an entropy model of its latents, and a file format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ldm_ae import zoo
from ldm_ae.codec.contents import LAGRANGIAN, MAX_MEMORY, Content
from ldm_ae.codec.digest import model_digest
from ldm_ae.codec.format import container
from ldm_ae.codec.format.ladder import NUM_QUALITIES, require_quality
from ldm_ae.codec.format.planes import (
    Planes,
    join,
    open_picture,
    pack_alpha,
    split_for,
    unpack_alpha,
)
from ldm_ae.codec.picture_rows import PictureRows
from ldm_ae.codec.priors.base import Prior
from ldm_ae.codec.priors.file import earlier_prior, load_prior
from ldm_ae.codec.steps import Analysis, Unpacked
from ldm_ae.data.images import to_uint8
from ldm_ae.errors import UserError
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.memory import num_bytes

DEFAULT_QUALITY = 40
Picture = np.ndarray | Image.Image | str | Path


class Codec:
    """compress: picture -> bytes; decompress: bytes -> picture.

    Pictures are uint8 (H, W), or (H, W, C) with C = 1 (grey), 2 (grey, alpha), 3 (RGB), 4 (RGBA);
    what comes back is (H, W, C) with the C that was given (H, W counting as 1). Alpha is kept
    without loss. A model of RGBA pictures codes alpha as any channel, and returns RGBA always.

    Each step is there by itself, for measuring: picture -> `encode` -> `pack` -> bytes -> `unpack`
    -> `decode` -> picture. `unpack` gives exactly the symbols that `pack` coded; what the decoder
    network makes of them may differ in the last bit between machines.
    """

    def __init__(
        self,
        model: Autoencoder,
        prior: Prior,
        max_pixels: int = container.MAX_PIXELS,
        folder: Path | None = None,
        max_memory: int | str = MAX_MEMORY,
    ) -> None:
        """model: in eval mode, on the device to compute on. max_pixels: files of larger pictures
        are refused before memory is taken for them. folder: where `ldm-ae calibrate` keeps the
        priors that it has replaced, so that their files can still be read. max_memory: that the
        network may take for a large picture, as `model.encode` has it. Raises UserError for a
        prior of another kind of model, and for a model that `ldm_ae.load` opened as fast."""
        if model.precision != "fp32":
            raise UserError(
                f"a codec computes in fp32, and this model is {model.precision}: open it by"
                " ldm_ae.load without precision=fast and dtype"
            )
        self.max_pixels, self.folder = max_pixels, folder
        self.model, self.prior = model, prior
        self._earlier: dict[bytes, Codec] = {}
        num_bytes(max_memory)  # raises for what is none
        self.content = Content(model, prior, max_memory)
        self.digest = model_digest(model, prior)

    def compress(
        self,
        image: Picture,
        quality: int | None = None,
        bpp: float | None = None,
    ) -> bytes:
        """image: an array, a Pillow image, or the path of one. quality: 0 (smallest) to 63
        (finest), 40 by default. bpp: instead of it, the finest quality whose file has at most so
        many bits per pixel, header included. Neither applies to a discrete model, which has one
        rate.

        Raises UserError for an image of another type or size than the format holds, both or
        wrong arguments, and a bpp that quality 0 exceeds.
        """
        self.require_rate(quality, bpp)
        analysis = self.encode(image)
        if bpp is not None:
            return self.pack_within(analysis, int(bpp * analysis.width * analysis.height / 8))
        return self.pack(analysis, quality)

    def decompress(self, data: bytes) -> np.ndarray:
        """uint8 (H, W, C). Raises UserError for whatever this codec's `compress` cannot have
        made: other bytes, another model's, cut short, altered."""
        codec = self.that_wrote(data)
        return codec.decode(codec.unpack(data))

    def that_wrote(self, data: bytes) -> Codec:
        """This codec, or the one of the same model with a prior kept in `folder`, if that is what
        the file was written with. Raises UserError for what is no file, and for a broken prior."""
        digest = container.read(data).header.digest
        if self.folder is None or digest == self.digest:
            return self
        path = earlier_prior(self.folder, digest)
        if digest not in self._earlier and path.is_file():
            prior = load_prior(self.folder, path.name)
            self._earlier[digest] = Codec(
                self.model, prior, self.max_pixels, max_memory=self.content.max_memory
            )
        return self._earlier.get(digest, self)

    def require_rate(self, quality: int | None, bpp: float | None) -> None:
        """Raise UserError unless `compress` takes these."""
        if quality is not None and bpp is not None:
            raise UserError(f"quality={quality} and bpp={bpp}: give one of them")
        if self.content.discrete and not (quality is None and bpp is None):
            raise UserError(
                "this model has a codebook, so that its files have one rate: leave quality and bpp"
                " out"
            )
        if quality is not None:
            require_quality(quality)
        if bpp is not None and not 0 < bpp < float("inf"):
            raise UserError(f"bpp={bpp}: use a positive number of bits per pixel")

    @torch.inference_mode()
    def encode(self, image: Picture) -> Analysis:
        """The network's part of `compress`."""
        pixels = image if isinstance(image, np.ndarray) else open_picture(image)
        planes = split_for(self.model.image_channels, pixels)
        height, width = planes.colour.shape[:2]
        container.require_size(width, height)
        device = next(self.model.parameters()).device
        factor = self.model.downsampling_factor
        images = PictureRows(planes.colour, self.model.image_channels, factor, device)
        found = self.content.analyse(images)[0]
        alpha = None if planes.alpha is None else pack_alpha(planes.alpha)
        grey = planes.colour.shape[2] == 1
        return Analysis(found, width, height, grey, alpha)

    def pack(
        self, analysis: Analysis, quality: int | None = None, lagrangian: float = LAGRANGIAN
    ) -> bytes:
        """The entropy coder's part of `compress`; quality: None for a discrete model. lagrangian:
        squared steps that a bit may cost in latents; 0 rounds them to the nearest."""
        self.require_rate(quality, None)
        if quality is None:
            quality = 0 if self.content.discrete else DEFAULT_QUALITY
        _, payload = self.content.pack(analysis.content, quality, lagrangian)
        header = container.Header(
            self.digest,
            self.content.discrete,
            analysis.grey,
            analysis.width,
            analysis.height,
            quality,
        )
        return container.write(container.LaeFile(header, payload, analysis.alpha))

    def pack_within(self, analysis: Analysis, num_bytes: int) -> bytes:
        """The finest quality's file of at most so many bytes. Raises UserError if none is."""
        best, low, high = None, 0, NUM_QUALITIES - 1
        while low <= high:  # sizes grow with quality, but for a few bytes
            middle = (low + high) // 2
            data = self.pack(analysis, middle)
            if len(data) <= num_bytes:
                best, low = data, middle + 1
            else:
                high = middle - 1
        if best is None:
            least = len(self.pack(analysis, 0)) * 8 / (analysis.width * analysis.height)
            raise UserError(
                f"{num_bytes} bytes, the number asked for, are too few for this image: quality 0"
                f" takes {least:.4f} bits per pixel: allow as many"
            )
        return best

    def unpack(self, data: bytes) -> Unpacked:
        """The entropy coder's part of `decompress`: exact, whatever the device, number of threads
        or processes. Raises UserError as `decompress`."""
        file = container.read(data)
        header = file.header
        if header.digest != self.digest:
            raise UserError(
                f"this .lae file was written with model {zoo.named(header.digest)}, this one is"
                f" {zoo.named(self.digest)}: use the model and prior it was written with"
            )
        if header.width * header.height > self.max_pixels:
            raise UserError(
                f"this .lae file holds {header.width}x{header.height} pixels, more than"
                f" max_pixels={self.max_pixels}"
            )
        self._require_channels(file)
        factor = self.model.downsampling_factor
        height, width = -(-header.height // factor), -(-header.width // factor)
        found = self.content.unpack(file.payload, height, width, header.quality)
        alpha = file.alpha
        plane = None if alpha is None else unpack_alpha(alpha, header.height, header.width)
        return Unpacked(found, header, plane)

    @torch.no_grad()
    def latents(self, data: bytes) -> torch.Tensor:
        """The latents float32 (1, c, h, w) in a file, on the model's device, and no picture: what
        `model.decode` takes, for latents to be stored as files. They are not scaled; of a discrete
        model they are the codes. Raises UserError as `decompress`."""
        codec = self.that_wrote(data)
        found = codec.unpack(data)
        return codec.content.latents(found.symbols, found.header.quality)

    @torch.inference_mode()
    def decode(self, unpacked: Unpacked) -> np.ndarray:
        """The network's part of `decompress`: uint8 (H, W, C)."""
        header, colour = unpacked.header, None
        for top, rows in self.content.synthesise(unpacked.symbols, header.quality):
            if top >= header.height:
                break
            inside = to_uint8(rows[0, :, : header.height - top, : header.width])
            pixels = inside.permute(1, 2, 0).cpu().numpy()  # (H, W, C)
            if header.grey and pixels.shape[2] == 3:
                pixels = np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
            if colour is None:
                shape = (header.height, header.width, pixels.shape[2])
                colour = np.empty(shape, dtype=np.uint8)
            colour[top : top + len(pixels)] = pixels
        assert colour is not None
        return join(Planes(colour, unpacked.alpha))

    def _require_channels(self, file: container.LaeFile) -> None:
        header, channels = file.header, self.model.image_channels
        suits = {
            1: header.grey,
            3: True,
            4: not header.grey and file.alpha is None,
        }
        if header.indices != self.content.discrete or not suits[channels]:
            raise UserError("this .lae file is corrupt: its flags do not suit the model")
