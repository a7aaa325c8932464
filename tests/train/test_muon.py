import torch
from torch import nn

from ldm_ae.train.muon import Muon, muon_groups, orthogonalize


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    for shape in ((8, 72), (72, 8), (16, 16)):
        matrix = torch.randn(*shape)
        values = torch.linalg.svdvals(orthogonalize(matrix))
        assert float(values.min()) > 0.5 and float(values.max()) < 1.3
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        cosine = torch.sum(orthogonalize(matrix) * (u @ v)) / (u @ v).norm() ** 2
        assert 0.8 < float(cosine) < 1.2


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
