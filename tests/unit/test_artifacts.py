"""Artifacts by name, in a local folder and through fsspec."""

import errno
import subprocess
import sys
import tempfile
import uuid
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.artifacts import Artifacts
from orchestrator.errors import ArtifactNotFound, ArtifactsFull, InvalidSetting, InvalidValue, Unreachable

BAD_NAMES = [
    *("", "/", "/etc/passwd", "..", "../x", "a/../b", "a/..", "a//b", "a/", "./a", ".hidden", "a/.hidden"),
    *("a\0b", "a\nb", "a\\b", "\x7f", "x" * 201, "/".join(["x" * 100] * 11), "\ud800"),
]


@pytest.fixture(params=["folder", "file://", "memory://"])
def artifacts(request, tmp_path):
    match request.param:
        case "folder":
            return Artifacts(str(tmp_path / "store"))
        case "file://":
            return Artifacts(f"file://{tmp_path / 'store'}")
        case _:
            return Artifacts(f"memory://{uuid.uuid4()}")


@pytest.fixture
def local(tmp_path):
    return Artifacts(str(tmp_path / "store"))


def files_in(folder):
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if not each.is_dir())


# -- every store ---------------------------------------------------------------------------------------------------


def test_what_is_put_can_be_got(artifacts):
    artifacts.put("a/b/c.log", b"one")

    assert artifacts.get("a/b/c.log") == b"one"


def test_a_stream_is_put_and_got_as_a_stream(artifacts):
    artifacts.put("big", BytesIO(b"x" * 3_000_000))

    with artifacts.open("big") as file:
        assert file.read(10) == b"x" * 10
        assert len(file.read()) == 2_999_990


def test_the_second_content_takes_the_place_of_the_first(artifacts):
    artifacts.put("a", b"longer than the second")
    artifacts.put("a", b"second")

    assert artifacts.get("a") == b"second"


def test_the_list_has_names_and_sizes_in_order(artifacts):
    for name in ("b/2", "a/1", "b/10", "bb/1"):
        artifacts.put(name, name.encode())

    assert [(each.name, each.size_bytes) for each in artifacts.list()] == [
        ("a/1", 3),
        ("b/10", 4),
        ("b/2", 3),
        ("bb/1", 4),
    ]
    assert [each.name for each in artifacts.list("b")] == ["b/10", "b/2"]
    assert artifacts.list("nothing") == []


def test_an_empty_store_lists_nothing(artifacts):
    assert artifacts.list() == []


def test_what_is_deleted_is_gone_and_may_be_deleted_again(artifacts):
    artifacts.put("a/b", b"one")

    artifacts.delete("a/b")
    artifacts.delete("a/b")

    assert artifacts.list() == []
    with pytest.raises(ArtifactNotFound, match="'a/b'"):
        artifacts.get("a/b")


def test_folders_are_the_parts_that_follow_in_names(artifacts):
    for name in ("a/b.1/x", "a/b.1/y/z", "a/c", "d"):
        artifacts.put(name, b"1")

    assert sorted(artifacts.folders("a")) == ["b.1", "c"]
    assert artifacts.folders("nothing") == ()


def test_a_folder_is_deleted_with_everything_in_it_and_may_be_deleted_again(artifacts):
    for name in ("a/b.1/x", "a/b.1/y/z", "a/b.10/x"):
        artifacts.put(name, b"1")

    artifacts.delete_folder("a/b.1")
    artifacts.delete_folder("a/b.1")

    assert [each.name for each in artifacts.list()] == ["a/b.10/x"]
    assert artifacts.folders("a") == ("b.10",)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_could_lead_elsewhere_is_refused(artifacts, name):
    for use in (lambda: artifacts.put(name, b"x"), lambda: artifacts.get(name), lambda: artifacts.delete(name)):
        with pytest.raises(InvalidValue, match="artifact name"):
            use()


# -- the local one -------------------------------------------------------------------------------------------------


