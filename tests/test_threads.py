import pytest
import torch

from ldm_ae.threads import using_threads


def test_threads_are_as_many_as_before_whatever_happens() -> None:
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="stop"), using_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise RuntimeError("stop")
    assert torch.get_num_threads() == before
