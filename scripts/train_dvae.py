"""`ldm-ae train` for models of kind `discrete`."""

import sys

from ldm_ae.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", "--kind", "discrete", *sys.argv[1:]]))
