"""Run by the Python of .venv-rt-utils, never imported: the masks that rt-utils sees in structure sets.

    python rt_utils_masks.py OUT.npz SERIES_FOLDER STRUCTURE_SET [SERIES_FOLDER STRUCTURE_SET ...]

rt-utils 1.2.7 takes the two numbers of PixelSpacing, and Rows and Columns, in the wrong order, which only shows where
they differ: there it is handed them exchanged, so that it computes what it means to.
"""

import sys

import numpy as np
from rt_utils import RTStructBuilder

masks = {}
for number, (folder, file) in enumerate(zip(sys.argv[2::2], sys.argv[3::2], strict=True)):
    structures = RTStructBuilder.create_from(folder, file)
    for image in structures.series_data:
        image.PixelSpacing = image.PixelSpacing[::-1]
        image.Rows, image.Columns = image.Columns, image.Rows
    for name in structures.get_roi_names():
        masks[f"{number} {name}"] = np.moveaxis(structures.get_roi_mask_by_name(name), 2, 0)
np.savez(sys.argv[1], **masks)
