"""Train a model of kind `plain`: accelerate launch scripts/train_plain_ae.py --config FILE [key=value ...]"""

from ldm_ae.train.main import main

if __name__ == "__main__":
    main("plain")
