import copy

import pytest
import torch
from torch import nn

from ldm_ae.train.muon import Muon, muon_groups, orthogonalize


@pytest.mark.parametrize("in_bf16", [False, True])
def test_orthogonalised_matrices_have_singular_values_near_one(in_bf16: bool) -> None:
    for shape in ((8, 72), (72, 8), (16, 16)):
        matrices = torch.randn(3, *shape)
        result = orthogonalize(matrices, in_bf16)
        assert result.dtype == torch.float32
        values = torch.linalg.svdvals(result)
        assert float(values.min()) > 0.5 and float(values.max()) < 1.3
        u, _, v = torch.linalg.svd(matrices, full_matrices=False)
        cosines = torch.sum(result * (u @ v), dim=(1, 2)) / (u @ v).norm(dim=(1, 2)) ** 2
        assert (cosines > 0.8).all() and (cosines < 1.2).all()


def test_matrices_of_one_shape_move_as_each_would_alone() -> None:
    torch.manual_seed(0)
    together = nn.ModuleList(nn.Conv2d(4, 6, 3) for _ in range(3))
    alone = copy.deepcopy(together)
    optimizers = [Muon(muon_groups(together.named_parameters(), 0.02))]
    optimizers += [Muon(muon_groups(layer.named_parameters(), 0.02)) for layer in alone]
    for mine, theirs in zip(together.parameters(), alone.parameters(), strict=True):
        mine.grad = torch.randn_like(mine)
        theirs.grad = mine.grad.clone()
    for optimizer in optimizers:
        optimizer.step()
    for mine, theirs in zip(together.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_groups_split_by_shape_and_keep_codebooks_with_adamw() -> None:
    network = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3), "embedding": nn.Embedding(5, 2)})
    matrices, others = muon_groups(network.named_parameters(), 0.02)
    assert [tuple(p.shape) for p in matrices["params"]] == [(4, 3, 3, 3)]
    assert {tuple(p.shape) for p in others["params"]} == {(4,), (5, 2)}


def test_biases_move_as_adamw_moves_them() -> None:
    torch.manual_seed(0)
    ours, reference = nn.Linear(4, 3), nn.Linear(4, 3)
    reference.load_state_dict(ours.state_dict())
    muon = Muon(muon_groups(ours.named_parameters(), 0.02), lr=1e-2)
    adamw = torch.optim.AdamW(reference.parameters(), lr=1e-2)
    for _ in range(3):
        for network, optimizer in ((ours, muon), (reference, adamw)):
            for parameter in network.parameters():
                parameter.grad = torch.ones_like(parameter)
            optimizer.step()
    torch.testing.assert_close(ours.bias, reference.bias)
    assert not torch.allclose(ours.weight, reference.weight)


def test_a_quadratic_is_minimised() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 6, bias=False)
    target = torch.randn(6, 6)
    optimizer = Muon(muon_groups(layer.named_parameters(), 0.1), lr=1e-2, weight_decay=0.0)
    for step in range(150):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * (1 - step / 150)
        optimizer.zero_grad()
        (layer.weight - target).square().sum().backward()
        optimizer.step()
    assert float((layer.weight - target).detach().square().mean()) < 1e-2
