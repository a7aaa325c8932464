"""Write docs/config.md, every key of a config, from the dataclasses that read them."""

import argparse
from pathlib import Path

from ldm_ae.config_keys import page
from ldm_ae.files import replacing
from ldm_ae.train.config import Experiment

PAGE = Path(__file__).parents[1] / "docs" / "config.md"
HEADING = "Every key of a config"


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with replacing(PAGE) as aside:
        aside.write_text(page(Experiment, HEADING), encoding="utf-8")


if __name__ == "__main__":
    main()
