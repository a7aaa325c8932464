import pytest
import torch

from ldm_ae.quantizers.usage import codebook_usage, count_codes


def test_even_use_of_half_the_codebook() -> None:
    usage = codebook_usage(count_codes(torch.tensor([[0, 1], [2, 3]]), 8))
    assert (usage.share, usage.num_tokens) == (0.5, 4)
    assert usage.perplexity == pytest.approx(4.0)


def test_one_code_has_perplexity_one() -> None:
    assert codebook_usage(torch.tensor([9, 0])).perplexity == pytest.approx(1.0)


def test_no_tokens_is_an_error() -> None:
    with pytest.raises(ValueError, match="no tokens"):
        codebook_usage(torch.zeros(4, dtype=torch.int64))
