import pytest
import torch

from ldm_ae.train.build import build_perceptual_metric


def test_crops_too_small_for_the_perceptual_network_are_refused(make_experiment) -> None:
    experiment = make_experiment("loss.perceptual.net=embedded")
    with pytest.raises(ValueError, match="data.size=16 is too small for embedded"):
        build_perceptual_metric(experiment, torch.device("cpu"))


def test_perceptual_weight_without_a_network_is_refused(make_experiment) -> None:
    experiment = make_experiment("loss.perceptual_weight=1")
    with pytest.raises(ValueError, match="perceptual_weight=1.0 with loss.perceptual.net=none"):
        build_perceptual_metric(experiment, torch.device("cpu"))
