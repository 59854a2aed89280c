"""What is kept of a stream: its beginning and its newest lines, and an exact count of the rest."""

import os
import tempfile

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.processes.spool import SEGMENTS, Spool, read_spool

CHUNKS = st.lists(st.binary(max_size=40) | st.sampled_from([b"a line\n", b"\n", b"x" * 100]), max_size=30)


def spooled(folder, chunks, most_bytes):
    spool = Spool(str(folder), "stdout", most_bytes)
    for chunk in chunks:
        spool.write(chunk)
    spool.close()
    return spool


@given(chunks=CHUNKS, most_bytes=st.integers(1, 300))
def test_what_is_kept_is_the_beginning_and_the_newest_and_the_rest_is_counted(chunks, most_bytes):
    said = b"".join(chunks)
    with tempfile.TemporaryDirectory() as folder:
        spool = spooled(folder, chunks, most_bytes)
        kept = read_spool(folder, "stdout", most_bytes)

    assert spool.size == len(said)
    assert said.startswith(kept.head)
    assert said.endswith(kept.tail)
    assert len(kept.head) + kept.left_out + len(kept.tail) == len(said)
    half = max(most_bytes // 2, 1)
    if len(said) <= 2 * half:
        assert kept.text == said
    else:
        assert len(kept.head) <= half
        assert len(kept.tail) <= half
        assert kept.head.endswith(b"\n") or kept.head == said[:half]
        assert kept.tail == said[-half:] or said[-len(kept.tail) - 1] == ord("\n")


@given(chunks=CHUNKS, most_bytes=st.integers(1, 300))
def test_no_more_is_on_the_disk_than_the_cap_and_two_segments(chunks, most_bytes):
    half = max(most_bytes // 2, 1)
    with tempfile.TemporaryDirectory() as folder:
        spooled(folder, chunks, most_bytes)
        on_disk = sum(entry.stat().st_size for entry in os.scandir(folder))

    assert on_disk <= 2 * half + 2 * max(half // SEGMENTS, 1)


def test_what_was_left_out_is_said_on_a_line_of_its_own(tmp_path):
    spooled(tmp_path, [b"first\n", b"x" * 100, b"\nlast\n"], 20)

    assert read_spool(str(tmp_path), "stdout", 20).text == b"first\n[... 101 bytes left out ...]\nlast\n"


def test_the_newest_is_without_what_was_left_out(tmp_path):
    spooled(tmp_path, [b"first\n", b"x" * 100, b"\nlast\n"], 20)

    assert read_spool(str(tmp_path), "stdout", 20).last(100) == b"last\n"


def test_two_streams_lie_in_one_folder(tmp_path):
    for name in ("stdout", "stderr"):
        spool = Spool(str(tmp_path), name, 100)
        spool.write(name.encode())
        spool.close()

    assert read_spool(str(tmp_path), "stdout", 100).text == b"stdout"
    assert read_spool(str(tmp_path), "stderr", 100).text == b"stderr"


def test_a_stream_without_a_word_is_empty(tmp_path):
    spooled(tmp_path, [], 100)

    assert read_spool(str(tmp_path), "stdout", 100).text == b""


def test_a_folder_that_is_gone_takes_nothing_from_the_stream(tmp_path):
    spool = spooled(tmp_path / "gone", [b"a line\n"] * 100, 64)

    assert spool.size == 700
    assert "No such file" in spool.error


@given(data=st.data())
def test_what_cannot_be_written_is_counted_among_what_was_left_out(data):
    """Some writes give all, some a part, some nothing: as on a disk that others fill and clear."""
    chunks = data.draw(CHUNKS)
    said = b"".join(chunks)
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(folder, "stdout", 64)
        write = spool._append

        def append(offset, part):
            room = data.draw(st.integers(0, len(part)) | st.just(len(part)))
            return write(offset, part[:room]) if room else 0

        spool._append = append
        for chunk in chunks:
            spool.write(chunk)
        spool.close()
        kept = read_spool(folder, "stdout", 64, size=spool.size)

    assert spool.size == len(said)
    assert said.startswith(kept.head)
    assert said.endswith(kept.tail)
    assert len(kept.head) + kept.left_out + len(kept.tail) == len(said)
