import pytest
import torch
from torch import nn

from ldm_ae.train.ema import WeightAverage, ema_decay


def test_average_against_a_slow_reference() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average = WeightAverage(network, decay=0.3)
    expected = network[0].weight.detach().clone()
    for step in range(5):
        with torch.no_grad():
            network[0].weight.add_(torch.randn(3, 2))
        network(torch.randn(4, 2))  # moves the batch norm's buffers
        average.update(network, step)
        decay = ema_decay(step, 0.3)
        expected = decay * expected + (1 - decay) * network[0].weight.detach()
    torch.testing.assert_close(average.model[0].weight, expected)
    assert int(average.model[1].num_batches_tracked) == 5
    assert not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())


def test_average_has_a_short_memory_at_first() -> None:
    assert ema_decay(0, 0.999) == pytest.approx(0.1)
    assert ema_decay(10**6, 0.999) == 0.999
