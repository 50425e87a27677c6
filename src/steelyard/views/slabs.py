"""A label map as a stack of plates, one per slice and as thick as the slice step, drawn without a graphics card.

The outer faces of voxels are parallelograms; seen in parallel projection, those of one direction all have one shape on
the screen. So each direction is drawn at once: a depth is kept for every pixel, and the nearest face wins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from steelyard.volume import Geometry, LabelMap

ROUNDING_MM = 2.5  # of the plates' rims, for their shading alone: no voxel is moved
SEAM = 0.1  # share of a plate's thickness, at either rim, that is drawn darker
SEAM_SHADE = 0.8
STEP_MM = 4.0  # a jump in depth of more than this is an edge
EDGE_SHADE = 0.45
AMBIENT = 0.42
HOLLOW_MM = 14.0  # how far round a pixel is looked for something nearer that would shade it
HOLLOW_SHADE = 0.35
FEW_PX = 5  # that blur is counted in
FAR = -1e9
CHUNK = 4_000_000  # pixels tried at once


@dataclass(frozen=True)
class View:
    """Where the viewer stands: in front of the patient at 0°, 0°; above the head at an elevation of 90°.

    On the screen the patient's right is on the left, and the head is up, as long as the azimuth stays small.
    """

    elevation_deg: float
    azimuth_deg: float = 0.0

    @property
    def axes(self) -> np.ndarray:
        """Unit vectors in LPS that point to the right of the screen, to its top, and to the viewer; one per row."""
        e, a = np.deg2rad(self.elevation_deg), np.deg2rad(self.azimuth_deg)
        right = np.array([np.cos(a), np.sin(a), 0.0])
        viewer = np.array([np.cos(e) * np.sin(a), -np.cos(e) * np.cos(a), np.sin(e)])
        return np.stack([right, np.cross(viewer, right), viewer])


@dataclass(frozen=True)
class Window:
    """The part of the screen that is drawn, in mm to the right and to the top, and its scale."""

    left: float
    right: float
    bottom: float
    top: float
    px_per_mm: float

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.top - self.bottom, self.right - self.left
        return max(1, round(height * self.px_per_mm)), max(1, round(width * self.px_per_mm))


@dataclass(frozen=True, eq=False)
class Drawing:
    """Per pixel: the class that is seen (0 where none is), and how much light it gives back (0–1)."""

    classes: np.ndarray
    light: np.ndarray


def window(label_maps: list[LabelMap], view: View, px_per_mm: float, *, margin_mm: float) -> Window:
    """The smallest window that holds all organs of all label maps, with a margin."""
    points = []
    for label_map in label_maps:
        half = np.abs(view.axes[:2] @ label_map.geometry.affine[:3, :3]).sum(1) / 2  # of a voxel, on the screen
        centres = _patient(np.argwhere(label_map.labels > 0), label_map.geometry) @ view.axes[:2].T
        points += [centres - half, centres + half]
    every = np.concatenate(points)
    if not len(every):
        return Window(-margin_mm, margin_mm, -margin_mm, margin_mm, px_per_mm)
    (left, bottom), (right, top) = every.min(0) - margin_mm, every.max(0) + margin_mm
    return Window(left, right, bottom, top, px_per_mm)


def draw(label_map: LabelMap, view: View, frame: Window) -> Drawing:
    """The stack of plates as it is seen."""
    height, width = frame.shape
    depth = np.full(height * width, FAR)
    classes = np.zeros(height * width, np.uint8)
    light = np.zeros(height * width)
    label_map = _cropped(label_map)
    for axis in range(3):
        for sign in (-1, 1):
            _draw_faces(label_map, axis, sign, view, frame, depth, classes, light)
    shape = height, width
    return _with_edges(depth.reshape(shape), classes.reshape(shape), light.reshape(shape), frame)


def _cropped(label_map: LabelMap) -> LabelMap:
    """The part of the grid that holds organs."""
    boxes = ndimage.find_objects((label_map.labels > 0).astype(np.uint8))
    if not boxes:
        return label_map
    labels = label_map.labels[boxes[0]]
    affine = label_map.geometry.affine.copy()
    affine[:3, 3] = _patient(np.array([side.start for side in boxes[0]]), label_map.geometry)
    return LabelMap(labels, Geometry(labels.shape, affine), label_map.label_set)


def _draw_faces(
    label_map: LabelMap,
    axis: int,
    sign: int,
    view: View,
    frame: Window,
    depth: np.ndarray,
    classes: np.ndarray,
    light: np.ndarray,
) -> None:
    """All outer faces towards one neighbour; `depth`, `classes` and `light` are changed where a face is nearest."""
    geometry = label_map.geometry
    steps = geometry.affine[:3, :3].T  # row k: one step along index axis k
    first, second = (steps[k] for k in range(3) if k != axis)
    normal = np.cross(first, second)
    normal *= sign * np.sign(normal @ steps[axis]) / np.linalg.norm(normal)
    edges = np.stack([first, second]) @ view.axes.T  # on the screen, and in depth
    area = edges[0, 0] * edges[1, 1] - edges[0, 1] * edges[1, 0]
    if normal @ view.axes[2] <= 1e-6 or abs(area) < 1e-9:
        return  # turned away, or seen from its edge

    voxels = np.argwhere(_outer(label_map.labels > 0, axis, sign))
    if not len(voxels):
        return
    corner = np.full(3, -0.5)
    corner[axis] = 0.5 * sign
    origins = _patient(voxels + corner, geometry) @ view.axes.T
    x = (origins[:, 0] - frame.left) * frame.px_per_mm
    y = (frame.top - origins[:, 1]) * frame.px_per_mm
    e1, e2 = edges[0, :2] * (frame.px_per_mm, -frame.px_per_mm), edges[1, :2] * (frame.px_per_mm, -frame.px_per_mm)
    inverse = np.linalg.inv(np.stack([e1, e2], axis=1))
    spread = np.stack([0 * e1, e1, e2, e1 + e2])
    low, high = np.floor(spread.min(0)).astype(int) - 1, np.ceil(spread.max(0)).astype(int) + 1
    dx, dy = (d.ravel() for d in np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1)))

    face_light = _light(label_map, voxels, axis, normal, view)
    face_class = label_map.labels[tuple(voxels.T)]
    height, width = frame.shape
    seam_side = None if axis == 0 else 0  # of a rim, the first edge runs along the slice axis
    for start in range(0, len(voxels), max(1, CHUNK // len(dx))):
        part = slice(start, start + max(1, CHUNK // len(dx)))
        column, row = np.floor(x[part]).astype(int)[:, None] + dx, np.floor(y[part]).astype(int)[:, None] + dy
        from_origin = np.stack([column + 0.5 - x[part][:, None], row + 0.5 - y[part][:, None]])
        along = np.einsum("ij,jfp->ifp", inverse, from_origin)
        hit = ((along >= -1e-9) & (along <= 1 + 1e-9)).all(0)
        hit &= (column >= 0) & (column < width) & (row >= 0) & (row < height)
        face, _ = np.nonzero(hit)
        pixel = row[hit] * width + column[hit]
        s, t = along[0][hit], along[1][hit]
        near = origins[part][face, 2] + s * edges[0, 2] + t * edges[1, 2]
        np.maximum.at(depth, pixel, near)
        wins = near >= depth[pixel]
        shade = face_light[part][face]
        if seam_side is not None:
            shade = np.where((s < SEAM) | (s > 1 - SEAM), SEAM_SHADE * shade, shade)
        light[pixel[wins]] = shade[wins]
        classes[pixel[wins]] = face_class[part][face][wins]


def _outer(filled: np.ndarray, axis: int, sign: int) -> np.ndarray:
    """Voxels whose neighbour along `axis` is empty, or beyond the volume's end."""
    padded = np.pad(filled, [(1, 1) if k == axis else (0, 0) for k in range(3)])
    neighbour = np.roll(padded, -sign, axis)
    inside = tuple(slice(1, -1) if k == axis else slice(None) for k in range(3))
    return filled & ~neighbour[inside]


