"""Artifacts: large payloads and logs, by name, in a local folder or wherever fsspec reaches (S3, GCS, ...).

A name is a path of plain parts, ``attempts/E.1.1/x/stdout.txt``. Nobody can lead it out of the store: absolute names,
``..``, NUL and parts that begin with a dot are refused, and so is a name that a symbolic link takes elsewhere.

There is no half artifact, whatever breaks off: a local one is written beside its place, made durable and renamed; for
a remote one everything is at hand before the upload begins, because a file of fsspec that is left by an exception
keeps what it has got so far.

Must not: be used for what has to change together with a row. The row says what counts, an artifact only lies there.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, cast

from orchestrator.errors import ArtifactNotFound, ArtifactsFull, InvalidSetting, InvalidValue, Unreachable

MAX_NAME: Final = 1000  # characters; an S3 key has room for 1024 bytes, its folder included
_PART: Final = re.compile(r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,199}")
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """What is known of an artifact without reading it."""

    name: str
    size_bytes: int


class Artifacts:
    """The store at a URL, or in the local folder of this absolute path. Nothing is touched before it is used.

    Every method raises ``InvalidValue`` for a name that is none, and ``Unreachable`` for a store that does not work.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._files, root = _filesystem(url)
        self._root = root
        self._folder = Path(root) if "file" in _protocols(self._files) else None

    def put(self, name: str, content: bytes | BinaryIO) -> None:
        """Keep the content, in place of what had the name before. A stream is closed.

        Raises:
            ArtifactsFull: there is no room; nothing of it is kept.
        """
        path = self._path(name)
        with self._translated(name), BytesIO(content) if isinstance(content, bytes) else content as source:
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                _write(Path(path), source)
            else:
                self._upload(path, source)

    def get(self, name: str) -> bytes:
        """The whole content.

        Raises:
            ArtifactNotFound: nothing has this name.
        """
        with self.open(name) as file:
            return file.read()

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """The content as a stream, for reading.

        Raises:
            ArtifactNotFound: nothing has this name.
        """
        path = self._path(name)
        with self._translated(name):
            file = self._files.open(path, "rb")
        with file:
            yield file

    def list(self, prefix: str = "") -> list[Artifact]:
        """The artifacts whose names begin with these parts, ``attempts/E.1.1``, by name; all without."""
        path = self._path(prefix) if prefix else self._root
        with self._translated(prefix):
            self._files.invalidate_cache()  # others write as well
            try:
                found = self._files.find(path, detail=True)
            except FileNotFoundError:
                return []
        names = {str(PurePosixPath(each).relative_to(self._root)): facts for each, facts in found.items()}
        return [
            Artifact(name=name, size_bytes=facts["size"])
            for name, facts in sorted(names.items())
            if _is_name(name)  # not one that is just being written
        ]

    def delete(self, name: str) -> None:
        """Have nothing under this name; that may be so already."""
        path = self._path(name)
        with self._translated(name), suppress(FileNotFoundError):
            self._files.rm_file(path)

    def folders(self, prefix: str) -> tuple[str, ...]:
        """The parts that follow this one in names, in no order: ``E.1.1`` for ``attempts``."""
        path = self._path(prefix)
        with self._translated(prefix):
            self._files.invalidate_cache()
            try:
                found = self._files.ls(path, detail=False)
            except FileNotFoundError:
                return ()
        return tuple(name for each in found if _PART.fullmatch(name := PurePosixPath(each).name))

    def delete_folder(self, prefix: str) -> None:
        """Have nothing whose name begins with these parts; that may be so already."""
        path = self._path(prefix)
        with self._translated(prefix), suppress(FileNotFoundError):
            self._files.rm(path, recursive=True)

    # -- names -----------------------------------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        if not _is_name(name):
            expected = "parts with slashes between, none of which is empty, begins with a dot or has control characters"
            raise InvalidValue("artifact name", repr(name)[:60], expected)
        path = f"{self._root.rstrip('/')}/{name}"
        if self._folder is not None:
            root, real = os.path.realpath(self._folder), os.path.realpath(path)
            if os.path.commonpath([root, real]) != root:
                raise InvalidValue(
                    "artifact name", repr(name)[:60], "a name that no symbolic link leads out of the store"
                )
        return path

    # -- writing ---------------------------------------------------------------------------------------------------

    def _upload(self, path: str, source: BinaryIO) -> None:
        with tempfile.NamedTemporaryFile() as whole:
            shutil.copyfileobj(source, whole)
            whole.flush()
            self._files.put_file(whole.name, path)

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise ArtifactNotFound(name) from error
        except OSError as error:
            if error.errno in _FULL:
                raise ArtifactsFull(_masked(self.url), error.strerror or str(error)) from error
            raise Unreachable("the artifact store", _masked(self.url), error.strerror or str(error)) from error


def _write(path: Path, source: BinaryIO) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            shutil.copyfileobj(source, file)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    _make_durable(path.parent)


def _make_durable(folder: Path) -> None:
    """The rename itself is in the folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_name(name: str) -> bool:
    return len(name) <= MAX_NAME and all(_PART.fullmatch(part) for part in name.split("/")) and _is_text(name)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _filesystem(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # it takes a tenth of a second, and most processes store nothing

    try:
        return cast("tuple[Any, str]", url_to_fs(url))
    except (ImportError, ValueError) as error:
        expected = f"a folder, or a URL whose package is installed ({error})"
        raise InvalidSetting("ORCHESTRATOR_ARTIFACTS_URL", repr(_masked(url)), expected) from error


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _masked(url: str) -> str:
    return re.sub(r"//[^/]*@", "//***@", url)
