import pytest
import torch

from ldm_ae.errors import UserError
from ldm_ae.models import attention_time, strips
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.kl import KLConfig

ATTENTIVE = CoderConfig(
    channels=(8, 16, 8), num_res_blocks=2, attention_factors=(2,), norm_groups=2
)


@torch.no_grad()
def test_attention_that_takes_too_long_is_refused_at_once(
    make_model, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(KLConfig(coder=ATTENTIVE))
    latents = torch.rand(1, 4, 64, 64)  # attention at 64 and at 128 positions a side
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(attention_time.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(attention_time, "_QUICK_OPERATIONS", 4 * 8 * 64**4)
    monkeypatch.setattr(strips._Walk, "stored", None)
    with pytest.raises(UserError, match=r"over 16384 positions would take about 0.3 hours here"):
        monkeypatch.setattr(attention_time, "MAX_ATTENTION_SECONDS", 900)
        model.decode(latents, "1GB")
