"""Arrays out of a prior's file, checked."""

from collections.abc import Mapping, Sequence

import numpy as np

from ldm_ae.errors import UserError

Arrays = Mapping[str, np.ndarray]


def array(arrays: Arrays, name: str, dtype: type, shape: Sequence[int | None]) -> np.ndarray:
    """One named array of this type and shape (None: any positive length), or UserError."""
    if name not in arrays:
        raise UserError(f"prior: {name} is missing")
    found = arrays[name]
    fits = len(found.shape) == len(shape) and all(
        size == wanted or (wanted is None and size > 0)
        for size, wanted in zip(found.shape, shape, strict=True)
    )
    if found.dtype != dtype or not fits:
        wanted = "x".join("n" if size is None else str(size) for size in shape)
        raise UserError(
            f"prior: {name} is {found.dtype} of shape {found.shape}, expected"
            f" {np.dtype(dtype).name} {wanted}"
        )
    return found
