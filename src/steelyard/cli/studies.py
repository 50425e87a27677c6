"""Verbs around a study: try it, do it, look at it, report it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steelyard.cli.app import console
from steelyard.cli.engines import DryRun, Engine, GpuShare, Slurm, Workers
from steelyard.errors import RunsFailed

RUNS = Path("runs")
PARTS = ("inner", "outer", "final")  # the studies of which a calibration is made


def demo(*, out: Path = RUNS) -> None:
    """Train two losses on phantoms made for the purpose, and write the report: the whole road in minutes.

    Parameters
    ----------
    out
        Folder for the phantoms, the runs and the report.
    """
    from steelyard.study.demo import demo_spec
    from steelyard.study.plan import make_plan

    _run(make_plan(demo_spec(out)))


def run(
    study: Path,
    *,
    engine: Engine = "local",
    workers: Workers = None,
    address: str | None = None,
    gpu_share: GpuShare = None,
    slurm: Slurm = None,
    dry_run: DryRun = False,
) -> None:
    """Do every run of a study that is not done yet, then write its report. The same command resumes.

    The command may be given several times at once, on several machines that share the run folder: no run is done twice.

    Parameters
    ----------
    study
        The study's TOML file.
    engine
        Who does the runs: processes of this machine, tasks on a Ray cluster, or jobs of SLURM.
    workers
        How many processes of this machine; one per GPU or per two cores when left out.
    address
        The Ray cluster, as host:port or auto; this machine alone when left out.
    gpu_share
        How much of a GPU each run on Ray needs: .25 puts four small networks on one.
    slurm
        What to ask SLURM for, by submitit's names: --slurm.partition gpu --slurm.timeout_min 240.
    dry_run
        Only list the runs and their state.
    """
    from steelyard.study.plan import plan_file
    from steelyard.study.run import check_options

    check_options(engine, workers=workers, address=address, gpu_share=gpu_share, slurm=slurm)
    plan = plan_file(study)
    if dry_run:
        _show_plan(plan)
        return
    _run(plan, engine=engine, workers=workers, address=address, gpu_share=gpu_share, slurm=slurm)


def status(study: Path) -> None:
    """Say which runs of a study are done, running, failed or to do, and how long the rest will take.

    Parameters
    ----------
    study
        The study's TOML file.
    """
    from steelyard.study.spec import read_spec
    from steelyard.study.status import render, study_status

    folder = read_spec(study).folder
    parts = [part for part in (folder, *(folder / name for name in PARTS)) if (part / "study.json").is_file()]
    for part in parts or [folder]:
        if part != folder:
            console().print(f"{part.name}:", highlight=False)
        console().print(render(study_status(part)))


def check(study: Path) -> None:
    """Say what a study would do, or everything that is wrong with it: runs, time, memory and disk.

    Nothing is trained, and nothing written but phantoms that the study asks for and weights that it fetches.

    Parameters
    ----------
    study
        The study's TOML file.
    """
    from steelyard.study.estimate import estimate, render
    from steelyard.study.plan import plan_file

    plan = plan_file(study)
    console().print(render(plan, estimate(plan)))


def report(study: Path, *, beside: Path | None = None) -> None:
    """Write the page and the tables of a study from the runs that are done.

    Parameters
    ----------
    study
        The study's TOML file.
    beside
        The TOML file of a study that differs in one setting, to be put beside this one: split by sequence instead of
        by patient shows the leak, without augmentation what augmentation brings.
    """
    from steelyard.study.declaration import redeclare
    from steelyard.study.spec import read_spec

    spec = read_spec(study)
    redeclare(spec)
    report_on(spec.folder, None if beside is None else read_spec(beside).folder)


def paper(folder: Path = Path("studies/paper"), *, dry_run: DryRun = False) -> None:
    """Do every study of the paper's reproduction, and write one page with its tables beside ours.

    Parameters
    ----------
    folder
        The folder with table1.toml, table2.toml, …
    dry_run
        Only list the studies' runs and their state.
    """
    from steelyard.report.paper_page import write_paper_page
    from steelyard.study.paper.studies import paper_studies
    from steelyard.study.plan import plan_file

    plans = {file.stem: plan_file(file) for file in paper_studies(folder)}
    failed = []
    for title, plan in plans.items():
        console().print(f"{title}: {plan.spec.study.name}", highlight=False)
        if dry_run:
            _show_plan(plan)
            continue
        try:
            _run(plan)
        except RunsFailed as error:
            failed.append(f"{title}: {error}")
    if dry_run:
        return
    studies = {title: plan.folder for title, plan in plans.items()}
    page = write_paper_page(next(iter(studies.values())).parent, studies)
    console().print(f"paper: {page}", highlight=False, soft_wrap=True)
    if failed:
        raise RunsFailed(" ".join(failed))


def _show_plan(plan: Any) -> None:
    from steelyard.study.status import render_plan

    _say_warnings(plan)
    console().print(render_plan(plan))


def _say_warnings(plan: Any) -> None:
    for warning in plan.warnings:
        console().print(f"note: {warning}", highlight=False, soft_wrap=True)


def _run(plan: Any, **engine: Any) -> None:
    from steelyard.study.run import run_study

    _say_warnings(plan)
    try:
        run_study(plan, console=console(), **engine)
    except RunsFailed:
        report_on(plan.folder)  # which marks them, beside the runs that are done
        raise
    report_on(plan.folder)


def report_on(folder: Path, beside: Path | None = None) -> None:
    """Compare what is finished in a study's folder, write its page, and say where it is."""
    from steelyard.report.write import write_report
    from steelyard.study.beside import write_beside
    from steelyard.study.compare import write_comparisons
    from steelyard.study.crf_effect import write_crf_effect

    write_comparisons(folder)
    write_crf_effect(folder)
    if beside is not None:
        write_beside(folder, beside)
    page = write_report(folder, beside=beside)
    console().print(f"report: {page}", highlight=False, soft_wrap=True)
