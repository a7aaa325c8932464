import pytest

LOGIT = "loss.reconstruction=logit_laplace"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "data.size=15",
            "data.size=15 is not divisible by the model's downsampling factor 2: use 14",
        ),
        ("data.channels=1", "data.channels=1 but model.coder.image_channels=3"),
        (LOGIT, "need each other"),
        ("train.steps=0", "train.steps=0"),
        ("train.lr=-1", "train.lr=-1"),
        ("train.ema_decay=1", "train.ema_decay=1"),
        ("train.sped=1", "train.sped: unknown key"),
        ("train.lr=fast", "train.lr=fast"),
    ],
)
def test_bad_values_are_named(make_experiment, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_experiment(override)
