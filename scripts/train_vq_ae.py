"""Train a model of kind `vq`: accelerate launch scripts/train_vq_ae.py --config FILE [key=value ...]"""

from ldm_ae.train.main import main

if __name__ == "__main__":
    main("vq")
