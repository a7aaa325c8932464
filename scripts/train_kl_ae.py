"""Train a model of kind `kl`: accelerate launch scripts/train_kl_ae.py --config FILE [key=value ...]"""

from ldm_ae.train.main import main

if __name__ == "__main__":
    main("kl")
