"""Spacing is 5 × 2 × 3 mm (slice, row, column), so that axes taken for one another show; grids mirror and turn."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import trimesh

from steelyard.datasets import DATASETS
from steelyard.errors import BadData
from steelyard.labels import CHAOS_MR, LIVER, SPLEEN
from steelyard.views.mesh import organ_mesh, write_glb, write_stl
from steelyard.volume import Geometry, LabelMap

ORIGIN = (-40.0, 20.0, -70.0)
NORMAL = np.array([[0.0, 0, 3, ORIGIN[0]], [0, 2, 0, ORIGIN[1]], [5, 0, 0, ORIGIN[2]], [0, 0, 0, 1]])
SHAPE = (17, 41, 33)


def turned(affine: np.ndarray, degrees: float) -> np.ndarray:
    """The grid turned about (1, 2, 3) by Rodrigues' formula."""
    axis = np.array([1.0, 2, 3]) / np.sqrt(14)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle = np.deg2rad(degrees)
    rotation = np.eye(4)
    rotation[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return rotation @ affine


def label_map(labels: np.ndarray, affine: np.ndarray = NORMAL) -> LabelMap:
    return LabelMap(labels.astype(np.uint8), Geometry(labels.shape, affine), CHAOS_MR)


def box(*sides: slice, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[sides] = LIVER.index
    return labels


def ball(radius_mm: float) -> np.ndarray:
    """A ball about the middle of the grid, in mm."""
    k, i, j = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in SHAPE), indexing="ij")
    return ((5 * k) ** 2 + (2 * i) ** 2 + (3 * j) ** 2 <= radius_mm**2).astype(np.uint8)


def mesh_of(labels: LabelMap, organ=LIVER) -> trimesh.Trimesh:
    mesh = organ_mesh(labels, organ)
    assert mesh is not None
    return mesh


MIRRORED = [NORMAL @ np.diag([*signs, 1.0]) for signs in itertools.product((1, -1), repeat=3)]
GRIDS = [*MIRRORED, turned(NORMAL, 25), turned(MIRRORED[1], -130), NORMAL[:, [1, 2, 0, 3]]]


@pytest.mark.parametrize("affine", GRIDS)
def test_a_ball_is_closed_and_keeps_its_volume_with_normals_to_the_outside_on_every_grid(affine):
    labels = label_map(ball(30.0), affine)
    mesh = mesh_of(labels)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(1000 * labels.volume_ml("liver"), rel=0.002)
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 30**3, rel=0.03)
    outward = np.einsum("ij,ij->i", mesh.face_normals, mesh.triangles_center - mesh.centroid)
    assert (outward > 0).all()


def test_vertices_lie_in_ras_millimetres():
    # Slices 2–5, rows 10–19, columns 4–9: the middle is (3.5, 14.5, 6.5), in LPS (-20.5, 49, -52.5).
    mesh = mesh_of(label_map(box(slice(2, 6), slice(10, 20), slice(4, 10))))
    assert mesh.centroid == pytest.approx([20.5, -49.0, -52.5], abs=0.05)


