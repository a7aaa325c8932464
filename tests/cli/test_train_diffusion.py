"""From pictures to samples by two commands, and users' mistakes."""

from pathlib import Path

import pytest

from ldm_ae.cli.main import main

# diffusers' solver turns tensors into arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TINY = (
    " denoiser.num_layers=1 denoiser.num_heads=1 denoiser.head_dim=8 denoiser.patch_size=4"
    " train.steps=2 train.batch_size=2 train.num_workers=0 sampling.num_steps=2 sampling.rows=1"
    " labels=[]"
)


def test_a_store_becomes_a_pipeline(work: Path, run, capsys: pytest.CaptureFixture[str]) -> None:
    run("encode-dataset photos latents --model ./kl --size 16 --threads 1")
    run(f"train-diffusion latents --model ./kl --out runs/a{TINY}")
    assert 'DiTPipeline.from_pretrained("runs/a/pipeline")' in capsys.readouterr().out
    assert (work / "runs" / "a" / "pipeline" / "model_index.json").is_file()
    run(f"train-diffusion latents --model ./kl --out runs/a --resume auto{TINY}")


def test_the_model_may_be_a_variant_in_a_subfolder(work: Path, run) -> None:
    (work / "whole").mkdir()
    vae = (work / "kl").rename(work / "whole" / "second")
    weights = vae / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    source = "--model ./whole --subfolder second --variant fp16"
    run(f"encode-dataset photos latents {source} --size 16 --threads 1")
    run(f"train-diffusion latents {source} --out runs/a{TINY}")
    assert (work / "runs" / "a" / "pipeline" / "model_index.json").is_file()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nowhere --model ./kl --out runs/b", "nowhere holds no latents"),
        ("photos --model ./kl --out runs/b", "photos holds no latents"),
        ("latents --model kl16 --out runs/b", "name the model that wrote the whole store"),
        ("latents --model ./kl --out runs/b train.sped=1", "train.sped: unknown key"),
        ("latents --model ./kl --out runs/b --config kl_f9", "config kl_f9 is neither"),
        ("latents --model ./kl --out runs/b --resume latest", "resume=latest: no checkpoint"),
        ("latents --model ./kl --out runs/b train=7", "train"),
        ("latents --model ./kl --out runs/b train.run_dir=c", "train.run_dir=c: say it by the arg"),
        ("latents --model ./kl --out runs/b model=kl16", "model=kl16: say it by the arg"),
        ("latents --model ./kl --out runs/b variant=fp16", "variant=fp16: say it by the arg"),
    ],
)
def test_mistakes_end_with_one_message(
    work: Path, line: str, message: str, run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("encode-dataset photos latents --model ./kl --size 16 --threads 1")
    capsys.readouterr()
    assert main(["train-diffusion", *line.split()]) == 2
    shown = capsys.readouterr().err
    assert message in shown and shown.count("error: ") == 1
    assert not (work / "runs" / "b" / "config.yaml").exists()
