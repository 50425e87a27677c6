"""Many scans, one after the other: a broken one stops none, and what is done is not done again."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from steelyard.errors import DISK_FULL, BadData, BadSpec, Interrupted, disk_full
from steelyard.freed_memory import freed_memory_kept
from steelyard.inference.inputs import InputCase, Inputs, Scan
from steelyard.inference.models import Ensemble
from steelyard.inference.outputs import (
    NEEDS_DICOM,
    Format,
    no_dicom,
    output_path,
    preview_path,
    remove_outputs,
    write_outputs,
)
from steelyard.inference.predict_case import Decision, predict_scan
from steelyard.inference.preview import said, write_preview
from steelyard.inference.record import (
    CaseRecord,
    done_record,
    earlier,
    failed_record,
    fixed,
    machine,
    write_record,
)
from steelyard.inference.volumes import organ_volumes, undefined_volumes, volumes_csv, volumes_json
from steelyard.io.pseudonym import check_pseudonym
from steelyard.runstore import RunFolder, write_bytes, write_json
from steelyard.study.interrupt import stop_on_signals

ANOTHER = "Name another folder for this input."

Stop = Callable[[], bool]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What is to be done to every case of an input."""

    ensemble: Ensemble
    decide: Decision = field(default_factory=Decision)
    formats: tuple[Format, ...] = ("nifti",)
    pseudonym: str | None = None


@freed_memory_kept()
def predict_batch(inputs: Inputs, out: Path, wanted: Prediction, *, console: Console) -> list[CaseRecord]:
    """Predict every case into `out`, with volumes and a picture of each; returns what became of them.

    One image is in memory, and the next one is read meanwhile. A case that is in `out` with the same input and all
    formats is left as it is.

    Raises:
        BadSpec: a DICOM object is asked of scans that are all NIfTI; one pseudonym for several patients.
        BadData: `out` is in use for something else, or cannot be written.
        Interrupted: a signal or a full disk; the same call goes on.
    """
    as_dicom = [name for name in wanted.formats if name in NEEDS_DICOM]
    if as_dicom and not any(case.is_dicom for case in inputs.cases):
        raise BadSpec(no_dicom(as_dicom[0]))
    if wanted.pseudonym is not None and as_dicom:
        _check_pseudonym(wanted.pseudonym, inputs)
    about = fixed(wanted.ensemble, wanted.decide, pseudonym=wanted.pseudonym)
    earlier(out, about)  # before a lock is left in a folder of something else
    with RunFolder(out).locked() as mine:
        if not mine:
            raise BadData(f"another prediction is writing to {out}. Wait for it, or name another folder.")
        before = earlier(out, about)  # again: another command may just have ended
        batch = _Batch(inputs, out, wanted, about | machine(wanted.ensemble), before, console)
        try:
            with stop_on_signals() as stop:
                return batch.carry_out(stop)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise disk_full(error, out) from error
            raise


def _check_pseudonym(pseudonym: str, inputs: Inputs) -> None:
    check_pseudonym(pseudonym)
    patients = len({case.patient for case in inputs.cases if case.patient})
    if patients > 1:
        raise BadSpec(
            f"--pseudonym stands for one patient, and the input holds {patients}: archives would take them for one. "
            "Predict each patient alone, with a pseudonym and a folder of their own."
        )


