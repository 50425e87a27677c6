"""Every held-out case of a finished run decided once more, by its own network and a CRF, beside the run's own files."""

from __future__ import annotations

import platform
import time
from importlib.metadata import version

import torch
from rich.console import Console
from torch import nn

from steelyard.checkpoint import load_weights
from steelyard.errors import SteelyardError
from steelyard.io.nifti import read_label_map
from steelyard.postprocess.crf import Backend, available_backend
from steelyard.predict import to_label_map
from steelyard.runstore import SCHEMA_VERSION, RunFolder, write_json
from steelyard.study.cases import Cases, Stop
from steelyard.study.crf_effect import has_crf
from steelyard.study.manifest import commit
from steelyard.study.objects import crf_of, device_of, network_of, preprocessing_of
from steelyard.study.plan import Plan, Run
from steelyard.study.score import judge, predict_held_out, write_scores
from steelyard.study.spec import CrfTable
from steelyard.study.task import task_label_set


def lacks_crf(plan: Plan, run: Run) -> bool:
    """Whether the study asks for a CRF that the finished run does not have, or has with other settings."""
    if plan.spec.crf is None or not run.fold.test:
        return False
    return not has_crf(plan.run_folder(run), plan.spec.crf.model_dump())


def do_crf(plan: Plan, run: Run, cases: Cases, *, title: str, console: Console, stop: Stop) -> str | None:
    """Write `<run>/crf` anew, from the run's weights; the run must be done and its lock held.

    Returns None when it got done, else the reason why it failed, which is also left in the run's folder.

    Raises:
        Interrupted, BadData, OSError: what stops the whole study.
    """
    folder = plan.run_folder(run)
    if plan.spec.crf is None:
        return None
    try:
        console.print(f"{title}: CRF", highlight=False, soft_wrap=True)
        _decide_again(plan, run, plan.spec.crf, folder, cases, stop=stop)
    except (SteelyardError, OSError):
        raise
    except Exception as error:  # no memory left, settings that the fallback has no room for
        said = str(error).splitlines()
        reason = f"CRF: {said[0] if said else type(error).__name__}"
        folder.mark_failed(reason)
        return reason
    folder.failure.unlink(missing_ok=True)
    return None


def forget_crf(folder: RunFolder) -> None:
    """Call before a run is trained: what an earlier network decided is not this one's."""
    (folder.crf.path / "DONE").unlink(missing_ok=True)


def _decide_again(plan: Plan, run: Run, table: CrfTable, folder: RunFolder, cases: Cases, *, stop: Stop) -> None:
    forget_crf(folder)
    crf, backend, device = crf_of(table), available_backend(), device_of(plan.spec.train)
    network = _trained_network(plan, run, folder, phases=cases[run.fold.test[0]].images.shape[1]).to(device)
    judged, about = [], []
    for case, reference, probabilities in predict_held_out(plan, run, network, cases, device=device, stop=stop):
        plain = to_label_map(probabilities, case.image.geometry, reference.label_set).labels
        kept = read_label_map(folder.prediction(case.case_id), reference.label_set).labels
        started = time.monotonic()
        decided = crf.apply(probabilities, case.image.intensities, case.image.geometry.spacing_mm, backend=backend)
        seconds = time.monotonic() - started
        judged.append(judge(folder.crf, case, reference, decided))
        about.append(
            {
                "case_id": case.case_id,
                "seconds": round(seconds, 2),
                "voxels": plain.size,
                "voxels_changed": int((decided.argmax(0) != plain).sum()),
                "voxels_unlike_the_runs_own": int((kept != plain).sum()),
            }
        )
    write_scores(plan, run, folder.crf, judged)
    write_json(
        folder.crf.manifest,
        {
            "schema": SCHEMA_VERSION,
            "run": run.name,
            "crf": table.model_dump(),
            "backend": backend,
            "manifest": {"commit": commit(), "versions": _versions(backend), "threads": torch.get_num_threads()},
            "cases": about,
        },
    )
    folder.crf.mark_done()


def _trained_network(plan: Plan, run: Run, folder: RunFolder, *, phases: int) -> nn.Module:
    network = network_of(
        run.network,
        channels=phases * (2 * preprocessing_of(plan.spec).context + 1),
        classes=task_label_set(plan.dataset.label_set, run.organ).class_count,
        size=plan.spec.preprocess.size,
        seed=run.seed,
    )
    load_weights(folder.weights, network)
    return network


def _versions(backend: Backend) -> dict[str, str]:
    package = {"pydensecrf2": "pydensecrf2", "mean_field": "torch"}[backend]
    return {name: version(name) for name in ("steelyard", package)} | {"python": platform.python_version()}
