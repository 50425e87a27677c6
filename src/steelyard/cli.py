"""The command line: one function per verb, each calling one function below."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import App, Parameter

from steelyard import __version__
from steelyard.errors import BadData, BadSpec, Interrupted, RunsFailed, SteelyardError
from steelyard.runstore import DISK_FULL, disk_full

app = App(
    name="steelyard",
    help="Weigh false negatives against false positives: train, compare and prove segmentation losses.",
    version=__version__,
    result_action="return_value",
)
data = App(name="data", help="Make and check image data.")
app.command(data)

RUNS = Path("runs")


@app.command
def demo(*, out: Path = RUNS) -> None:
    """Train two losses on phantoms made for the purpose, and write the report: the whole road in a few minutes.

    Parameters
    ----------
    out
        Folder for the phantoms, the runs and the report.
    """
    from steelyard.study.demo import demo_spec
    from steelyard.study.plan import make_plan

    _run(make_plan(demo_spec(out)))


@app.command
def run(
    study: Path,
    *,
    engine: Literal["local", "ray", "slurm"] = "local",
    workers: Annotated[int | None, Parameter(validator=cyclopts.validators.Number(gte=1))] = None,
    address: str | None = None,
    gpu_share: Annotated[float | None, Parameter(validator=cyclopts.validators.Number(gt=0, lte=1))] = None,
    slurm: Annotated[dict[str, str] | None, Parameter(negative=())] = None,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
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


@app.command
def status(study: Path) -> None:
    """Say which runs of a study are done, running, failed or to do, and how long the rest will take.

    Parameters
    ----------
    study
        The study's TOML file.
    """
    from steelyard.study.spec import read_spec
    from steelyard.study.status import render, study_status

    _console().print(render(study_status(read_spec(study).folder)))


@app.command
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
    _console().print(render(plan, estimate(plan)))


@app.command
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
    _report(spec.folder, None if beside is None else read_spec(beside).folder)


@app.command
def paper(folder: Path = Path("studies/paper"), *, dry_run: Annotated[bool, Parameter(negative=())] = False) -> None:
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
        _console().print(f"{title}: {plan.spec.study.name}", highlight=False)
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
    _console().print(f"paper: {page}", highlight=False, soft_wrap=True)
    if failed:
        raise RunsFailed(" ".join(failed))


@app.command(name="metric-audit")
def metric_audit(
    study: Path,
    prediction: Path | None = None,
    *,
    cases: Annotated[int, Parameter(validator=cyclopts.validators.Number(gte=1))] = 5,
    out: Path | None = None,
) -> None:
    """Show which metrics fail to reveal a failed organ: damage predictions on purpose and see what each metric says.

    Parameters
    ----------
    study
        The study's TOML file; or a folder of reference label maps, when `prediction` is given.
    prediction
        A folder of predicted label maps with the references' file names.
    cases
        How many cases to damage.
    out
        Folder for the page and its tables; metric-audit in the study's folder, or here, when left out.
    """
    from steelyard.report.metric_audit_page import audit_metrics_of_folders, audit_metrics_of_study
    from steelyard.study.spec import read_spec

    if prediction is None:
        page = audit_metrics_of_study(read_spec(study).folder, cases=cases, out=out)
    else:
        page = audit_metrics_of_folders(study, prediction, cases=cases, out=out or Path("metric-audit"))
    _console().print(f"metric audit: {page}", highlight=False, soft_wrap=True)


@app.command
def evaluate(
    reference: Path,
    prediction: Path,
    *,
    dicom: Path | None = None,
    convention: Literal["matlab", "chaos", "all"] = "all",
    labels: str | None = None,
    out: Path | None = None,
) -> None:
    """Score predictions against references: NIfTI files, folders of equal names, or folders of PNG masks.

    Parameters
    ----------
    reference
        The expert's label map, or a folder of them.
    prediction
        The label map to score, or a folder with the same file names.
    dicom
        The DICOM series that PNG masks belong to: gives them their place in millimetres.
    convention
        Whose definitions: MATLAB's, the CHAOS challenge's, or all.
    labels
        Which value is which organ, as liver=63,spleen=252; without it, CHAOS grey values are known by themselves and
        other values are named label_1, label_2, …
    out
        Also write every score to this file, .csv or .parquet.
    """
    from steelyard.evaluate import (
        check_ending,
        evaluate_paths,
        parse_labels,
        score_table,
        scores_frame,
        write_scores,
    )

    if out is not None:
        check_ending(out)
    label_set = None if labels is None else parse_labels(labels)
    evaluations = evaluate_paths(reference, prediction, dicom=dicom, convention=convention, labels=label_set)
    _console().print(score_table(evaluations))
    if out is not None:
        write_scores(out, scores_frame(evaluations))
        _console().print(f"scores: {out}", highlight=False, soft_wrap=True)


@app.command
def ls(kind: Literal["losses", "networks", "metrics", "datasets"]) -> None:
    """List what can be named in a study.

    Parameters
    ----------
    kind
        Which parts.
    """
    from importlib import import_module

    registry = getattr(import_module(f"steelyard.{kind}"), kind.upper())
    width = max(map(len, registry))
    for entry in registry.entries.values():
        print(f"{entry.name:<{width}}  {entry.summary}")


@data.command
def phantom(
    folder: Path,
    *,
    patients: Annotated[int, Parameter(validator=cyclopts.validators.Number(gte=1))] = 12,
    seed: int = 1,
) -> None:
    """Write abdominal phantoms in the layout of CHAOS: DICOM images and PNG masks of three sequences.

    Parameters
    ----------
    folder
        A new or empty folder.
    patients
        How many.
    seed
        The same seed gives the same files.
    """
    from steelyard.datasets.phantom import write_phantom

    write_phantom(folder, patients=patients, seed=seed)
    print(f"{patients} patients: {folder}")


@data.command(name="check")
def check_data(path: Path, *, json: Path | None = None) -> None:
    """Describe a data set and find what is broken or odd in it. Exit code 3 when a case cannot be used.

    Parameters
    ----------
    path
        A CHAOS tree, or a folder in nnU-Net's format.
    json
        Also write everything to this file.
    """
    from steelyard.datasets import DATASETS
    from steelyard.datasets.integrity import check
    from steelyard.report.data_check import show_findings
    from steelyard.runstore import write_json

    dataset = DATASETS["nnunet" if (path / "dataset.json").exists() else "chaos"](path)
    findings = check(dataset)
    show_findings(findings, _console())
    if json is not None:
        write_json(json, findings.as_json())
    findings.raise_errors()


def _show_plan(plan: Any) -> None:
    from steelyard.study.status import render_plan

    _say_warnings(plan)
    _console().print(render_plan(plan))


def _say_warnings(plan: Any) -> None:
    for warning in plan.warnings:
        _console().print(f"note: {warning}", highlight=False, soft_wrap=True)


def _run(plan: Any, **engine: Any) -> None:
    from steelyard.study.run import run_study

    console = _console()
    _say_warnings(plan)
    try:
        run_study(plan, console=console, **engine)
    except RunsFailed:
        _report(plan.folder)  # which marks them, beside the runs that are done
        raise
    _report(plan.folder)


def _report(folder: Path, beside: Path | None = None) -> None:
    from steelyard.report.write import write_report
    from steelyard.study.beside import write_beside
    from steelyard.study.compare import write_comparisons

    write_comparisons(folder)
    if beside is not None:
        write_beside(folder, beside)
    page = write_report(folder, beside=beside)
    _console().print(f"report: {page}", highlight=False, soft_wrap=True)


def _console() -> Any:
    from rich.console import Console

    return Console(markup=False, emoji=False)


def main() -> None:
    """Entry point: every error is one line (several for a study file), every exit code is one of 0 to 4."""
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        _leave(BadSpec(" ".join(str(error).split())))
    except SteelyardError as error:
        _leave(error)
    except KeyboardInterrupt:
        _leave(Interrupted("interrupted"))
    except OSError as error:
        if error.errno in DISK_FULL:
            _leave(disk_full(error, error.filename or "the output"))
        _leave(
            BadData(f"{error.filename or 'a file'} cannot be used: {error.strerror}. Check the path and its rights.")
        )
    except Exception as error:
        if sys.flags.dev_mode:  # python -X dev: for those who mend it
            raise
        _leave(SteelyardError(f"a defect of Steelyard itself, please report it: {type(error).__name__}: {error}"))


def _leave(error: SteelyardError) -> None:
    text = "\n".join(error.errors) if isinstance(error, BadSpec) else " ".join(str(error).split())
    if isinstance(error, Interrupted) and "same command" not in text:
        text += "; the same command goes on from the last saved state"
    print(text, file=sys.stderr)
    raise SystemExit(error.exit_code)
