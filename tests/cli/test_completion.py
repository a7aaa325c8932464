import subprocess

import pytest

from ldm_ae.cli.completion import SHELLS
from ldm_ae.cli.main import VERBS, main


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_names_every_verb_and_their_options(shell: str, capsys) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(verb in script for verb in VERBS)
    assert "--dry-run" in script


def test_bash_completes_with_it(capsys) -> None:
    main(["completion", "bash"])
    ask = 'COMP_WORDS=(ldm-ae %s); COMP_CWORD=%d; %s; echo "${COMPREPLY[@]}"'
    function = '$(complete -p ldm-ae | sed "s/.*-F \\([^ ]*\\).*/\\1/")'
    lines = [capsys.readouterr().out, ask % ("comp", 1, function), ask % ("push --d", 2, function)]
    found = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True)
    assert found.stdout.split() == ["compress", "completion", "--dry-run"]
