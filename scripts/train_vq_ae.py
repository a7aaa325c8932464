"""`ldm-ae train` for models with a codebook of kind `vq`."""

import sys

from ldm_ae.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", "--kind", "vq", *sys.argv[1:]]))
