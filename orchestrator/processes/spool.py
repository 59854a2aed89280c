"""The spool: what a command has written so far, of one stream, with a cap: the beginning and the newest.

The shim writes segments into files, so that next to nothing is lost if it is killed, and memory is not used up:

    stdout.0        the first half of what may be kept
    stdout.524288   the newest, in short segments; the file's name says how much came out before its first byte
    stdout.655360   a segment goes when those after it hold the second half

The runner reads them: the beginning, and the segments at the end that join up. Whatever is missing between them was
left out, so the count of that is exact.

A disk that is full takes nothing from the command: what cannot be written is left out. The oldest segment is given for
the newest bytes, since the last words of a program are those that say why it ended.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

SEGMENTS: Final = 4  # that half of the cap is cut into


class Kept(NamedTuple):
    """What was kept of a stream. ``left_out`` counts the bytes between ``head`` and ``tail``."""

    head: bytes
    left_out: int
    tail: bytes

    @property
    def text(self) -> bytes:
        """Everything, with a line that says so in the place of what was left out."""
        if not self.left_out:
            return self.head + self.tail
        line_break = b"" if self.head.endswith(b"\n") or not self.head else b"\n"
        return b"%s%s[... %d bytes left out ...]\n%s" % (self.head, line_break, self.left_out, self.tail)

    def last(self, most_bytes: int) -> bytes:
        """The newest, without any line."""
        newest = self.tail if self.left_out else self.head + self.tail
        return newest[-most_bytes:]


class Spool:
    """Takes one stream in. ``error`` says why some of it could not be kept, ``size`` how much came."""

    def __init__(self, folder: str, name: str, most_bytes: int) -> None:
        self._path = os.path.join(folder, name)
        self._half = max(most_bytes // 2, 1)
        self._segments: list[list[int]] = []  # [offset, length] of those after the head; the last one is being written
        self._head_length = 0
        self._is_head_open = True
        self._handle: int | None = None
        self.size = 0
        self.error: str | None = None

    def write(self, chunk: bytes) -> None:
        """Take in what came next. It never raises."""
        while chunk:
            written = self._write_head(chunk) if self._is_head_open else self._write_segment(chunk)
            self.size += written
            chunk = chunk[written:]

    def close(self) -> None:
        """Nothing more comes."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _write_head(self, chunk: bytes) -> int:
        part = chunk[: self._half - self._head_length]
        written = self._append(0, part)
        self._head_length += written
        if written < len(part) or self._head_length == self._half:
            self._is_head_open = False
            self.close()
        return written  # the rest goes where the newest go

    def _write_segment(self, chunk: bytes) -> int:
        """Write a part of it, and return how much of it is dealt with: written, or given up."""
        length = max(self._half // SEGMENTS, 1)
        if self._handle is None or self._segments[-1][1] >= length:
            self.close()
            self._segments.append([self.size, 0])
        last = self._segments[-1]
        part = chunk[: length - last[1]]
        written = self._append(last[0], part)
        last[1] += written
        self._drop_surplus()
        if written == len(part):
            return written
        self.close()
        if not last[1]:
            self._drop(-1)
        if not self._segments:
            return len(part)
        self._drop(0)
        return written

    def _append(self, offset: int, part: bytes) -> int:
        """How much of it was written."""
        try:
            if self._handle is None:
                self._handle = os.open(f"{self._path}.{offset}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            return os.write(self._handle, part)
        except OSError as error:
            self.error = error.strerror or str(error)
            return 0

    def _drop_surplus(self) -> None:
        while sum(length for _, length in self._segments[1:]) >= self._half:
            self._drop(0)

    def _drop(self, index: int) -> None:
        offset, _ = self._segments.pop(index)
        try:
            os.unlink(f"{self._path}.{offset}")
        except OSError:  # it could not be made in the first place
            return


def read_spool(folder: str, name: str, most_bytes: int, *, size: int | None = None) -> Kept:
    """What a spool has kept.

    Args:
        folder: the one that it wrote to.
        name: of the stream.
        most_bytes: the cap it had.
        size: how much came out in all, if that is known: the last of it may not have been written.
    """
    files = {int(each.rpartition(".")[2]): each for each in os.listdir(folder) if each.startswith(f"{name}.")}
    contents = {offset: _read(os.path.join(folder, files[offset])) for offset in sorted(files)}
    end = max((offset + len(content) for offset, content in contents.items()), default=0)
    size = end if size is None else size
    head = contents.pop(0, b"")
    tail, begins_at = b"", size
    for offset, content in reversed(contents.items()):
        if offset + len(content) != begins_at:
            break
        tail, begins_at = content + tail, offset
    return _cut(head, tail, size=size, half=max(most_bytes // 2, 1))


def _cut(head: bytes, tail: bytes, *, size: int, half: int) -> Kept:
    """Within the cap, and where something is left out, at the ends of lines if there are any."""
    if len(head) + min(len(tail), half) == size:
        return Kept(head, 0, tail)
    head = head[: head.rfind(b"\n") + 1] or head
    tail = tail[-half:]
    tail = tail[tail.find(b"\n") + 1 :] or tail
    return Kept(head, size - len(head) - len(tail), tail)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
