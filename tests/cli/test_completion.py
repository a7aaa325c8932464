import subprocess
from pathlib import Path

import pytest

from ldm_ae.cli.completion import SHELLS
from ldm_ae.cli.main import VERBS, main


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_names_every_verb_and_their_options(shell: str, capsys) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(verb in script for verb in VERBS)
    assert "--dry-run" in script


def test_bash_completes_with_it(tmp_path: Path, capsys) -> None:
    for name in ("photo.png", "runs/kl"):
        (tmp_path / name).mkdir(parents=True)
    main(["completion", "bash"])
    ask = 'COMP_WORDS=(ldm-ae %s); COMP_CWORD=%d; %s; echo "${COMPREPLY[@]}"'
    function = '$(complete -p ldm-ae | sed "s/.*-F \\([^ ]*\\).*/\\1/")'
    typed = {
        "comp": "compress completion",
        "push --d": "--dry-run",
        "compress pho": "photo.png",
        "compress photo.png --model runs/k": "runs/kl",
        "compress photo.png --quality p": "",
    }
    lines = [capsys.readouterr().out]
    lines += [ask % (words, len(words.split()), function) for words in typed]
    command = ["bash", "-c", "\n".join(lines)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert found.stdout.splitlines() == list(typed.values())


def test_zsh_completes_file_names(capsys) -> None:
    """As text: zsh itself is not everywhere."""
    main(["completion", "zsh"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "folder, or the name" in line]
    assert lines and all(line.endswith(':_files"') for line in lines)
