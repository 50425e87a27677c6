"""Organs as surfaces in the patient: closed, smooth to the eye, and of the same volume as the voxels they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from skimage.measure import marching_cubes

from steelyard.io.nifti import LPS_FROM_RAS
from steelyard.labels import Organ
from steelyard.runstore import write_bytes, writing_to
from steelyard.volume import Geometry, LabelMap

if TYPE_CHECKING:
    import trimesh

SMOOTHING = 0.6  # standard deviation of the blur, in voxels of the label map, or in steps where these are larger
FINEST_MM = 1.5  # smaller triangles than this add bytes and show nothing
CLEAR = 3  # voxels of background round a piece: the blur ends within them, so that the surface closes
VOLUME_TOLERANCE = 1e-3  # relative, of every piece
MOST_TRIES = 16


def organ_mesh(label_map: LabelMap, organ: Organ, *, detail_mm: float | None = None) -> trimesh.Trimesh | None:
    """The organ's surface in RAS millimetres, closed and with outward normals; None where the map lacks the organ.

    Each connected piece (neighbours across corners count) is blurred by about half a voxel and cut at the level at
    which its surface holds the volume of its voxels. So islands stay, the stairs between thick slices soften, and the
    volume is the label map's whatever the shape.

    Args:
        detail_mm: edge of the cells that the surface is drawn in; the finest voxel spacing (at least 1.5 mm) when left
            out. A larger one makes a smaller file.
    """
    import trimesh

    pieces, count = ndimage.label(label_map.labels == organ.index, np.ones((3, 3, 3)))
    if not count:
        return None
    geometry = label_map.geometry
    detail = max(min(geometry.spacing_mm), FINEST_MM) if detail_mm is None else detail_mm
    surfaces = []
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        indices, faces = _surface(pieces[box] == number, tuple(detail / mm for mm in geometry.spacing_mm))
        corner = np.array([side.start for side in box])
        surfaces.append(trimesh.Trimesh(_ras(indices + corner, geometry), faces, process=False))
    mesh = trimesh.util.concatenate(surfaces)
    if mesh.volume < 0:  # a grid that mirrors turns every triangle over
        mesh.invert()
    mesh.units = "mm"
    mesh.visual = trimesh.visual.TextureVisuals(material=_material(organ))
    return mesh


def write_stl(path: Path, mesh: trimesh.Trimesh) -> None:
    """One surface as binary STL, whole or not at all. Its numbers are RAS millimetres: the format names no unit."""
    with writing_to(path):
        write_bytes(path, mesh.export(file_type="stl"))


def write_glb(path: Path, meshes: Mapping[str, trimesh.Trimesh]) -> None:
    """Named surfaces in their colours as one binary glTF, whole or not at all.

    Its numbers are RAS millimetres, as in the STL, where glTF means metres with Y up: the file says so in its extras,
    and a viewer shows the patient lying on the back of its floor, a thousand times too large, in right proportions.
    """
    import trimesh

    scene = trimesh.Scene(metadata={"units": "mm", "space": "RAS"})
    for name, mesh in meshes.items():
        scene.add_geometry(mesh, node_name=name, geom_name=name)
    content = scene.export(file_type="glb", include_normals=True)
    with writing_to(path):
        write_bytes(path, content)


def _surface(piece: np.ndarray, steps: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (in the piece's voxel indices) and triangles of one piece, cut so that it keeps its volume."""
    sigma = [SMOOTHING * max(1.0, step) for step in steps]
    clear = [int(np.ceil(CLEAR * max(1.0, step))) for step in steps]
    blurred = ndimage.gaussian_filter(np.pad(piece.astype(np.float64), [(n, n) for n in clear]), sigma)
    axes = [np.arange(0.0, side - 1 + step, step) for side, step in zip(blurred.shape, steps, strict=True)]
    field = ndimage.map_coordinates(blurred, np.meshgrid(*axes, indexing="ij"), order=3, mode="constant")
    wanted = float(np.count_nonzero(piece))

    low, high = 0.0, float(field.max())
    level = high / 2
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for _ in range(MOST_TRIES):
        vertices, faces, _, _ = marching_cubes(field, level, spacing=steps)
        volume = abs(_signed_volume(vertices, faces))
        if best is None or abs(volume - wanted) < best[0]:
            best = abs(volume - wanted), vertices, faces
        if best[0] <= VOLUME_TOLERANCE * wanted:
            break
        low, high = (low, level) if volume < wanted else (level, high)
        level = (low + high) / 2
    assert best is not None
    return best[1] - clear, best[2]


def _signed_volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """By the divergence theorem: the sum over triangles of a · (b × c) / 6."""
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def _ras(indices: np.ndarray, geometry: Geometry) -> np.ndarray:
    affine = LPS_FROM_RAS @ geometry.affine  # its own inverse: RAS from LPS
    return indices @ affine[:3, :3].T + affine[:3, 3]


def _material(organ: Organ) -> Any:
    from trimesh.visual.material import PBRMaterial

    screen = np.array(organ.colour) / 255
    linear = np.where(screen <= 0.04045, screen / 12.92, ((screen + 0.055) / 1.055) ** 2.4)  # glTF's, from sRGB
    return PBRMaterial(name=organ.title, baseColorFactor=[*linear, 1.0], metallicFactor=0.0, roughnessFactor=0.8)
