"""JSON from strangers: a mapping, or one clear error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ldm_ae.errors import UserError

_MAX_BYTES = 1 << 26


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file. Raises UserError for anything else, for numbers that are none
    (NaN, Infinity, 1e400), and for what is nested deeper than Python's stack."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UserError(f"{path} has more than {_MAX_BYTES} bytes")
        content = json.loads(path.read_bytes(), parse_float=_finite, parse_constant=_finite)
    except RecursionError as error:
        raise UserError(f"{path} is not valid JSON here: it is nested too deeply") from error
    except UserError:
        raise
    except ValueError as error:  # also a file that is not UTF-8
        raise UserError(f"{path} is not valid JSON: {error}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no mapping")
    return content


def _finite(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ValueError(f"{text[:20]} is not a finite number")
    return value
