"""The verb that uses a trained network: a scan in, organs, volumes and pictures out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from steelyard.cli.app import console
from steelyard.errors import BadData

Several = Parameter(consume_multiple=True, negative=())


def predict(
    model: Path,
    input: Path,
    out: Path,
    *,
    with_: Annotated[list[Path], Parameter(name="--with", consume_multiple=True, negative=())] = [],  # noqa: B006
    to: Annotated[list[Literal["nifti", "dicom-seg", "rtstruct", "png"]], Several] = ["nifti"],  # noqa: B006
    series: Annotated[list[str], Several] = [],  # noqa: B006
    offsets: Annotated[list[str], Several] = [],  # noqa: B006
    largest_component: Annotated[list[str] | None, Several] = None,
    crf: Annotated[bool, Parameter(negative=())] = False,
    pseudonym: str | None = None,
    device: str = "auto",
) -> None:
    """Find organs in new scans: label maps, volumes and a picture of each. The same command goes on where it stopped.

    Exit code 3 when a scan could not be used; the others are done all the same.

    Parameters
    ----------
    model
        The folder of a finished run, or the card.json of a calibration whose network `steelyard train` made.
    input
        A DICOM folder (the series that the model was trained on is found in it), a NIfTI file (several channels as
        scan_0000.nii.gz, scan_0001.nii.gz, …), or a folder of any number of these, a CHAOS tree among them.
    out
        A new folder, or the one of an earlier prediction by the same models, which is completed.
    with_
        Further models of an ensemble: their probabilities are averaged.
    to
        What to write: label maps as NIfTI, DICOM segmentation, DICOM structure set, or PNG masks per slice.
    series
        Which series of an examination, when that is not plain: its position in the list that is shown, its number, a
        word of its line or part of its UID; one for each channel.
    offsets
        Moves the decision, as liver=0.3 spleen=-0.1: added to the log probability, above 0 finds more of an organ. A
        card's own offset is used by itself.
    largest_component
        Keep the largest piece alone, of the organs named, or of all when none is named.
    crf
        Look at the image once more with a fully connected CRF: by the study's [crf], else its defaults.
    pseudonym
        Stands in DICOM objects for the patient's name and number.
    device
        auto, cpu, or cuda.
    """
    from steelyard.inference.batch import Prediction, predict_batch, summary
    from steelyard.inference.inputs import find_inputs
    from steelyard.inference.models import load_models
    from steelyard.inference.predict_case import decision_of

    ensemble = load_models([model, *with_], device=device)
    decide, notes = decision_of(ensemble, offsets=offsets, largest=largest_component, crf=crf)
    inputs = find_inputs(input, ensemble.first, series=series)
    for note in [*notes, *inputs.notes]:
        console().print(f"note: {note}", highlight=False, soft_wrap=True)
    wanted = Prediction(ensemble, decide, tuple(dict.fromkeys(to)), pseudonym)
    records = predict_batch(inputs, out, wanted, console=console())
    for line in [*summary(records), f"prediction: {out}"]:
        console().print(line, highlight=False, soft_wrap=True)
    if failed := sum(not record.is_done for record in records):
        raise BadData(
            f"{failed} of {len(records)} scans could not be predicted, for the reasons above. "
            "Mend them and run the same command."
        )
