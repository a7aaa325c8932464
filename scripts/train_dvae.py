"""Train a model of kind `dvae`."""

from ldm_ae.train.main import main

if __name__ == "__main__":
    main("dvae")
