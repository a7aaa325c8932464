"""`python -m ldm_ae` is `ldm-ae`."""

import sys

from ldm_ae.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