class _Batch:
    def __init__(
        self,
        inputs: Inputs,
        out: Path,
        wanted: Prediction,
        about: dict[str, object],
        before: dict[str, CaseRecord],
        console: Console,
    ) -> None:
        self._cases, self._out, self._wanted, self._about = inputs.cases, out, wanted, about
        self._console = console
        self._records = {name: record for name, record in before.items() if record.is_done}
        self._results: list[CaseRecord] = []
        self._started = time.monotonic()

    def carry_out(self, stop: Stop) -> list[CaseRecord]:
        done = 0
        self._write_tables()
        with ThreadPoolExecutor(1) as reader:
            following: Future[_Read] | None = None
            for position, case in enumerate(self._cases):
                own = following or reader.submit(self._read, case)
                following = None
                read = own.result()
                if stop():
                    raise self._stopped(done)
                if position + 1 < len(self._cases):
                    following = reader.submit(self._read, self._cases[position + 1])
                try:
                    self._do(case, read, position, stop)
                except Interrupted:
                    if stop():
                        raise self._stopped(done) from None
                    raise
                done += 1
        return self._results

    def _stopped(self, done: int) -> Interrupted:
        return Interrupted(f"stopped: {done} of {len(self._cases)} cases are done in {self._out}")

    def _read(self, case: InputCase) -> _Read:
        """The scan; None with its hash when it is done already; or the reason why there is none."""
        started = time.monotonic()
        if case.problem:
            return _Read(None, "", reason=case.problem)
        try:
            digest = case.sha256()
            known = self._records.get(case.name)
            if known is not None and known.input_sha256 != digest:
                return _Read(None, digest, reason=f"{self._out} holds another scan of that name. {ANOTHER}")
            if known is not None and self._is_whole(known):
                return _Read(None, digest)
            return _Read(case.read(), digest, seconds=time.monotonic() - started)
        except BadData as error:
            return _Read(None, "", reason=str(error))
        except OSError as error:
            return _Read(None, "", reason=f"{error.filename or 'a file'} cannot be read ({error.strerror}).")
        except Exception as error:  # no memory left, or whatever a reader meets in damaged bytes
            return _Read(None, "", reason=_first_line(error))

    def _is_whole(self, record: CaseRecord) -> bool:
        """Whether every format that is wanted now was written then and is still there."""
        wanted = self._wanted.formats
        paths = [output_path(self._out, record.name, name) for name in wanted] + [preview_path(self._out, record.name)]
        return set(wanted) <= set(record.formats) and all(path.exists() for path in paths)

    def _do(self, case: InputCase, read: _Read, position: int, stop: Stop) -> None:
        head = f"{position + 1}/{len(self._cases)} {case.name}"
        if not read.reason and read.scan is None:
            self._console.print(f"{head}: done before", highlight=False, soft_wrap=True)
            self._results.append(self._records[case.name])
            return
        record = self._predicted(case, read, stop)
        self._results.append(record)
        if record.is_done or case.name not in self._records:  # what was done before stands
            self._records[case.name] = record
        self._write_tables()
        words = " · ".join(said(volume) for volume in record.volumes) if record.is_done else record.reason
        note = f" · {case.note}" if case.note else ""
        self._console.print(
            f"{head}: {words}{f' · {record.seconds:.1f} s' if record.is_done else ''}{note}",
            highlight=False,
            soft_wrap=True,
        )

    def _predicted(self, case: InputCase, read: _Read, stop: Stop) -> CaseRecord:
        wanted, label_set = self._wanted, self._wanted.ensemble.first.label_set
        started = time.monotonic()
        reason = read.reason
        if read.scan is not None:
            try:
                scan = read.scan
                found = predict_scan(wanted.ensemble.models, scan.image, wanted.decide, stop=stop)
                volumes = organ_volumes(found.label_map, found.seen)
                write_outputs(self._out, case.name, found.label_map, scan, wanted.formats, pseudonym=wanted.pseudonym)
                preview = preview_path(self._out, case.name)
                write_preview(preview, case.name, scan.image, found.label_map, volumes, caption=self._caption)
                return done_record(
                    case,
                    input_sha256=read.digest,
                    formats=wanted.formats,
                    seconds=round(read.seconds + time.monotonic() - started, 2),
                    volumes=volumes,
                )
            except BadData as error:
                reason = str(error)
            except OSError:
                raise
            except Interrupted:
                raise
            except Exception as error:  # no memory left, whatever a foreign network does
                reason = _first_line(error)
        if case.name not in self._records:
            remove_outputs(self._out, case.name)
        return failed_record(case, " ".join(reason.split()), undefined_volumes(label_set))

    @property
    def _caption(self) -> str:
        models = self._wanted.ensemble.models
        return models[0].name if len(models) == 1 else f"mean of {len(models)} models"

    def _write_tables(self) -> None:
        """Record last: a case counts once it is in there."""
        cases = sorted(self._records.values(), key=lambda record: record.name)
        rows = [(record.name, record.volumes) for record in cases]
        write_bytes(self._out / "volumes.csv", volumes_csv(rows))
        write_json(self._out / "volumes.json", volumes_json(rows))
        seconds = time.monotonic() - self._started
        write_record(self._out, self._about, cases, formats=self._wanted.formats, seconds=seconds)


@dataclass(frozen=True, eq=False)
class _Read:
    scan: Scan | None
    digest: str
    reason: str = ""
    seconds: float = 0.0


def summary(records: list[CaseRecord]) -> list[str]:
    """The last lines: how many, and each failure with its reason."""
    failed = [record for record in records if not record.is_done]
    flagged = sum(any(volume.flag for volume in record.volumes) for record in records if record.is_done)
    lines = [f"{len(records) - len(failed)} of {len(records)} predicted, {flagged} with a flag on an organ's volume"]
    return lines + [f"failed: {record.name}: {record.reason}" for record in failed]


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
