from pathlib import Path

import pytest

from plmdepth.proteins.tasks import published
from plmdepth.proteins.tasks.download import Remote, mismatch

REMOTES = [
    remote
    for value in vars(published).values()
    for remote in (value if isinstance(value, tuple) else (value,))
    if isinstance(remote, Remote)
]


def test_the_list_is_walked() -> None:
    assert len(REMOTES) == 21
    assert len({remote.url for remote in REMOTES}) == 21


@pytest.mark.parametrize("remote", REMOTES, ids=lambda remote: remote.name)
def test_every_file_is_at_a_fixed_commit_and_can_be_checked(remote: Remote) -> None:
    assert remote.url.startswith("https://")
    assert any(len(part) == 40 and int(part, 16) for part in remote.url.split("/") if len(part) == 40)
    if remote.sha256:
        assert remote.size is not None
        assert len(remote.sha256) == 64
    else:
        assert remote.lines or len(remote.git_blob or "") == 40


@pytest.mark.parametrize("name", ["CB513_HHblits.csv", "TS115_HHblits.csv"])
def test_the_sums_are_those_of_files_at_hand(name: str, shared_data: Path) -> None:
    remote = next(remote for remote in REMOTES if remote.name == name)
    assert mismatch(shared_data / "secondary_structure" / name, remote) is None
