"""What a latent costs before any entropy coding, in bits."""

import math

FP16_BITS = 16
RGB_BITS_PER_PIXEL = 24


def continuous_bits(height: int, width: int, downsampling_factor: int, channels: int) -> int:
    """Bits of a latent whose values are stored as fp16 numbers."""
    return FP16_BITS * channels * num_positions(height, width, downsampling_factor)


def index_bits(height: int, width: int, downsampling_factor: int, codebook_size: int) -> int:
    """Bits of a grid of codes, ceil(log2 K) each."""
    bits_per_code = (codebook_size - 1).bit_length()
    return bits_per_code * num_positions(height, width, downsampling_factor)


def num_positions(height: int, width: int, downsampling_factor: int) -> int:
    """Latent positions of an image whose sides are padded to a multiple of f."""
    return math.ceil(height / downsampling_factor) * math.ceil(width / downsampling_factor)
