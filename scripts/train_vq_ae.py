"""Train a model of kind `vq`."""

from ldm_ae.train.main import main

if __name__ == "__main__":
    main("vq")
