"""Models on the Hugging Face hub: asked for by names that begin with `hub:` alone; sending them."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from ldm_ae.errors import UserError
from ldm_ae.installed import MissingExtraError

PREFIX = "hub:"
SECONDS = 8.0  # of the first contact: a name to be looked up, a connection, an answer
_REPOSITORY = r"[\w-][\w.-]*/[\w-][\w.-]*"
_NAME = re.compile(rf"(?P<repository>{_REPOSITORY})(/(?P<folder>[\w-][\w./-]*))?")
_SINGLE = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_FILES = (
    "config.json",
    "model_index.json",
    "digests.json",
    "prior*.safetensors",
    "diffusion_pytorch_model*",
)


def is_hub_name(source: str | Path) -> bool:
    return str(source).startswith(PREFIX)


def download(source: str | Path, subfolders: tuple[str, ...]) -> Path:
    """The local copy of a model's files on the hub, brought here unless it is; `source` is
    `hub:owner/model`, or that and a folder or a file of it; `subfolders` are taken where neither is
    named.

    With HF_HUB_OFFLINE only a copy that is here already counts. Raises UserError for another form
    of name, for what the hub does not have, and if it does not answer within seconds.
    """
    name = _NAME.fullmatch(str(source).removeprefix(PREFIX))
    if name is None or ".." in str(source):
        raise UserError(
            f"{source}: a model on the hub is {PREFIX}owner/model, or a folder or file of it"
        )
    api = _api()
    files = _files_of(api, name["repository"], str(source))
    inner = name["folder"] or ""
    folders = (inner,) if inner else ("", *subfolders)
    wanted = [f"{folder}/{file}".lstrip("/") for folder in folders for file in _FILES]
    safe = any(file.endswith(".safetensors") for file in files)
    if inner.endswith(_SINGLE):
        wanted, safe = [inner, inner.rpartition(".")[0] + ".yaml"], False
    try:
        place = api.snapshot_download(
            name["repository"],
            allow_patterns=wanted,
            ignore_patterns=["*.bin", "*.msgpack"] if safe else ["*.msgpack"],
            etag_timeout=SECONDS,
            local_files_only=files == [],
        )
    except (OSError, ValueError) as error:
        raise _unanswered(str(source), error) from error
    return Path(place) / inner


def require_repository(name: str) -> None:
    """Raise UserError for what is not of the form owner/model."""
    if re.fullmatch(_REPOSITORY, name) is None:
        raise UserError(f"{name}: a model on the hub is owner/model")


def upload(name: str, files: Mapping[str, Path | bytes], *, private: bool) -> str:
    """Add files to the repository `owner/model` in one commit; its address. It is made if need be.

    Raises UserError for another form of name, without a login, and for what the hub refuses.
    """
    require_repository(name)
    if is_offline():
        raise UserError(f"{name}: nothing can be sent while HF_HUB_OFFLINE is set")
    api = _api()
    from huggingface_hub import CommitOperationAdd

    try:
        api.create_repo(name, private=private, exist_ok=True)
        operations = [CommitOperationAdd(path, content) for path, content in files.items()]
        commit = api.create_commit(name, operations, commit_message="Model and card")
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name}: the hub does not take it ({reason}). Log in by `hf auth login`; --dry-run"
            " shows what would be sent"
        ) from error
    return str(commit.repo_url)


def first_contact(source: str, ask: Callable[[float], object]) -> object:
    """What `ask(seconds)` returns. Raises UserError for an error of the hub's client, and if there
    is no answer in time: a client's own deadlines do not count the look-up of names."""
    answer: list[object] = []
    error: list[Exception] = []

    def run() -> None:
        try:
            answer.append(ask(SECONDS / 2))
        except Exception as raised:  # clients raise what their transports do
            error.append(raised)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if not answer:
        reason = error[0] if error else TimeoutError(f"no answer in {SECONDS:g} s")
        raise _unanswered(source, reason) from reason
    return answer[0]


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _files_of(api, repository: str, source: str) -> list[str]:  # type: ignore[no-untyped-def]
    """Names of all files, none where only the local copy counts."""
    if is_offline():
        return []
    info = first_contact(source, lambda seconds: api.model_info(repository, timeout=seconds))
    return [file.rfilename for file in info.siblings]  # type: ignore[attr-defined]


def _api():  # type: ignore[no-untyped-def]
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingExtraError(
            'huggingface_hub not installed: pip install "ldm-ae[train]"'
        ) from error
    return HfApi()


def _unanswered(source: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(
        f"{source}: the hub does not give it ({reason}). Check the name and the network; with"
        " HF_HUB_OFFLINE=1 a copy that was fetched before is used"
    )