@given(name=st.text(min_size=1, max_size=60) | st.lists(st.sampled_from(["..", ".", "", "a"])).map("/".join))
def test_no_name_writes_outside_the_store(name):
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "in", "store")
        try:
            Artifacts(str(store)).put(name, b"x")
        except InvalidValue:
            assert files_in(Path(folder)) == []
        else:
            assert files_in(store) == [name]
            assert len(files_in(Path(folder))) == 1


def test_a_symbolic_link_leads_nobody_out_of_the_store(local, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    local.put("a", b"x")
    (tmp_path / "store" / "way").symlink_to(tmp_path / "outside")
    (tmp_path / "store" / "file").symlink_to(tmp_path / "outside" / "secret")

    for name in ("way/secret", "file"):
        with pytest.raises(InvalidValue, match="no symbolic link leads out"):
            local.get(name)
        with pytest.raises(InvalidValue, match="no symbolic link leads out"):
            local.put(name, b"x")
    assert (tmp_path / "outside" / "secret").read_text() == "secret"


def test_what_is_kept_is_private(local, tmp_path):
    local.put("a/b", b"x")

    assert (tmp_path / "store" / "a" / "b").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "store").stat().st_mode & 0o077 == 0


class Broken(BytesIO):
    """Breaks off half-way."""

    def __init__(self, error):
        super().__init__(b"x" * 100)
        self._error = error

    def read(self, *_):
        if self.tell():
            raise self._error
        return super().read(50)


def test_there_is_no_half_artifact(artifacts):
    artifacts.put("a", b"before")

    with pytest.raises(KeyboardInterrupt):
        artifacts.put("a", Broken(KeyboardInterrupt()))

    assert artifacts.get("a") == b"before"


def test_nothing_is_left_of_an_artifact_that_broke_off(local, tmp_path):
    with pytest.raises(Unreachable, match=r"the artifact store at .* does not answer"):
        local.put("a", Broken(OSError(errno.EIO, "Input/output error")))

    assert files_in(tmp_path / "store") == []


def test_a_process_that_is_killed_while_it_writes_leaves_no_artifact(local, tmp_path):
    script = f"""
import os, signal
from io import BytesIO
from orchestrator.artifacts import Artifacts

class Killing(BytesIO):
    def read(self, *_):
        if self.tell():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(50)

Artifacts({local.url!r}).put("a", Killing(b"x" * 100))
"""

    done = subprocess.run([sys.executable, "-c", script], check=False)

    assert done.returncode == -9
    assert local.list() == []


def test_a_store_without_room_says_so(local, tmp_path):
    """The limit of a file's size stands for a full disk: the kernel refuses the write in the same way."""
    script = f"""
import resource, signal
from orchestrator.artifacts import Artifacts
from orchestrator.errors import ArtifactsFull

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    Artifacts({local.url!r}).put("a", bytes(2000))
except ArtifactsFull as error:
    print(error)
"""

    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert "is full (File too large); make room" in done.stdout
    assert files_in(tmp_path / "store") == []


def test_errors_keep_their_facts():
    for error in (ArtifactsFull("/store", "No space left on device"), ArtifactNotFound("a")):
        assert str(type(error)(*error.args)) == str(error)
    assert ArtifactsFull.retryable


def test_a_url_whose_package_is_missing_is_a_wrong_setting():
    with pytest.raises(InvalidSetting, match=r"ORCHESTRATOR_ARTIFACTS_URL.*nowhere"):
        Artifacts("nowhere://me:secret@bucket/x")


def test_a_password_in_the_url_is_not_said():
    with pytest.raises(InvalidSetting) as raised:
        Artifacts("nowhere://me:secret@bucket/x")

    assert "secret" not in str(raised.value)


def test_what_another_process_has_put_is_seen(artifacts, tmp_path):
    assert artifacts.list() == []

    Artifacts(artifacts.url).put("a", b"x")

    assert [each.name for each in artifacts.list()] == ["a"]