def test_a_sheared_and_turned_grid_moves_every_vertex_as_the_affine_says():
    affine = turned(NORMAL, 40) @ np.array([[1, 0, 0, 0], [0.2, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    labels = label_map(box(slice(2, 6), slice(10, 20), slice(4, 10)), affine)
    middle = affine @ [3.5, 14.5, 6.5, 1]
    assert mesh_of(labels).centroid == pytest.approx([-middle[0], -middle[1], middle[2]], abs=0.05)
    assert mesh_of(labels).volume == pytest.approx(4 * 10 * 6 * 30, rel=0.002)


def test_the_surface_follows_the_voxels_borders_within_half_a_voxel():
    mesh = mesh_of(label_map(box(slice(2, 6), slice(10, 20), slice(4, 10))))
    # Borders in LPS: x -40 + 3 · (3.5, 9.5), y 20 + 2 · (9.5, 19.5), z -70 + 5 · (1.5, 5.5).
    borders = np.array([[11.5, -59.0, -62.5], [29.5, -39.0, -42.5]])
    assert (np.abs(mesh.bounds - borders) < [1.5, 1.0, 2.5]).all()


def test_an_organ_that_fills_the_whole_image_is_closed():
    mesh = mesh_of(label_map(np.ones((3, 4, 5))))
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(3 * 4 * 5 * 30, rel=0.002)


def test_a_lone_voxel_beside_a_large_organ_stays_with_its_own_volume():
    labels = box(slice(2, 10), slice(5, 20), slice(4, 14))
    labels[14, 35, 30] = LIVER.index
    large, lone = sorted(mesh_of(label_map(labels)).split(), key=lambda mesh: -mesh.volume)
    assert lone.volume == pytest.approx(30, rel=0.01)
    assert lone.centroid == pytest.approx([40 - 90, -20 - 70, -70 + 70], abs=0.05)
    assert large.volume == pytest.approx(8 * 15 * 10 * 30, rel=0.002)


def test_voxels_that_touch_at_a_corner_are_one_piece_and_closed():
    labels = box(slice(4, 6), slice(10, 14), slice(10, 14))
    labels[6, 14, 14] = LIVER.index
    mesh = mesh_of(label_map(labels))
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(33 * 30, rel=0.01)


def test_a_cavity_is_not_filled():
    labels = box(slice(2, 14), slice(4, 36), slice(4, 28))
    labels[6:10, 15:25, 10:20] = 0
    mesh = mesh_of(label_map(labels))
    assert mesh.body_count == 2
    assert mesh.volume == pytest.approx((12 * 32 * 24 - 4 * 10 * 10) * 30, rel=0.002)


def test_only_the_asked_organ_is_drawn_and_an_absent_one_is_none():
    labels = box(slice(2, 6), slice(10, 20), slice(4, 10))
    labels[8:12, 10:20, 4:10] = SPLEEN.index
    mesh = mesh_of(label_map(labels), SPLEEN)
    assert mesh.centroid[2] == pytest.approx(-70 + 9.5 * 5, abs=0.05)
    assert organ_mesh(label_map(labels), CHAOS_MR.organ("left_kidney")) is None


def test_coarser_cells_make_fewer_triangles_of_the_same_volume():
    labels = label_map(ball(30.0))
    coarse = organ_mesh(labels, LIVER, detail_mm=6.0)
    assert coarse is not None
    assert len(coarse.faces) < len(mesh_of(labels).faces) / 4
    assert coarse.is_watertight
    assert coarse.volume == pytest.approx(1000 * labels.volume_ml("liver"), rel=0.002)


def test_an_stl_read_back_has_the_same_millimetres(tmp_path: Path):
    mesh = mesh_of(label_map(box(slice(2, 6), slice(10, 20), slice(4, 10))))
    write_stl(tmp_path / "made" / "liver.stl", mesh)
    read = trimesh.load(tmp_path / "made" / "liver.stl")
    assert read.is_watertight
    assert read.volume == pytest.approx(7200, rel=0.002)
    assert read.centroid == pytest.approx([20.5, -49.0, -52.5], abs=0.05)


def test_a_glb_read_back_has_named_organs_in_their_colours_and_says_its_unit(tmp_path: Path):
    labels = box(slice(2, 6), slice(10, 20), slice(4, 10))
    labels[8:12, 10:20, 4:10] = SPLEEN.index
    meshes = {organ.name: mesh_of(label_map(labels), organ) for organ in (LIVER, SPLEEN)}
    write_glb(tmp_path / "organs.glb", meshes)
    scene = trimesh.load(tmp_path / "organs.glb")
    assert set(scene.geometry) == {"liver", "spleen"}
    assert scene.metadata["units"] == "mm"
    assert scene.metadata["space"] == "RAS"
    assert scene.geometry["spleen"].centroid == pytest.approx([20.5, -49.0, -22.5], abs=0.05)
    # glTF's colours are linear: 213 / 255 in sRGB is ((0.8353 + 0.055) / 1.055) ** 2.4 = 0.665, of 255: 170.
    colour = scene.geometry["liver"].visual.material.baseColorFactor
    assert np.asarray(colour).tolist() == pytest.approx([170, 29, 0, 255], abs=1)


def test_a_place_that_cannot_be_written_is_said_in_one_line(tmp_path: Path):
    mesh = mesh_of(label_map(np.ones((3, 4, 5))))
    (tmp_path / "dir.stl").mkdir()
    with pytest.raises(BadData, match=r"dir\.stl cannot be written"):
        write_stl(tmp_path / "dir.stl", mesh)


@pytest.mark.real_data
def test_the_first_patients_organs_keep_the_millilitres_of_their_voxels(chaos_root: Path):
    dataset = DATASETS["chaos"](chaos_root)
    (key,) = (key for key in dataset.keys(("t1_in",)) if key.patient_id == "mr-01")
    reference = dataset.read(key).reference
    assert reference is not None
    for name, ml in {"liver": 1488.7, "right_kidney": 198.9, "left_kidney": 203.7, "spleen": 121.4}.items():
        mesh = mesh_of(reference, CHAOS_MR.organ(name))
        assert mesh.is_watertight
        assert mesh.volume / 1000 == pytest.approx(ml, rel=0.003)
