"""Verbs around the price of a miss: find it, and train with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steelyard.cli.app import console
from steelyard.cli.engines import DryRun, Engine, GpuShare, Slurm, Workers
from steelyard.cli.studies import report_on
from steelyard.errors import BadSpec


def calibrate(
    study: Path,
    *,
    max_miss: str | None = None,
    engine: Engine = "local",
    workers: Workers = None,
    address: str | None = None,
    gpu_share: GpuShare = None,
    slurm: Slurm = None,
    dry_run: DryRun = False,
) -> None:
    """Find the FP and FN weights for a task, prove them on patients never seen, and write the decision card.

    The answer may be to keep the default. The same command resumes.

    Parameters
    ----------
    study
        A study's TOML file with a [calibrate] table.
    max_miss
        The share of one organ that may be missed on average, as liver=0.10: sets patients aside to certify it.
    engine
        Who does the runs: processes of this machine, tasks on a Ray cluster, or jobs of SLURM.
    workers
        How many processes of this machine; one per GPU or per two cores when left out.
    address
        The Ray cluster, as host:port or auto; this machine alone when left out.
    gpu_share
        How much of a GPU each run on Ray needs.
    slurm
        What to ask SLURM for, by submitit's names.
    dry_run
        Only say what would be trained and what it would cost.
    """
    from steelyard.calibrate.run import calibrate_study
    from steelyard.report.card_page import write_card_page
    from steelyard.study.run import check_options, run_study
    from steelyard.study.spec import read_spec

    check_options(engine, workers=workers, address=address, gpu_share=gpu_share, slurm=slurm)
    card = calibrate_study(
        _with_bound(read_spec(study), max_miss),
        carry_out=lambda plan: run_study(
            plan, console=console(), engine=engine, workers=workers, address=address, gpu_share=gpu_share, slurm=slurm
        ),
        console=console(),
        dry_run=dry_run,
    )
    if card is not None:
        report_on(card.parent / "outer")
        console().print(f"card: {write_card_page(card)}", highlight=False, soft_wrap=True)


def train(card: Path, *, seed: int | None = None) -> None:
    """Train the final network on all patients, with the loss that a calibration's card recommends.

    Patients that were set aside for a bound stay aside, so that the bound holds for this network.

    Parameters
    ----------
    card
        The card.json of a calibration.
    seed
        Of the starting weights; the first one of the study when left out.
    """
    from steelyard.calibrate.final import train_final

    folder = train_final(card, seed=seed, console=console())
    console().print(f"network: {folder}", highlight=False, soft_wrap=True)


def _with_bound(spec: Any, max_miss: str | None) -> Any:
    """The study with that bound in its [calibrate] table."""
    if max_miss is None or spec.calibrate is None:
        return spec
    organ, _, share = max_miss.partition("=")
    try:
        bound = float(share)
    except ValueError:
        bound = 0.0
    if not organ.strip() or not 0 < bound < 1:
        raise BadSpec(f"--max-miss wants one organ and a share between 0 and 1, as liver=0.10; came {max_miss!r}.")
    table = spec.calibrate.model_copy(update={"max_miss": {organ.strip(): bound}})
    return spec.model_copy(update={"calibrate": table})
