"""The context priors once more, after FORMAT.md, position by position in Python's integers."""

import math

import numpy as np

CORNERS = [(0, 0), (1, 1), (0, 1), (1, 0)]


def passes(height: int, width: int) -> list[tuple[int, int, list[tuple[int, int]]]]:
    """(stride, corner, positions) of each pass."""
    plan = [(8, 0)] + [(stride, corner) for stride in (8, 4, 2, 1) for corner in (1, 2, 3)]
    found = []
    for stride, corner in plan:
        i, j = CORNERS[corner]
        rows = range(i * stride, height, 2 * stride)
        cols = range(j * stride, width, 2 * stride)
        if len(rows) and len(cols):
            found.append((stride, corner, [(y, x) for y in rows for x in cols]))
    return found


def seen(values: np.ndarray, stride: int, corner: int, y: int, x: int) -> list[int]:
    """values (C, h, w) -> v of the position (y, x)."""
    height, width = values.shape[1:]
    a, b = y // (2 * stride), x // (2 * stride)
    vector = []
    for other, (i, j) in enumerate(CORNERS):
        for channel in range(len(values) + 1):
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    row = (2 * (a + down) + i) * stride
                    col = (2 * (b + right) + j) * stride
                    inside = 0 <= row < height and 0 <= col < width and other < corner
                    if channel == len(values):
                        vector.append(256 * inside)
                    else:
                        vector.append(int(values[channel, row, col]) if inside else 0)
    return vector


def told(stride: int, corner: int, step_octaves: int) -> list[int]:
    t, kind = step_octaves // 4, 3 if corner == 0 else {1: 0, 2: 1}.get(stride, 2)
    q = t * t // 256
    vector = [0] * 8 + [q, t * q // 256]
    vector[kind], vector[4 + kind] = 256, t
    return vector


class Network:
    def __init__(self, arrays: dict, corner: int) -> None:
        prefix = f"net{max(corner - 1, 0)}."
        self.weights = {
            name.removeprefix(prefix): value.astype(object)
            for name, value in arrays.items()
            if name.startswith(prefix)
        }

    def features(self, v: list[int], u: list[int]) -> np.ndarray:
        w = self.weights
        hidden = [relu(x) for x in w["first"] @ v + w["first_condition"] @ u]
        return np.array([relu(x) for x in w["second"] @ hidden + w["second_condition"] @ u])

    def row(self, v: list[int], u: list[int], here: list[int], j: int, size: int, octaves: int):
        """(row, offset) of channel j at a step of `size` units."""
        w, f, c = self.weights, self.features(v, u), len(here)
        r = w["out"].shape[1]
        part = slice(r * j, r * j + r)
        sums = w["head"][part] @ f + w["head_here"][part] @ here + w["head_condition"][part] @ u
        g = [relu(x) for x in sums]
        mean = w["linear"][j] @ v + w["mean_here"][j] @ here
        m = clip(mean + w["out"][j] @ g + w["out_condition"][j] @ u)
        a = clip(w["out"][c + j] @ g + w["out_condition"][c + j] @ u)
        most = 32767 // size
        o = min(max((2 * m + size) // (2 * size), -most), most)
        e = min(max(8 * (2 * (m - o * size) + size) // (2 * size), 0), 7)
        i = min(max((a - octaves + 1280 + 32) // 64, 0), 40)
        return 8 * i + e, o

    def counts(self, v: list[int], u: list[int], codes: np.ndarray) -> list[int]:
        w, f = self.weights, self.features(v, u)
        sums = w["features"] @ f + w["features_condition"] @ u + w["linear"] @ v
        logs = [rescale(x) for x in codes.astype(object) @ [clip(x) for x in sums]]
        powers = [power(min(max(logs) - each, 5119)) for each in logs]
        counts = [1 + p * (2**24 - len(codes)) // sum(powers) for p in powers]
        counts[logs.index(max(logs))] += 2**24 - sum(counts)
        return counts


def rescale(x: int) -> int:
    return (x + 2048) // 4096


def clip(x: int) -> int:
    return min(max(rescale(x), -32767), 32767)


def relu(x: int) -> int:
    return min(max(rescale(x), 0), 32767)


def power(d: int) -> int:
    """floor(2^(20 - d / 256)): the largest p with p^256 <= 2^(5120 - d)."""
    low = int(2 ** (20 - d / 256))
    return max(p for p in range(max(low - 2, 0), low + 3) if p**256 <= 2 ** (5120 - d))


def octaves(size: int) -> int:
    return math.floor(256 * math.log2(size / 256) + 1e-9)
