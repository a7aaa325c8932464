"""From a codebook's config to the quantizer: the one list of kinds."""

from typing import Annotated

from ldm_ae.config import TAGGED_BY_KIND
from ldm_ae.quantizers.base import Quantizer, QuantizerConfig
from ldm_ae.quantizers.bsq import BinarySphericalQuantizer, BSQConfig
from ldm_ae.quantizers.fsq import FiniteScalarQuantizer, FSQConfig
from ldm_ae.quantizers.gumbel import GumbelConfig, GumbelQuantizer
from ldm_ae.quantizers.vq import VectorQuantizer, VQConfig

CodebookConfig = Annotated[VQConfig | GumbelConfig | BSQConfig | FSQConfig, TAGGED_BY_KIND]

QUANTIZERS: dict[type[QuantizerConfig], type[Quantizer]] = {
    VQConfig: VectorQuantizer,
    GumbelConfig: GumbelQuantizer,
    BSQConfig: BinarySphericalQuantizer,
    FSQConfig: FiniteScalarQuantizer,
}


def build_quantizer(config: QuantizerConfig, dim: int) -> Quantizer:
    """A quantizer for latents of `dim` channels, with random codes where they are learned."""
    return QUANTIZERS[type(config)](config, dim)
