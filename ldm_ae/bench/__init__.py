"""Measuring: comparison runs, rates and distortions, reports; needs the extra `bench`."""

from ldm_ae.installed import require_extra

require_extra("bench")
