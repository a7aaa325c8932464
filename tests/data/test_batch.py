from __future__ import annotations

import torch

from ldm_ae.data.batch import Batch, SkipLog


def test_each_skipped_image_is_named_once_and_every_replacement_counted() -> None:
    log = SkipLog()
    assert log.add(["a: bad", "b: small", "a: bad"]) == ["a: bad", "b: small"]
    assert log.add(["b: small"]) == []
    assert (log.num_replaced, log.num_images) == (4, 2)


def test_to_moves_images_and_keys() -> None:
    batch = Batch(torch.zeros(1, 3, 2, 2), torch.tensor([7]), ["a"], []).to("meta")
    assert batch.images.device.type == batch.keys.device.type == "meta"
    assert batch.names == ["a"]
