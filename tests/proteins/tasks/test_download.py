import hashlib
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.tasks.download import Remote, fetch, fetch_missing, mismatch
from tests.proteins.files import one_line

CONTENT = bytes(range(256)) * 40
HELLO_BLOB = "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object of "hello\n"


@dataclass
class Published:
    """What the server of a test serves, and what it was asked for."""

    files: dict[str, bytes]
    url: str = ""
    resumes: bool = True
    breaks_after: int | None = None
    ranges: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    def __init__(self, published: Published, *args: object) -> None:
        self.published = published
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.published.ranges.append(asked)
        if (content := self.published.files.get(self.path)) is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.published.resumes else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = self.published.breaks_after
        self.wfile.write(content[start : None if end is None else start + end])

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def published() -> Iterator[Published]:
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("splits/mask.fasta", ">a\n1\n")
        packed.writestr("../escape.txt", "no")
    served = Published({"/a.bin": CONTENT, "/hello": b"hello\n", "/a.zip": archive.getvalue()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, served))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield served
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)


def remote(published: Published, path: str = "/a.bin", name: str = "data/a.bin") -> Remote:
    content = published.files.get(path, b"")
    return Remote(name, published.url + path, len(content), hashlib.sha256(content).hexdigest())


def refusal(wanted: Remote, root: Path) -> str:
    with pytest.raises(InputError) as caught:
        fetch(wanted, root)
    return one_line(caught)


def test_a_file_is_brought_whole_and_nothing_else_is_left(published: Published, tmp_path: Path) -> None:
    fetch(remote(published), tmp_path)
    assert (tmp_path / "data/a.bin").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["a.bin"]
    assert published.ranges == [None]


def test_a_transfer_that_broke_off_is_resumed(published: Published, tmp_path: Path) -> None:
    published.breaks_after = 1000
    message = refusal(remote(published), tmp_path)
    assert "1000 bytes are kept, run again" in message
    assert not (tmp_path / "data/a.bin").exists()
    published.breaks_after = None
    fetch(remote(published), tmp_path)
    assert (tmp_path / "data/a.bin").read_bytes() == CONTENT
    assert published.ranges == [None, "bytes=1000-"]


def test_a_transfer_of_unknown_size_that_broke_off_is_noticed(published: Published, tmp_path: Path) -> None:
    published.breaks_after = 10
    assert "broke off before its 10240 bytes" in refusal(Remote("a.bin", f"{published.url}/a.bin", lines=1), tmp_path)


def test_a_resumed_transfer_of_unknown_size_that_broke_off_is_noticed(published: Published, tmp_path: Path) -> None:
    published.breaks_after = 6000
    (tmp_path / "a.bin.partial").write_bytes(CONTENT[:4000])
    assert "broke off before its 10240 bytes; 10000 bytes" in refusal(
        Remote("a.bin", f"{published.url}/a.bin"), tmp_path
    )


def test_a_server_that_does_not_resume_sends_everything_again(published: Published, tmp_path: Path) -> None:
    published.resumes = False
    (tmp_path / "a.bin.partial").write_bytes(b"other")
    fetch(remote(published, name="a.bin"), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_whole_part_is_not_asked_for_again(published: Published, tmp_path: Path) -> None:
    (tmp_path / "a.bin.partial").write_bytes(CONTENT)
    fetch(remote(published, name="a.bin"), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert published.ranges == []


def test_a_whole_part_of_unknown_size_is_known_by_the_server(published: Published, tmp_path: Path) -> None:
    (tmp_path / "hello.partial").write_bytes(b"hello\n")
    fetch(Remote("hello", f"{published.url}/hello", git_blob=HELLO_BLOB), tmp_path)
    assert (tmp_path / "hello").read_bytes() == b"hello\n"
    assert published.ranges == ["bytes=6-"]


@pytest.mark.parametrize("begun", [b"", b"wrong beginning"])
def test_other_content_is_refused_and_not_kept(published: Published, tmp_path: Path, begun: bytes) -> None:
    if begun:
        (tmp_path / "a.bin.partial").write_bytes(begun)
    wanted = remote(published, name="a.bin") if begun else replace(remote(published, name="a.bin"), sha256="0" * 64)
    message = refusal(wanted, tmp_path)
    assert "is not the published file: SHA-256" in message
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_is_too_long_is_refused_and_not_kept(published: Published, tmp_path: Path) -> None:
    (tmp_path / "a.bin.partial").write_bytes(CONTENT + b"more")
    assert f"{len(CONTENT) + 4} bytes, expected {len(CONTENT)}" in refusal(remote(published, name="a.bin"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_page_is_told(published: Published, tmp_path: Path) -> None:
    assert "404" in refusal(remote(published, "/nowhere"), tmp_path)


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "cannot fetch http://127.0.0.1:9/a" in refusal(Remote("a", "http://127.0.0.1:9/a"), tmp_path)


def test_only_wanted_members_of_an_archive_are_written(published: Published, tmp_path: Path) -> None:
    root = tmp_path / "root"
    wanted = replace(remote(published, "/a.zip", "a.zip"), members={"splits/mask.fasta": "flip/mask.fasta"})
    fetch(wanted, root)
    assert (root / "flip/mask.fasta").read_text() == ">a\n1\n"
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [
        "root/flip/mask.fasta"
    ]


def test_an_archive_without_a_wanted_member_is_refused(published: Published, tmp_path: Path) -> None:
    wanted = replace(remote(published, "/a.zip", "a.zip"), members={"splits/other": "other"})
    assert "it has no splits/other" in refusal(wanted, tmp_path)


def test_files_that_are_there_are_left_alone(published: Published, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"mine")
    fetch_missing([remote(published, name="a.bin"), remote(published, "/hello", "hello")], tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == b"mine"
    assert (tmp_path / "hello").read_bytes() == b"hello\n"
    assert len(published.ranges) == 1


@pytest.mark.parametrize(
    ("known", "problem"),
    [
        ({"size": 6}, None),
        ({"size": 7}, "6 bytes, expected 7"),
        ({"git_blob": HELLO_BLOB}, None),
        ({"git_blob": "0" * 40}, f"git object id {HELLO_BLOB}, expected {'0' * 40}"),
        ({"lines": 1}, None),
        ({"lines": 2}, "1 lines, expected 2"),
        ({"sha256": hashlib.sha256(b"hello\n").hexdigest()}, None),
    ],
)
def test_whatever_is_known_of_a_file_is_compared(
    tmp_path: Path, known: dict[str, int | str], problem: str | None
) -> None:
    (tmp_path / "hello").write_bytes(b"hello\n")
    assert mismatch(tmp_path / "hello", Remote("hello", "http://127.0.0.1:9/", **known)) == problem  # type: ignore[arg-type]
