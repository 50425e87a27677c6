"""A fold that is larger than memory trains all the same, from a file that the system pages in and out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from steelyard.batches import room
from steelyard.batches.room import memory_left, room_for

CPU = torch.device("cpu")


def test_what_fits_lies_in_memory_and_what_does_not_in_a_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(room, "memory_left", lambda: 2 * 4 * 6.0)  # half of it is six numbers of four bytes
    for count, mapped in ((6, False), (7, True)):
        before = Path("/proc/self/maps").read_text().count(str(tmp_path))
        tensor = room_for((count, 1), torch.float32, device=CPU, overflow=tmp_path / "cache")
        tensor[:] = torch.arange(count)[:, None]
        assert tensor.flatten().tolist() == list(range(count))
        assert (Path("/proc/self/maps").read_text().count(str(tmp_path)) > before) == mapped
        del tensor
        assert Path("/proc/self/maps").read_text().count(str(tmp_path)) == before
        assert not list(tmp_path.rglob("slices-*"))


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A page of a sparse file that finds no room when it is written would kill the process."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    monkeypatch.setattr(room, "memory_left", lambda: 0.0)
    try:
        with pytest.raises(OSError, match="No space left"):
            room_for((1000, 1000), torch.float32, device=CPU, overflow=tmp_path)
        assert not list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_the_smallest_of_what_is_free_and_what_limits_leave_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("1200\n")
    monkeypatch.setattr(room, "CGROUP", tmp_path)
    assert memory_left() == 3800
    (tmp_path / "memory.max").write_text("max\n")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemFree:  1 kB\nMemAvailable:  70 kB\n")
    monkeypatch.setattr(room, "MEMORY", meminfo)
    assert memory_left() == 70 * 1024


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from steelyard.batches.order import Batches
from steelyard.batches.slices import stack_slices
from steelyard.preprocess.cache import Preprocessing, prepare_cached
from steelyard.volume import Case, Geometry, LabelMap, Volume
from steelyard.labels import CHAOS_MR
from steelyard.batches.room import STATUS, _kilobytes

folder, cases, slices, size, limit_mb = Path(sys.argv[1]), 40, 16, 256, 280
torch.set_num_threads(1)

def scan(number):
    generator = np.random.default_rng(number)
    voxels = generator.random((slices, size, size), np.float32)
    geometry = Geometry(voxels.shape, np.diag([2.0, 1.0, 1.0, 1.0]))
    labels = np.full(voxels.shape, number % 5, np.uint8)
    return Case(f"c{number}", f"c{number}", "t1", Volume(voxels, geometry), LabelMap(labels, geometry, CHAOS_MR))

def read(number):
    return prepare_cached(folder, f"c{number}", "0" * 12, Preprocessing(size=size), lambda: scan(number))

taken = _kilobytes(STATUS, "VmData:")
resource.setrlimit(resource.RLIMIT_DATA, (int(taken) + limit_mb * 2**20,) * 2)
prepared = [read(number) for number in range(cases)]  # 210 MB, more than the limit leaves beside the rest
stacked = stack_slices(prepared, context=1, device=torch.device("cpu"), overflow=folder)  # 545 MB
seen = 0
for images, target in Batches(stacked, batch_size=16, seed=1, augmentation=None).epoch(0):
    seen += len(images)
    assert torch.isfinite(images).all()
for number, case in enumerate(prepared):
    here = stacked.images[number * slices : (number + 1) * slices, 1]
    assert np.array_equal(here.numpy(), case.images[:, 0])
    assert (stacked.labels[number * slices] == number % 5).all()
print(seen)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -d counts mapped memory on Linux alone")
def test_a_fold_twice_as_large_as_the_memory_limit_is_prepared_stacked_and_read(tmp_path: Path):
    found = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "cache")], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == ["640"]
    assert not list(tmp_path.rglob("slices-*"))
