"""Training, from a config to an export; needs the extra `train`."""

from ldm_ae.installed import require_extra

require_extra("train")