def _light(label_map: LabelMap, voxels: np.ndarray, axis: int, normal: np.ndarray, view: View) -> np.ndarray:
    """Lambert's law; the lamp stands behind the viewer's left shoulder. Rims are lit as if their stairs were round."""
    normals = np.broadcast_to(normal, (len(voxels), 3))
    if axis != 0:
        _, row_mm, column_mm = label_map.geometry.spacing_mm
        rounded = np.pad((label_map.labels > 0).astype(np.float32), [(0, 0), (1, 1), (1, 1)])
        rounded = ndimage.gaussian_filter(rounded, (0, ROUNDING_MM / row_mm, ROUNDING_MM / column_mm), mode="constant")
        k, i, j = voxels[:, 0], voxels[:, 1] + 1, voxels[:, 2] + 1
        slopes = np.zeros((len(voxels), 3))
        slopes[:, 1] = rounded[k, i - 1, j] - rounded[k, i + 1, j]
        slopes[:, 2] = rounded[k, i, j - 1] - rounded[k, i, j + 1]
        smooth = slopes @ np.linalg.inv(label_map.geometry.affine[:3, :3])
        length = np.linalg.norm(smooth, axis=1, keepdims=True)
        normals = np.where(length > 1e-3, smooth / np.maximum(length, 1e-9), normals)
    lamp = np.array([-0.45, 0.5, 0.75]) @ view.axes
    return AMBIENT + (1 - AMBIENT) * np.clip(normals @ (lamp / np.linalg.norm(lamp)), 0, 1)


def _with_edges(depth: np.ndarray, classes: np.ndarray, light: np.ndarray, frame: Window) -> Drawing:
    """Darker hollows, and dark lines where the depth jumps or one organ ends at another."""
    seen = depth > FAR
    if not seen.any():
        return Drawing(classes, light)
    filled = np.where(seen, depth, depth[seen].min())
    light = light * (1 - HOLLOW_SHADE * np.clip((_nearby(filled, frame.px_per_mm) - filled) / HOLLOW_MM, 0, 1))
    nearest = ndimage.maximum_filter(np.where(seen, depth, FAR), 3)
    highest, lowest = ndimage.maximum_filter(classes, 3), ndimage.minimum_filter(classes, 3)
    edge = seen & ((nearest - depth > STEP_MM) | (highest != lowest))
    return Drawing(classes, np.where(edge, EDGE_SHADE * light, light))


def _nearby(depth: np.ndarray, px_per_mm: float) -> np.ndarray:
    """The mean depth round every pixel; counted on few pixels, for it is smooth."""
    sigma = HOLLOW_MM * px_per_mm / 2
    every = max(1, int(sigma / FEW_PX))
    small = Image.fromarray(depth.astype(np.float32)).reduce(every)
    blurred = ndimage.gaussian_filter(np.asarray(small), sigma / every)
    return np.asarray(Image.fromarray(blurred).resize(depth.shape[::-1], Image.Resampling.BILINEAR))


def _patient(indices: np.ndarray, geometry: Geometry) -> np.ndarray:
    return indices @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
