from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from shown import AFFINE, REFERENCE, labels_of, shown_case
from steelyard.errors import BadData, BadSpec
from steelyard.labels import CHAOS_MR, LabelSet, Organ
from steelyard.views.film import frames, gif_colours, write_film

OVER_WHITE = {"liver": (234, 174, 128), "left_kidney": (128, 206, 185), "spleen": (170, 218, 244)}


def share(picture: np.ndarray, colour: tuple[int, int, int], *, within: int = 0) -> float:
    return float((np.abs(picture.astype(int) - colour).max(-1) <= within).mean())


def test_there_is_a_frame_per_slice_of_one_even_size_above_512_pixels():
    pictures = list(frames(shown_case()))
    assert len(pictures) == 6
    assert len({picture.size for picture in pictures}) == 1
    assert pictures[0].width >= 2 * 512
    assert pictures[0].height >= 512
    assert pictures[0].width % 2 == pictures[0].height % 2 == 0


def test_reference_and_prediction_stand_side_by_side_on_the_image_of_their_slice():
    pictures = [np.asarray(picture)[:-60] for picture in frames(shown_case())]
    half = pictures[0].shape[1] // 2
    liver = [
        [share(p[:, side], OVER_WHITE["liver"]) > 0.01 for side in (slice(half), slice(half, None))] for p in pictures
    ]
    assert liver == [[False] * 2, *[[True] * 2] * 4, [False] * 2]  # slices 1–4
    spleen = [
        [share(p[:, side], OVER_WHITE["spleen"]) > 0.01 for side in (slice(half), slice(half, None))] for p in pictures
    ]
    assert spleen == [[False] * 2] * 2 + [[True, False]] + [[False] * 2] * 3  # slice 2, in the reference alone


def test_a_film_runs_from_the_feet_to_the_head_however_the_slices_are_stored():
    reverse = AFFINE.copy()
    reverse[:3, 3] += 5 * AFFINE[:3, 0]
    reverse[:3, 0] *= -1
    stored_upside_down = shown_case(affine=reverse)
    flipped = {index: (slice(6 - box[0].stop, 6 - box[0].start), *box[1:]) for index, box in REFERENCE.items()}
    object.__setattr__(stored_upside_down, "reference", labels_of(flipped, reverse))
    kidney = [
        share(np.asarray(p)[:-60, : p.width // 2], OVER_WHITE["left_kidney"]) > 0.01 for p in frames(stored_upside_down)
    ]
    assert kidney == [False, False, True, True, False, False]  # as in test below: slices 2 and 3 from the feet
    spleen = [
        share(np.asarray(p)[:-60, : p.width // 2], OVER_WHITE["spleen"]) > 0.01 for p in frames(stored_upside_down)
    ]
    assert spleen == [False, False, True, False, False, False]


def test_without_a_reference_the_image_alone_stands_on_the_left():
    picture = np.asarray(list(frames(shown_case(reference=False)))[3])[:-60]
    half = picture.shape[1] // 2
    assert share(picture[:, :half], OVER_WHITE["liver"]) == 0
    assert share(picture[:, half:], OVER_WHITE["liver"]) > 0.01


def test_a_gif_read_back_has_every_frame_its_colours_and_its_speed(tmp_path: Path):
    case = shown_case(dice={"liver": 0.9})
    case.image.intensities[:] = np.linspace(0, 100, 40)  # every grey that there is
    write_film(tmp_path / "made" / "p1.gif", case, frames_per_second=5)
    with Image.open(tmp_path / "made" / "p1.gif") as film:
        assert film.n_frames == 6
        assert film.info["duration"] == 200
        assert film.info["loop"] == 0
        pictures = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)]
    for picture, drawn in zip(pictures, frames(case), strict=True):
        assert picture.shape == np.asarray(drawn).shape
        away = np.abs(picture.astype(int) - np.asarray(drawn)).max(-1)
        assert np.quantile(away, 0.999) <= 6  # a grey step is 4, and one of an organ's 3


def test_the_palette_has_every_organs_own_colour_and_room_for_many_organs():
    colours = {tuple(map(int, colour)) for colour in gif_colours(CHAOS_MR.organs)}
    assert {organ.colour for organ in CHAOS_MR.organs} <= colours
    assert {(0, 0, 0), (255, 255, 255)} <= colours
    assert all(
        any(max(abs(a - b) for a, b in zip(c, over, strict=True)) <= 1 for c in colours) for over in OVER_WHITE.values()
    )
    many = LabelSet(tuple(Organ(f"o{k}", k, k, (k, 255 - k, 7)) for k in range(1, 255)))
    assert gif_colours(many.organs).shape == (256, 3)
    assert gif_colours(()).shape[0] <= 256


def test_an_mp4_read_back_has_every_frame_in_its_colours(tmp_path: Path):
    pytest.importorskip("av")
    import imageio.v3 as imageio

    write_film(tmp_path / "p1.mp4", shown_case())
    film = imageio.imread(tmp_path / "p1.mp4", plugin="pyav")
    assert len(film) == 6
    drawn = np.asarray(list(frames(shown_case()))[2])
    assert film[2].shape == drawn.shape
    assert share(film[2], OVER_WHITE["liver"], within=12) == pytest.approx(share(drawn, OVER_WHITE["liver"]), rel=0.1)
    assert imageio.immeta(tmp_path / "p1.mp4", plugin="pyav")["fps"] == 4


def test_an_mp4_without_its_packages_is_refused_by_name_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BadSpec, match=r"pip install 'steelyard\[video\]'"):
        write_film(tmp_path / "p1.mp4", shown_case())
    assert not list(tmp_path.iterdir())
    write_film(tmp_path / "p1.gif", shown_case())
    assert (tmp_path / "p1.gif").is_file()


def test_another_ending_and_a_place_in_use_are_said_in_one_line(tmp_path: Path):
    with pytest.raises(BadSpec, match=r"\.gif or \.mp4; came .*p1\.avi"):
        write_film(tmp_path / "p1.avi", shown_case())
    (tmp_path / "p1.gif").mkdir()
    with pytest.raises(BadData, match=r"p1\.gif cannot be written"):
        write_film(tmp_path / "p1.gif", shown_case())
