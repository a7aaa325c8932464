"""Triton's kernels of `norm_triton`. x: (B, positions, channels); programs of axis 1 are images.

Compute is fp32 whatever the type of x. scale and shift: (B, channels), z = scale x + shift.
"""

# mypy: allow-untyped-defs, allow-untyped-decorators

import triton
import triton.language as tl


@triton.jit
def _tile(start, end, channels, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Offsets of positions x channels within one image, and which of them exist."""
    rows = start + tl.arange(0, ROWS)
    columns = tl.arange(0, COLUMNS)
    exist = (rows < end)[:, None] & (columns < channels)[None, :]
    return rows.to(tl.int64)[:, None] * channels + columns[None, :], exist


@triton.jit
def _slope(z):
    """Of silu."""
    share = tl.sigmoid(z)
    return share * (1 + z * (1 - share))


@triton.jit
def sum_values(x, sums, positions, channels, part, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Of x and its square, less the first value of the channel: no large numbers cancel."""
    image, number = tl.program_id(1), tl.program_id(0)
    columns = tl.arange(0, COLUMNS)
    there = columns < channels
    x += image.to(tl.int64) * positions * channels
    first = tl.load(x + columns, there, 0).to(tl.float32)
    total = tl.zeros([COLUMNS], tl.float32)
    squares = tl.zeros([COLUMNS], tl.float32)
    end = tl.minimum((number + 1) * part, positions)
    for start in range(number * part, end, ROWS):
        offsets, exist = _tile(start, end, channels, ROWS, COLUMNS)
        value = tl.load(x + offsets, exist, 0).to(tl.float32) - first[None, :]
        value = tl.where(exist, value, 0.0)
        total += tl.sum(value, 0)
        squares += tl.sum(value * value, 0)
    sums += (image * tl.num_programs(0) + number) * 2 * channels
    tl.store(sums + columns, total, there)
    tl.store(sums + channels + columns, squares, there)


@triton.jit
def activate(x, y, scale, shift, positions, channels, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    image, start = tl.program_id(1), tl.program_id(0) * ROWS
    columns = tl.arange(0, COLUMNS)
    there = columns < channels
    factor = tl.load(scale + image * channels + columns, there, 0)
    constant = tl.load(shift + image * channels + columns, there, 0)
    offsets, exist = _tile(start, positions, channels, ROWS, COLUMNS)
    offsets += image.to(tl.int64) * positions * channels
    z = tl.load(x + offsets, exist, 0).to(tl.float32) * factor[None, :] + constant[None, :]
    tl.store(y + offsets, (z * tl.sigmoid(z)).to(y.dtype.element_ty), exist)


@triton.jit
def sum_slopes(
    x, grad, sums, scale, shift, mean, positions, channels, part,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Of dz and dz (x - mean), with z what silu sees."""
    image, number = tl.program_id(1), tl.program_id(0)
    columns = tl.arange(0, COLUMNS)
    there = columns < channels
    factor = tl.load(scale + image * channels + columns, there, 0)
    constant = tl.load(shift + image * channels + columns, there, 0)
    centre = tl.load(mean + image * channels + columns, there, 0)
    x += image.to(tl.int64) * positions * channels
    grad += image.to(tl.int64) * positions * channels
    total = tl.zeros([COLUMNS], tl.float32)
    products = tl.zeros([COLUMNS], tl.float32)
    end = tl.minimum((number + 1) * part, positions)
    for start in range(number * part, end, ROWS):
        offsets, exist = _tile(start, end, channels, ROWS, COLUMNS)
        value = tl.load(x + offsets, exist, 0).to(tl.float32)
        dz = tl.load(grad + offsets, exist, 0).to(tl.float32)  # 0 where nothing is
        dz *= _slope(value * factor[None, :] + constant[None, :])
        total += tl.sum(dz, 0)
        products += tl.sum(dz * (value - centre[None, :]), 0)
    sums += (image * tl.num_programs(0) + number) * 2 * channels
    tl.store(sums + columns, total, there)
    tl.store(sums + channels + columns, products, there)


@triton.jit
def differentiate(
    x, grad, grad_x, scale, shift, of_dz, of_x, rest, positions, channels,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """of_dz dz + of_x x + rest, the three for each channel of each image."""
    image, start = tl.program_id(1), tl.program_id(0) * ROWS
    columns = tl.arange(0, COLUMNS)
    there, place = columns < channels, image * channels + columns
    factor, constant = tl.load(scale + place, there, 0), tl.load(shift + place, there, 0)
    a, b = tl.load(of_dz + place, there, 0), tl.load(of_x + place, there, 0)
    c = tl.load(rest + place, there, 0)
    offsets, exist = _tile(start, positions, channels, ROWS, COLUMNS)
    offsets += image.to(tl.int64) * positions * channels
    value = tl.load(x + offsets, exist, 0).to(tl.float32)
    dz = tl.load(grad + offsets, exist, 0).to(tl.float32)
    dz *= _slope(value * factor[None, :] + constant[None, :])
    found = a[None, :] * dz + b[None, :] * value + c[None, :]
    tl.store(grad_x + offsets, found.to(grad_x.dtype.element_ty), exist)
