"""An encoder or a decoder on images of any size in bounded memory, to rounding with the result of
the whole: strips of rows go through one convolution after the other.

A convolution of 3x3 needs one row beyond its strip, and a norm the statistics of the whole image:
those are taken while its input is written, so that each layer reads and writes once. Attention
keeps the keys and values of the whole image, at its resolution, and asks in strips.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm_ae.errors import UserError
from ldm_ae.models.attention_time import require_time
from ldm_ae.models.blocks import AttentionBlock, ResnetBlock
from ldm_ae.models.coders import Decoder, Encoder
from ldm_ae.models.memory import Workspace, in_units, num_bytes
from ldm_ae.models.row_layers import SAME, Form, Pointwise, convolution, normalised, resampling
from ldm_ae.models.rows import Activation, Rows, TensorRows
from ldm_ae.models.tiny_coders import TinyBlock, TinyCoder

# A strip's bytes: what stays in a processor's cache, and what keeps a GPU busy.
_CPU_STRIP, _OTHER_STRIP = 4 << 20, 128 << 20
_LEAST_ROWS = 8  # of a strip, where memory allows: fewer have their halo computed too often
_STRIPS_AT_ONCE = 16  # input, normalised, output, residual, and what convolutions take inside

Coder = Encoder | Decoder | TinyCoder
Strips = Iterable[tuple[int, Tensor]]  # first row, (1, C, k, W), from top to bottom


def _as_it_is(rows: Tensor) -> Tensor:
    return rows


@torch.no_grad()
def through(
    coder: Coder,
    images: Tensor | Rows,
    max_memory: int | str,
    before: Pointwise = _as_it_is,
    after: Pointwise = _as_it_is,
) -> Tensor:
    """after(coder(before(images))) for images (B, C, H, W), both pointwise."""
    whole = None
    parts = images.split(1) if isinstance(images, Tensor) else [images]
    sources = [TensorRows(part) if isinstance(part, Tensor) else part for part in parts]
    for i, source in enumerate(sources):
        with contextlib.closing(strips_through(coder, source, max_memory, before)) as strips:
            for top, rows in strips:
                rows = after(rows)
                if whole is None:
                    _, _, height, width = source.shape
                    shape = (rows.shape[1], height * rows.shape[3] // width, rows.shape[3])
                    whole = rows.new_empty((len(sources), *shape))
                whole[i, :, top : top + rows.shape[2]] = rows[0]
    assert whole is not None
    return whole


@torch.no_grad()
def strips_through(
    coder: Coder, source: Rows, max_memory: int | str, before: Pointwise
) -> Generator[tuple[int, Tensor]]:
    """coder(before(source)) from top to bottom, as (first row, rows (1, C, k, W))."""
    walk = _Walk(coder, source, num_bytes(max_memory))
    with walk.space:
        x = walk.stored(walk.convolved(source, coder.conv_in, SAME, before), source.shape[2])
        for layer in _layers(coder):
            x = walk.layer(layer, x)
        last = _as_it_is if isinstance(coder, TinyCoder) else normalised(coder.conv_norm_out, x)
        yield from walk.convolved(x, coder.conv_out, SAME, last)


def _layers(coder: Coder) -> Iterator[nn.Module]:
    """Between the first convolution and what the last one is given."""
    if isinstance(coder, TinyCoder):
        return coder.between()
    return (layer for block in coder.blocks() for layer in block.layers())


class _Walk:
    """One image on its way through a coder."""

    def __init__(self, coder: Coder, source: Rows, limit: int) -> None:
        """Raises UserError where that takes too much memory or too much time."""
        weight = coder.conv_in.weight
        self._value_bytes = torch.promote_types(weight.dtype, torch.float32).itemsize
        widest, attended = self._plan(coder, source)
        keys = max((2 * n * block.to_k.out_features for block, n in attended), default=0)
        keys *= self._value_bytes
        _, _, height, width = source.shape
        least = _STRIPS_AT_ONCE * widest + keys
        if least > limit:
            raise UserError(
                f"max_memory is {in_units(limit)}: {width}x{height} positions take at least"
                f" {in_units(least)} here"
                + (f", {in_units(keys)} of them for keys and values of attention" if keys else "")
            )
        require_time(attended, weight)
        left = (limit - keys) // _STRIPS_AT_ONCE
        strip = min(_CPU_STRIP if weight.device.type == "cpu" else _OTHER_STRIP, left // 4)
        self._strip = max(strip, min(_LEAST_ROWS * widest, left // 2), widest)
        self.space = Workspace(limit - keys - _STRIPS_AT_ONCE * self._strip, weight.device)

    def _plan(self, coder: Coder, source: Rows) -> tuple[int, list[tuple[AttentionBlock, int]]]:
        """Bytes of the least strip of the widest layer, and attention with its positions."""
        _, _, height, width = source.shape
        found, attended = [self._unit(coder.conv_in, SAME, width)], []
        for layer in _layers(coder):
            if isinstance(layer, AttentionBlock):
                attended.append((layer, height * width))
            elif isinstance(layer, (ResnetBlock, TinyBlock)):
                found += [self._unit(conv, SAME, width) for conv in layer.convolutions()]
            elif not isinstance(layer, nn.ReLU):
                form, conv = resampling(layer)
                found.append(self._unit(conv, form, width))
                height, width = (size * form.given // form.taken for size in (height, width))
        return max(*found, self._unit(coder.conv_out, SAME, width)), attended

    def _unit(self, layer: nn.Conv2d, form: Form, width: int) -> int:
        taken = form.taken * layer.in_channels * width
        given = form.given * layer.out_channels * width * form.given // form.taken
        return max(taken, given) * self._value_bytes

    def layer(self, layer: nn.Module, x: Activation) -> Activation:
        if isinstance(layer, ResnetBlock):
            return self._resnet(layer, x)
        if isinstance(layer, AttentionBlock):
            return self._attention(layer, x)
        if isinstance(layer, TinyBlock):
            return self._tiny(layer, x)
        if isinstance(layer, nn.ReLU):
            return self.stored(self._rectified(x), x.shape[2], over=x)
        form, conv = resampling(layer)
        height = x.shape[2] * form.given // form.taken
        y = self.stored(self.convolved(x, conv, form), height)
        self.space.release(x.storage)
        return y

    def _resnet(self, block: ResnetBlock, x: Activation) -> Activation:
        height = x.shape[2]
        hidden = self.stored(
            self.convolved(x, block.conv1, SAME, normalised(block.norm1, x)), height
        )

        def added() -> Strips:
            norm = normalised(block.norm2, hidden)
            for top, rows in self.convolved(hidden, block.conv2, SAME, norm):
                before = x.read(top, top + rows.shape[2])
                if block.conv_shortcut is not None:
                    before = block.conv_shortcut(before)
                yield top, rows.add_(before)

        y = self.stored(added(), height, over=x)
        self.space.release(hidden.storage)
        return y

    def _tiny(self, block: TinyBlock, x: Activation) -> Activation:
        height = x.shape[2]
        first, second, third = block.convolutions()
        one = self.stored(self.convolved(x, first, SAME), height)
        two = self.stored(self.convolved(one, second, SAME, F.relu), height)
        self.space.release(one.storage)

        def added() -> Strips:
            for top, rows in self.convolved(two, third, SAME, F.relu):
                yield top, rows.add_(x.read(top, top + rows.shape[2])).relu_()

        y = self.stored(added(), height, over=x)
        self.space.release(two.storage)
        return y

    def _rectified(self, x: Activation) -> Strips:
        _, channels, height, width = x.shape
        step = max(1, self._strip // (channels * width * self._value_bytes))
        for top in range(0, height, step):
            yield top, F.relu(x.read(top, min(top + step, height)))

    def _attention(self, block: AttentionBlock, x: Activation) -> Activation:
        _, channels, height, width = x.shape
        norm = normalised(block.group_norm, x)
        step = max(1, self._strip // (channels * width * self._value_bytes))
        strips = [(top, min(top + step, height)) for top in range(0, height, step)]

        def tokens(top: int, bottom: int) -> Tensor:  # (1, 1, N, C)
            return norm(x.read(top, bottom)).permute(0, 2, 3, 1).reshape(1, 1, -1, channels)

        keys = values = torch.empty(0)
        for top, bottom in strips:
            here = tokens(top, bottom)
            key, value = block.to_k(here), block.to_v(here)
            if top == 0:
                keys, values = (key.new_empty(1, 1, height * width, channels) for _ in range(2))
            keys[:, :, top * width : bottom * width] = key
            values[:, :, top * width : bottom * width] = value

        def attended() -> Strips:
            for top, bottom in strips:
                query = block.to_q(tokens(top, bottom))
                found = block.to_out[0](F.scaled_dot_product_attention(query, keys, values))
                found = found.view(1, bottom - top, width, channels).permute(0, 3, 1, 2)
                yield top, x.read(top, bottom) + found

        return self.stored(attended(), height, over=x)

    def convolved(
        self, x: Rows, layer: nn.Conv2d, form: Form, before: Pointwise = _as_it_is
    ) -> Strips:
        """layer(before(x)), with the resampling of its form."""
        _, _, height, width = x.shape
        convolve = convolution(layer, form)
        units = height // form.taken
        step = max(1, self._strip // self._unit(layer, form, width))
        for first in range(0, units, step):
            last = min(first + step, units)
            top, bottom = form.taken * first - form.above, form.taken * last + form.below
            inside = before(x.read(max(top, 0), min(bottom, height)))
            inside = inside.to(layer.weight.dtype).contiguous(memory_format=torch.channels_last)
            beyond = max(-top, 0), max(bottom - height, 0)
            window = F.pad(inside, (0, 0, *beyond)) if any(beyond) else inside
            yield form.given * first, convolve(window)

    def stored(self, strips: Strips, height: int, over: Activation | None = None) -> Activation:
        """over: what is read for the last time, each row before it is written: its room is used
        if it suffices, else released."""
        stored = None
        for top, rows in strips:
            _, channels, _, width = rows.shape
            if stored is None:
                fits = over is not None and over.shape[1] * over.shape[3] >= channels * width
                if over is None or not fits:
                    storage = self.space.store(channels * height * width, rows.dtype)
                else:
                    storage = over.storage
                stored = Activation(storage, channels, height, width)
            stored.write(top, rows)
        assert stored is not None
        if over is not None and stored.storage is not over.storage:
            self.space.release(over.storage)
        return stored
