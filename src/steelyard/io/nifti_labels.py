"""The names of the values of a NIfTI label map, where its header says them, as TotalSegmentator's `--ml` output does.

Source: the label table of Caret and Connectome Workbench, XML in a header extension; TotalSegmentator writes it so.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import nibabel as nib
from nibabel.imageglobals import LoggingOutputSuppressor

from steelyard.errors import BadData

OWN_ENTITIES = ("<!DOCTYPE", "<!ENTITY")  # no label table has them; a file made to do harm does


def read_label_names(path: Path) -> dict[int, str]:
    """Value → name from the header of a NIfTI file; empty where it says none.

    Raises:
        BadData: a label table that cannot be read. Whatever else is wrong with the file is told when it is read.
    """
    try:
        with LoggingOutputSuppressor():
            extensions = [extension.get_content() for extension in nib.load(path).header.extensions]
    except Exception:  # the parser raises whatever it meets in damaged bytes
        return {}
    names: dict[int, str] = {}
    for content in extensions:
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
        text = text.strip(" \n\r\t\0")
        if "<LabelTable>" not in text:
            continue
        if any(mark in text for mark in OWN_ENTITIES):
            raise BadData(f"{path}: the label table in its header is no plain XML. Write the file again.", file=path)
        try:
            found = {int(label.attrib["Key"]): (label.text or "").strip() for label in _labels(text)}
        except (ElementTree.ParseError, KeyError, ValueError):
            raise BadData(
                f"{path}: the label table in its header cannot be read. Write the file again.", file=path
            ) from None
        names |= {value: name for value, name in found.items() if value and name}
    return names


def _labels(text: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(text).iter("Label"))
