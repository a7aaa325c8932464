"""`ldm-ae train` for models with a codebook of kind `gumbel`."""

import sys

from ldm_ae.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", "--kind", "gumbel", *sys.argv[1:]]))
