"""Page faults and resident memory, as the kernel counts them, in processes of their own: an allocator is for all."""

from __future__ import annotations

import ctypes
import json
import platform

import pytest

from steelyard.freed_memory import freed_memory_kept
from warm_process import run_warm

PAGES = 64 * 2**20 // 4096  # of the arrays below
only_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this system's allocator is another one")

BEGIN = """
import json, resource
from steelyard.freed_memory import freed_memory_kept

def faults_of_an_array():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"1" * (64 * 2**20)  # numpy would ask for large pages, of which there are few
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident_mib():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
"""


def told(code: str):
    done = run_warm(BEGIN + code, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@only_glibc
def test_memory_freed_inside_serves_the_next_array_without_a_fault():
    outside, inside = told(
        """
outside = [faults_of_an_array() for _ in range(3)]
with freed_memory_kept():
    inside = [faults_of_an_array() for _ in range(3)]
print(json.dumps([outside[-1], inside[-1]]))
"""
    )
    assert outside > PAGES / 2
    assert inside < PAGES / 100


@only_glibc
def test_at_the_end_freed_memory_returns_to_the_system_also_after_an_error():
    inside, after, later = told(
        """
try:
    with freed_memory_kept():
        faults_of_an_array()
        inside = resident_mib()
        raise KeyError
except KeyError:
    pass
after = resident_mib()
large = b"1" * (256 * 2**20)
del large
print(json.dumps([inside, after, resident_mib()]))
"""
    )
    assert after < inside - 50
    assert later < inside - 50


@only_glibc
def test_a_training_asks_for_its_arrays_once():
    """Logits of 48 MiB in every step: 12,288 pages each time that the system is asked."""
    first, usual = told(
        """
import numpy as np
import torch
from steelyard.batches.order import Batches
from steelyard.batches.slices import SliceSet
from steelyard.losses import IoULoss
from steelyard.train import Schedule, fit

class Counting:
    def __init__(self):
        self.faults = []
    def step(self, epoch, step, steps):
        self.faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    def epoch(self, rows):
        pass

slices = SliceSet(torch.randn(16, 1, 512, 512), torch.zeros(16, 512, 512, dtype=torch.uint8))
counting = Counting()
counting.step(0, 0, 0)
fit(
    torch.nn.Conv2d(1, 3, 1), IoULoss(), Batches(slices, batch_size=16, seed=1, augmentation=None),
    Schedule(epochs=13), resume=None, save=lambda _: None, validate=lambda _: {}, progress=counting,
)
of_steps = np.diff(counting.faults)
print(json.dumps([int(of_steps[0]), float(np.median(of_steps))]))
"""
    )
    assert first > 12_288
    assert usual < 1_000


@only_glibc
def test_a_folder_of_scans_is_predicted_in_memory_that_stays():
    """In the place of each prediction an array is taken and freed: for the second scan it is at hand."""
    first, second = told(
        """
import io, tempfile
from pathlib import Path
from rich.console import Console
from hand_made_runs import write_run, write_scan
from steelyard.errors import BadData
from steelyard.inference import batch
from steelyard.inference.inputs import find_inputs
from steelyard.inference.models import load_models

faults = []
def take_an_array(*_, **__):
    faults.append(faults_of_an_array())
    raise BadData("counted")
batch.predict_scan = take_an_array

with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    ensemble = load_models([write_run(folder / "run")])
    for scan in ("1", "2"):
        write_scan(folder / "scans" / scan, study=scan)
    inputs = find_inputs(folder / "scans", ensemble.first)
    batch.predict_batch(inputs, folder / "out", batch.Prediction(ensemble), console=Console(file=io.StringIO()))
print(json.dumps(faults))
"""
    )
    assert first > PAGES / 2
    assert second < PAGES / 10


def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    for library in (object, _raises(OSError), _raises(TypeError)):
        monkeypatch.setattr(ctypes, "CDLL", lambda _, library=library: library())
        with freed_memory_kept():
            entered = True
        assert entered


def _raises(kind: type[Exception]):
    def library():
        raise kind

    return library
