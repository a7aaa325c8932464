import torch

from ldm_ae.distributed import sum_over_ranks, take_across_ranks, world


def test_one_process_is_a_world_of_its_own() -> None:
    rows = torch.arange(6.0).view(3, 2)
    assert world() == (0, 1)
    assert sum_over_ranks(rows) is rows
    assert torch.equal(take_across_ranks(rows, torch.tensor([2, 0])), rows[[2, 0]])
