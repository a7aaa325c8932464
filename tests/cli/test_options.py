"""The options that say which model and where it runs mean the same to every verb that has them."""

import shutil
from pathlib import Path

import pytest

VERBS = {
    "compress": "compress photos/a.png new.lae --model {}",
    "decompress": "decompress a.lae new.png --model {}",
    "calibrate": "calibrate {} --images photos --prior factorised",
    "evaluate": "evaluate {} photos --metrics psnr",
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_model_may_be_a_variant_in_a_subfolder(verb: str, work: Path, run, fail) -> None:
    run("compress photos/a.png a.lae --model ./kl")
    (work / "whole").mkdir()
    folder = (work / "kl").rename(work / "whole" / "second")
    weights = folder / "diffusion_pytorch_model.safetensors"
    for variant in ("fp16", "bf16"):
        shutil.copy(weights, weights.with_name(f"diffusion_pytorch_model.{variant}.safetensors"))
    weights.unlink()
    line = VERBS[verb].format("./whole")
    run(f"{line} --subfolder second --variant fp16")
    assert "choose with variant=" in fail(f"{line} --subfolder second")
    assert "whole has no config.json" in fail(f"{line} --variant fp16")


@pytest.mark.parametrize("verb", VERBS)
def test_a_device_that_is_not_there_is_named_as_it_was_given(
    verb: str, work: Path, run, fail
) -> None:
    run("compress photos/a.png a.lae --model ./kl")
    line = VERBS[verb].format("./kl")
    assert "--device moon: torch cannot compute there" in fail(f"{line} --device moon")


@pytest.mark.parametrize("verb", ["compress", "decompress"])
def test_memory_can_be_limited(verb: str, work: Path, run, fail) -> None:
    run("compress photos/a.png a.lae --model ./kl")
    line = VERBS[verb].format("./kl")
    assert "max_memory='few'" in fail(f"{line} --max-memory few")
    run(f"{line} --max-memory 4GB")
