"""A small denoiser on a latent store, and the pipeline that samples with it.

    store  ->  scaled latents and classes  ->  denoiser (diffusers' DiT)  ->  DiTPipeline's folder

`latents` reads the store, `denoiser` says what is learned, `loop` trains it with what `train` has,
and `pipeline` puts it together with the autoencoder.
"""

from ldm_ae.installed import require_extra

require_extra("train")
