import pytest
import torch

from ldm_ae.losses.adversarial import AdversarialConfig
from ldm_ae.losses.critic import Critic, build_critic


def critic(**settings) -> Critic:
    return build_critic(AdversarialConfig(base_channels=8, num_layers=1, **settings), 3)


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_the_smallest_image_has_logits(spectral_norm: bool) -> None:
    config = AdversarialConfig(base_channels=8, num_layers=2, spectral_norm=spectral_norm)
    side = config.smallest_image
    network = build_critic(config, 1)
    assert network(torch.zeros(2, 1, side, side)).shape == (2, 1, 1, 1)
    with pytest.raises(RuntimeError):
        network(torch.zeros(2, 1, side - 4, side - 4))


def test_anchors_start_at_the_first_means_and_then_follow_slowly() -> None:
    ours = critic()
    ours.count_update(torch.tensor([1.0]), torch.tensor([-1.0]), decay=0.9)
    assert (float(ours.real_anchor), float(ours.fake_anchor)) == (1.0, -1.0)
    ours.count_update(torch.tensor([2.0]), torch.tensor([-1.0]), decay=0.9)
    assert float(ours.real_anchor) == pytest.approx(1.1)
    assert ours.num_updates == 2


def test_the_state_dict_holds_counter_and_anchors() -> None:
    ours, other = critic(), critic()
    ours.count_update(torch.tensor([3.0]), torch.tensor([-2.0]), decay=0.9)
    other.load_state_dict(ours.state_dict())
    assert other.num_updates == 1
    assert float(other.real_anchor) == 3.0
    assert float(other.fake_anchor) == -2.0
