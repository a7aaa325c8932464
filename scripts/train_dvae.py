"""Train a model of kind `dvae`: accelerate launch scripts/train_dvae.py --config FILE [key=value ...]"""

from ldm_ae.train.main import main

if __name__ == "__main__":
    main("dvae")
