from __future__ import annotations

import torch

from ldm_ae.data.batch import Batch, SkipLog


def test_each_skipped_image_is_named_once_and_every_replacement_counted() -> None:
    def batch(skipped: list[str], cut: list[str]) -> Batch:
        return Batch(torch.zeros(0), torch.zeros(0), [], skipped, cut)

    log = SkipLog()
    assert log.summary() == ""
    first = [batch(["a: bad", "b: small"], []), batch(["a: bad"], ["c.gif"])]
    assert log.add(first) == ["a: bad", "b: small"]
    assert log.add([batch(["b: small"], ["c.gif", "d.tif"])]) == []
    assert (log.num_replaced, log.num_images) == (4, 2)
    assert log.summary() == (
        "2 images could not be used and were replaced; of 2 files only the first frame or page"
        " was used"
    )


def test_to_moves_images_and_keys() -> None:
    batch = Batch(torch.zeros(1, 3, 2, 2), torch.tensor([7]), ["a"], []).to("meta")
    assert batch.images.device.type == batch.keys.device.type == "meta"
    assert batch.names == ["a"]
