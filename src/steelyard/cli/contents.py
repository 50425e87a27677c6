"""What the command can do: each verb, the function that does it, and the sentence that lists it.

Only a verb that is called is loaded. Listing them all loads neither the parser nor what draws the help of one.
"""

from __future__ import annotations

import textwrap
from typing import NamedTuple


class Verb(NamedTuple):
    """The function, as file:name in this package, and what it does in a sentence, which also opens its docstring."""

    function: str
    sentence: str


PURPOSE = "Weigh false negatives against false positives: train, compare and prove segmentation losses."

VERBS = {
    "audit": Verb(
        "audit:audit",
        "Question a loss: does it charge for what it says, at the right price, also for absent organs and "
        "large slices?",
    ),
    "calibrate": Verb(
        "calibrate:calibrate",
        "Find the FP and FN weights for a task, prove them on patients never seen, and write the decision card.",
    ),
    "check": Verb(
        "studies:check",
        "Say what a study would do, or everything that is wrong with it: runs, time, memory and disk.",
    ),
    "data": Verb(
        "data:data",
        "Make and check image data.",
    ),
    "demo": Verb(
        "studies:demo",
        "Train two losses on phantoms made for the purpose, and write the report: the whole road in minutes.",
    ),
    "evaluate": Verb(
        "evaluate:evaluate",
        "Score predictions of any tool against references: NIfTI, nnU-Net and TotalSegmentator folders, "
        "DICOM SEG, PNG.",
    ),
    "export-loss": Verb(
        "export_loss:export_loss",
        "Write a loss for nnU-Net, MONAI or segmentation-models-pytorch; what is written does not need Steelyard.",
    ),
    "export-model": Verb(
        "export_model:export_model",
        "Write a trained network as ONNX, with what its images need; compared with torch before it appears.",
    ),
    "figure": Verb(
        "figure:figure",
        "Draw cases: pairs of slices, a stacked model, a film, surfaces.",
    ),
    "ls": Verb(
        "data:ls",
        "List what can be named in a study.",
    ),
    "metric-audit": Verb(
        "scoring:metric_audit",
        "Show which metrics fail to reveal a failed organ: damage predictions on purpose and see what each "
        "metric says.",
    ),
    "paper": Verb(
        "studies:paper",
        "Do every study of the paper's reproduction, and write one page with its tables beside ours.",
    ),
    "predict": Verb(
        "predict:predict",
        "Find organs in new scans: label maps, volumes and a picture of each. The same command goes on where "
        "it stopped.",
    ),
    "report": Verb(
        "studies:report",
        "Write the page and the tables of a study from the runs that are done.",
    ),
    "run": Verb(
        "studies:run",
        "Do every run of a study that is not done yet, then write its report. The same command resumes.",
    ),
    "serve": Verb(
        "view:serve",
        "Show all studies of a run store in a browser of this machine: how far they are, reports, cases. "
        "Ctrl-C ends it.",
    ),
    "status": Verb(
        "studies:status",
        "Say which runs of a study are done, running, failed or to do, and how long the rest will take.",
    ),
    "train": Verb(
        "calibrate:train",
        "Train the final network on all patients, with the loss that a calibration's card recommends.",
    ),
    "view": Verb(
        "view:view",
        "Write a page that shows cases in any browser, offline: slices, outlines, errors, organs in 3-D, and scores.",
    ),
}

NARROWEST = 40  # columns: in fewer a sentence beside its verb would be a heap of syllables

FLAGS = {"--help (-h)": "Say this; after a verb, what it takes.", "--version": "Say the version."}


def contents(width: int) -> str:
    """The verbs with their sentences, in lines of at most `width` columns, or `NARROWEST`."""
    width = max(width, NARROWEST)
    sentences = {name: verb.sentence for name, verb in VERBS.items()} | FLAGS
    column = max(map(len, sentences)) + 4
    rows = [
        textwrap.fill(sentence, width, initial_indent=f"  {name:<{column - 2}}", subsequent_indent=" " * column)
        for name, sentence in sentences.items()
    ]
    return "\n".join(["Usage: steelyard COMMAND", "", textwrap.fill(PURPOSE, width), "", "Commands:", *rows])
