"""Which loss is to be exported: a registered name with its options, or what a calibration card says."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from steelyard.errors import BadData, BadSpec, unknown_name
from steelyard.losses import LOSSES
from steelyard.losses.cross_entropy import CrossEntropyLoss
from steelyard.losses.per_organ import PerOrganLoss
from steelyard.losses.tversky import IoULoss
from steelyard.options import parse_options
from steelyard.study.objects import call
from steelyard.study.spec import Part

CARD_KIND = "calibration card"
CARD_SCHEMA = 1
LONGEST_SLUG = 40  # characters; nnU-Net makes folder names of it
SHORT = {"fp_weight": "fp", "fn_weight": "fn"}


@dataclass(frozen=True)
class LossRecipe:
    """A loss, and whence it came. `classes` names the classes, background first; empty where nothing tells them."""

    part: Part
    loss: nn.Module
    source: str
    classes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The loss as tables show it: `tversky(fp_weight=0.3, fn_weight=1.7)`."""
        return self.part.title

    @property
    def slug(self) -> str:
        """A Python name that no other options share: `iou0515`, `tversky_fp0p3_fn1p7`, `tversky_3f9a1c22`."""
        readable = "_".join(
            [self.part.name, *(f"{SHORT.get(key, key)}{_word(value)}" for key, value in self.part.options.items())]
        )
        if len(readable) <= LONGEST_SLUG and re.fullmatch(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*", readable):
            return readable  # no "__": nnU-Net splits its folders' names there
        digest = hashlib.sha256(json.dumps(self.part.options, sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.part.name}_{digest}"

    @property
    def order_matters(self) -> bool:
        """Whether classes are charged unlike each other, so that another order of classes needs another loss."""
        return any(
            (isinstance(part, PerOrganLoss) and not (part.alike and part.weights is None))
            or (
                isinstance(part, IoULoss | CrossEntropyLoss)
                and any(
                    isinstance(getattr(part, name, None), tuple) for name in ("fp_weight", "fn_weight", "class_weights")
                )
            )
            for part in self.loss.modules()
        )


def read_recipe(loss_or_card: str, options: Sequence[str] = ()) -> LossRecipe:
    """The loss of that name with options such as `fp_weight=0.3`, or that of a card's file (or of its folder).

    Raises:
        BadSpec: no such loss, or options that it does not have.
        BadData: a file that is no card, or a damaged one.
    """
    path = Path(loss_or_card)
    if loss_or_card in LOSSES:
        given = parse_options(options)
        if "name" in given:
            raise BadSpec("--with name=…: the loss is named before its options. Leave it out.")
        part = Part(name=loss_or_card, **given)
        _refuse_frequencies(part)
        command = shlex.join(["steelyard", "export-loss", loss_or_card, *(["--with", *options] if options else [])])
        return LossRecipe(part, _built(part), command)
    if not path.exists() and path.suffix != ".json" and len(path.parts) == 1:
        raise BadSpec(unknown_name("loss", loss_or_card, LOSSES) + " Or name a calibration's card.json.")
    if options:
        raise BadSpec(f"a card holds its options; came --with {' '.join(options)} too. Leave it out, or name a loss.")
    return _read_card(path / "card.json" if path.is_dir() else path)


def _read_card(file: Path) -> LossRecipe:
    try:
        raw = file.read_bytes()
        card = json.loads(raw)
    except OSError as error:
        raise BadData(f"no card can be read from {file} ({error.strerror}). Name a card.json.", file=file) from None
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors; the first line says where
        problem = str(error).splitlines()[0]
        raise BadData(f"{file} is not JSON ({problem}). Calibrate again, or restore the card.", file=file) from None
    kind = card.get("kind") if isinstance(card, dict) else None
    if kind != CARD_KIND:
        raise BadData(
            f"{file} holds {_short(kind)} as its kind where {CARD_KIND!r} is wanted. Name the card.json that "
            "steelyard calibrate wrote.",
            file=file,
        )
    schema = card.get("schema")
    if isinstance(schema, int) and schema > CARD_SCHEMA:
        raise BadData(
            f"{file} has schema {schema}; this Steelyard reads {CARD_SCHEMA}. Export with the newer Steelyard that "
            "wrote it.",
            file=file,
        )
    if schema != CARD_SCHEMA:
        raise _damaged(file, f"schema is {_short(schema)} where {CARD_SCHEMA} is wanted")
    named, classes = card.get("loss"), card.get("classes")
    if not (isinstance(named, dict) and isinstance(named.get("name"), str) and named["name"] in LOSSES):
        raise _damaged(file, f'loss is {_short(named)} where {{"name": a known loss, its options}} is wanted')
    if not (isinstance(classes, list) and len(classes) > 1 and all(isinstance(name, str) for name in classes)):
        raise _damaged(file, f'classes is {_short(classes)} where ["background", "liver", …] is wanted')
    part = Part(**named)
    _refuse_frequencies(part)
    try:
        loss = _built(part)
        _check_class_count(loss, len(classes))
    except (BadSpec, ValueError) as error:
        raise _damaged(file, " ".join(str(error).split()).rstrip(".")) from None
    digest = hashlib.sha256(raw).hexdigest()[:12]
    return LossRecipe(part, loss, f"steelyard export-loss {file.name} (sha256 {digest})", tuple(classes))


def _built(part: Part) -> nn.Module:
    """The loss itself: what checks the options is what trains."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(LOSSES[part.name], "loss", part.name, **part.options)


def _refuse_frequencies(part: Part) -> None:
    frequencies = inspect.signature(LOSSES[part.name]).parameters.get("class_frequencies")
    if frequencies is not None and frequencies.default is frequencies.empty and frequencies.name not in part.options:
        raise BadSpec(
            f"loss {part.name!r} takes its weights from a study's training slices, which no other tool can see. "
            "Export cross_entropy --with class_weights=[…] (1 / the share of each class) in its place."
        )


def _check_class_count(loss: nn.Module, classes: int) -> None:
    """Raises ValueError when weights per class or losses per organ are not as many."""
    loss(torch.zeros(1, classes, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long))


def _word(value: Any) -> str:
    """A value as part of a name: 0.3 is 0p3."""
    return str(value).replace(".", "p")


def _damaged(file: Path, problem: str) -> BadData:
    return BadData(f"{file} is a damaged card: {problem}. Calibrate again, or restore the card.", file=file)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
