"""What pushing models and pushing datasets to the hub have in common: names, logins, repositories, errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError
from huggingface_hub.utils import validate_repo_id

from cli.errors import InputError, first_line


NOT_LOGGED_IN = "this machine is not logged in to the hub: call `hf auth login`, or set HF_TOKEN"


def is_hub_id(name: str) -> bool:
    """Tell whether the hub could have something under this name, such as user/name."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def check_upload(repo: str) -> None:
    """Raise InputError for what is no hub id, and without a login: before work that would be for nothing."""
    if not is_hub_id(repo):
        raise InputError(f"--repo {repo} is no hub id: give one like user/name")
    if get_token() is None:
        raise InputError(NOT_LOGGED_IN)


def make_repo(api: HfApi, repo: str, private: bool, repo_type: str | None = None) -> str:
    """Make a repository unless it is there, and return its address.

    Raises InputError if it is there for everybody to see, and should be private.
    """
    url = api.create_repo(repo, repo_type=repo_type, private=private or None, exist_ok=True)
    if private and not api.repo_info(repo, repo_type=repo_type).private:
        raise InputError(f"{repo} exists and is public: make it private in its settings, or choose another")
    return str(url)


@contextmanager
def uploading(repo: str) -> Iterator[None]:
    """Raise InputError for what may go wrong between here and the hub."""
    try:
        yield
    except InputError:
        raise
    # Besides its own errors those of the network, of metadata that it refuses, and of hf_xet, a RuntimeError.
    except (OSError, HTTPError, ValueError, RuntimeError) as error:
        raise InputError(f"the hub did not take {repo}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 401:
        return "it does not accept the token; call `hf auth login` again"
    if status == 403:
        return "the token may not write there; use one that may, `hf auth login`, or another name"
    reason = first_line(error)
    if isinstance(error, HTTPError) and status is None:
        reason = f"it cannot be reached ({reason})"
    return f"{reason}; call again, and what has arrived is not sent again"
