from __future__ import annotations

import pytest

from ldm_ae.data.images import BrokenImageError
from ldm_ae.data.views import check_usable


def test_no_usable_image_is_an_error_with_the_first_reason() -> None:
    def use(index: int) -> None:
        raise BrokenImageError(f"{index}.png: broken")

    with pytest.raises(ValueError, match=r"none of 1000 images tried \(of 5000\).*0\.png: broken"):
        check_usable("photos", 5000, use)
