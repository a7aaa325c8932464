"""Train a model of kind `plain`."""

from ldm_ae.train.main import main

if __name__ == "__main__":
    main("plain")
