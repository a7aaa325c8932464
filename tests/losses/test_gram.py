import torch

from ldm_ae.losses.gram import gram_distance, gram_matrix


def test_by_hand() -> None:
    a = torch.tensor([[3.0, 0.0], [0.0, 5.0]]).view(1, 2, 1, 2)  # two positions, one channel each
    b = torch.tensor([[3.0, 2.0], [0.0, 0.0]]).view(1, 2, 1, 2)  # the first channel at both
    assert torch.equal(gram_matrix(a)[0], torch.eye(2) / 2)
    assert torch.equal(gram_matrix(b)[0], torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert gram_distance([a], [b]).tolist() == [0.5]
    assert gram_distance([a, a], [b, a]).tolist() == [0.25]


def test_only_where_it_lies_does_not_matter() -> None:
    features = torch.rand(2, 5, 4, 6)
    moved = features.flatten(2)[..., torch.randperm(24)].view_as(features)
    assert float(gram_distance([features], [moved]).max()) < 1e-12


def test_gradient_is_finite_where_all_features_are_0() -> None:
    features = torch.rand(1, 4, 3, 3)
    features[..., 0, 0] = 0
    features.requires_grad_()
    gram_distance([features], [torch.rand(1, 4, 3, 3)]).sum().backward()
    assert torch.isfinite(features.grad).all()
    assert float(features.grad.abs().max()) > 0
