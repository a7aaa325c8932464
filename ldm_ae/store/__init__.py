"""The latent store: a data set encoded once, for diffusion models to be trained on.

    source (files, tables, tars)  ->  views (crops, mirrored)  ->  latents  ->  rows  ->  shards

`job` says what is to be done and `encoder` does it, a batch at a time, wherever it is called;
`parts`, `pipeline` and `run` do it on one machine, `engines` on others; `latent_store` reads.
"""

from ldm_ae.installed import require_extra

require_extra("train")
