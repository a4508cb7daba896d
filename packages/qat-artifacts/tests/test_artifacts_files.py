"""A file is whole or absent: also when the writer fails, is killed, or is watched by a reader."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from qat_artifacts import sha256_file, write_bytes, write_text

WRITER = """
import os, sys
from pathlib import Path
from qat_artifacts import write_bytes
path = Path(sys.argv[1])
print("ready", flush=True)
while True:
    for letter in (b"a", b"b"):
        write_bytes(path, letter * 3_000_000)
"""


def test_writing_creates_missing_folders_and_leaves_nothing_else(tmp_path):
    write_text(tmp_path / "a" / "b" / "x.txt", "größe\n")
    assert (tmp_path / "a" / "b" / "x.txt").read_bytes() == "größe\n".encode()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["x.txt"]


def test_written_files_can_be_read_by_others(tmp_path):
    write_text(tmp_path / "x.txt", "x")
    assert (tmp_path / "x.txt").stat().st_mode & 0o777 == 0o644


def test_failing_write_keeps_the_old_file_and_leaves_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "x.txt"
    write_text(path, "old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    told = rf"No space left on device: 3 bytes are needed, \d+ are free: '{path}'"
    with pytest.raises(OSError, match=told):
        write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["x.txt"]


def test_a_full_disk_is_told_also_where_the_folder_cannot_be_made(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "mkdir", full)
    path = tmp_path / "a" / "b" / "x.txt"
    with pytest.raises(OSError, match=rf"No space left on device: 3 bytes are needed, \d+ are free: '{path}'"):
        write_text(path, "new")


@pytest.mark.skipif(sys.platform != "linux", reason="a file system of few inodes is mounted")
def test_a_disk_without_inodes_is_told_as_that(tmp_path):
    mount, umount = shutil.which("mount"), shutil.which("umount")
    mounting = [mount, "-t", "tmpfs", "-o", "size=1m,nr_inodes=2", "tmpfs", tmp_path]
    if not (mount and umount) or subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    path = tmp_path / "x.txt"
    try:
        write_text(tmp_path / "only.txt", "the root of the file system and this file take both inodes")
        with pytest.raises(OSError, match=f"No space left on device: no inodes are left: '{path}'"):
            write_text(path, "new")
    finally:
        subprocess.run([umount, tmp_path], check=True)


def test_a_reader_never_sees_half_a_file_and_a_killed_writer_leaves_the_last_whole_one(tmp_path):
    path = tmp_path / "x.bin"
    write_bytes(path, b"a" * 3_000_000)
    whole = {b"a" * 3_000_000, b"b" * 3_000_000}
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout.readline() == b"ready\n"
        for _ in range(20):
            assert path.read_bytes() in whole
            time.sleep(0.005)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    assert path.read_bytes() in whole
    left = [found for found in tmp_path.iterdir() if found != path]
    assert all(found.name.startswith(".x.bin.") and found.suffix == ".tmp" for found in left)


def test_hash_is_the_one_sha256sum_prints(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
