"""Where the voxels of a NIfTI file lie, by its header alone, and what makes that doubtful.

Source: the NIfTI-1 standard, nifti.nimh.nih.gov/nifti-1 (units, and the three methods of orientation).
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.imageglobals import LoggingOutputSuppressor

MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # codes of metres and micrometres; whatever else is said is taken for millimetres
LENGTH_BITS = 7  # of the code of units, which holds that of time, too
VOXEL_TOLERANCE = 1e-2  # relative, between the voxel sizes by the two placements of one header


def ras_affine(image: nib.Nifti1Image) -> np.ndarray:
    """(i, j, k) → RAS millimetres, whatever the header's unit of length is."""
    affine = np.array(image.affine, np.float64)
    affine[:3] *= MM_PER_UNIT.get(int(image.header["xyzt_units"]) & LENGTH_BITS, 1.0)
    return affine


def placement_doubt(path: Path) -> str:
    """What a reader should know of a file's header before volumes and sides are believed; empty where all is well.

    A file that cannot be read gives no doubt: that is told when it is read.
    """
    try:
        with LoggingOutputSuppressor():
            header = nib.load(path).header
            sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    except Exception:  # the parser raises whatever it meets in damaged bytes
        return ""
    if sform is None and qform is None:
        return "its header does not say how it lies in the patient: left and right are a guess"
    if sform is not None and qform is not None:
        by_sform, by_qform = (abs(float(np.linalg.det(form[:3, :3]))) for form in (sform, qform))
        if by_qform > 0 and abs(by_sform / by_qform - 1) > VOXEL_TOLERANCE:
            ratio = by_sform / by_qform
            return f"its header states two voxel sizes: the sform's, used here, is {ratio:.3g} times the qform's"
    return ""


def axial_pixel_mm(path: Path) -> tuple[float, float] | None:
    """Sides of a voxel in the plane that is most nearly axial, smaller first; None for a file that cannot be read."""
    try:
        with LoggingOutputSuppressor():
            axes = ras_affine(nib.load(path))[:3, :3]
    except Exception:
        return None
    lengths = np.linalg.norm(axes, axis=0)
    if not (np.isfinite(lengths).all() and lengths.all()):
        return None
    across = int(np.abs(axes[2] / lengths).argmax())  # the axis that runs most nearly from feet to head
    small, large = sorted(float(mm) for axis, mm in enumerate(lengths) if axis != across)
    return small, large
