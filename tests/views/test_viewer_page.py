"""The viewer page in a real browser: what is where on the screen, what keys do, and that it stays by itself."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from chromium import Tab, browser, new_tab
from phantoms import ORGAN_BOXES, organ_labels, pixels_like
from steelyard.errors import BadData
from steelyard.labels import CHAOS_CT, CHAOS_MR, LabelSet
from steelyard.views.shown_cases import SCORES, ShownCase
from steelyard.views.viewer import viewer_link, write_viewer
from steelyard.views.viewer.pack import pack_image
from steelyard.volume import Geometry, LabelMap, Volume

SHAPE = (6, 24, 20)
# 3 mm between slices (to the head), 2 mm between rows (to the back), 1 mm between columns (to the patient's left).
AXIAL = Geometry(SHAPE, np.array([[0, 0, 1.0, -10], [0, 2.0, 0, -20], [3.0, 0, 0, -30], [0, 0, 0, 1]]))
ODD = "</script><b>&\"'"  # a name of which no letter may become markup


def scores(case_id: str, values: dict[str, list[float | None]]) -> pl.DataFrame:
    rows = [
        {"case_id": case_id, "prediction": name, "organ": organ.name, "metric": "dice", "convention": "counts",
         "value": value, "unit": "1", "status": "ok"}
        for name, own in values.items() for organ, value in zip(CHAOS_MR.organs, own, strict=True)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=SCORES)


def shifted() -> np.ndarray:
    """The boxes, with errors counted by hand on slice 3: the liver misses a column of 8 pixels, the right kidney spills
    over a row of 3, and a row of 4 of the spleen is taken for liver."""
    labels = organ_labels(SHAPE)
    slices, rows, columns = ORGAN_BOXES["liver"]
    labels[slices, rows, columns.start] = 0
    slices, rows, columns = ORGAN_BOXES["right_kidney"]
    labels[slices, rows.stop, columns] = CHAOS_MR.organ("right_kidney").index
    slices, rows, columns = ORGAN_BOXES["spleen"]
    labels[slices, rows.start, columns] = CHAOS_MR.organ("liver").index
    return labels


def axial_case() -> ShownCase:
    labels, found = organ_labels(SHAPE), shifted()
    grey = np.where(labels > 0, 100.0 + 50 * labels, 20.0).astype(np.float32)
    grey[..., -1] = 35  # rows do not end as they begin
    image = Volume(grey, AXIAL)
    maps = {"first": LabelMap(labels, AXIAL, CHAOS_MR), ODD: LabelMap(found, AXIAL, CHAOS_MR)}
    values: dict[str, list[float | None]] = {"first": [1.0, 1.0, 1.0, 1.0], ODD: [0.9, 0.8, None, 0.7]}
    return ShownCase("p1_axial", image, LabelMap(labels, AXIAL, CHAOS_MR), maps, scores("p1_axial", values))


def coronal_case() -> ShownCase:
    """The same patient scanned from back to front, rows from the feet up, columns to the patient's right."""

    def turned(stack: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(stack.transpose(1, 0, 2)[::-1, :, ::-1])

    affine = np.array([[0, 0, -1.0, 9], [-2.0, 0, 0, 26], [0, 3.0, 0, -30], [0, 0, 0, 1]])
    geometry = Geometry((24, 6, 20), affine)
    case = axial_case()
    assert case.reference is not None
    maps = {name: LabelMap(turned(m.labels), geometry, CHAOS_MR) for name, m in case.predictions.items()}
    reference = LabelMap(turned(case.reference.labels), geometry, CHAOS_MR)
    values: dict[str, list[float | None]] = {"first": [0.2, 0.2, 0.2, 0.2], ODD: [0.1, 0.1, 0.1, 0.1]}
    image = Volume(turned(case.image.intensities), geometry)
    return ShownCase("p2_coronal", image, reference, maps, scores("p2_coronal", values))


@pytest.fixture(scope="module")
def launched() -> Iterator[object]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("viewer")
    return write_viewer(folder / "viewer.html", [axial_case(), coronal_case()], title="small & <odd>")


@pytest.fixture(scope="module")
def tab(launched: object, file: Path) -> Tab:
    opened = new_tab(launched)
    opened.page.goto(file.as_uri() + viewer_link("p2_coronal", ODD, "spleen"))
    opened.page.wait_for_selector("body[data-ready=yes][data-surfaces]")
    opened.at_first = opened.page.evaluate("[document.body.dataset.shown, document.getElementById('here').textContent]")
    return opened


def arrive(tab: Tab, case: str, prediction: str) -> None:
    """Wait until the page shows that case; its own rules let no test run code of a string."""
    for _ in range(600):
        if tab.page.evaluate("document.body.dataset.shown") == f"{case}|{prediction}":
            return
        tab.page.wait_for_timeout(50)
    pytest.fail(f"{case} under {prediction} did not appear")


def show(tab: Tab, case: str, prediction: str, *layers: str) -> None:
    """Open a case in the axial view on its third slice, with these layers alone, their fills solid."""
    page = tab.page
    page.evaluate("link => { location.hash = link; }", viewer_link(case, prediction, "liver"))
    arrive(tab, case, prediction)
    page.click("[data-view=axial]")
    for layer in ("reference", "prediction", "errors"):
        page.set_checked(f"#{layer}", layer in layers)
        fill = f"[data-opacity={layer}]"
        page.eval_on_selector(fill, "slider => { slider.value = 100; slider.dispatchEvent(new Event('input')); }")
    while axial_slice(tab) != 3:
        page.keyboard.press("ArrowUp" if axial_slice(tab) < 3 else "ArrowDown")


def axial_slice(tab: Tab) -> int:
    """Counted from the feet, by the crosshair's millimetres: the first slice lies at −30 mm."""
    height = re.search(r"([SI]) ([\d.]+) mm", tab.page.text_content("#place"))
    assert height is not None
    mm = float(height[2]) * (1 if height[1] == "S" else -1)
    return round((mm + 30) / 3) + 1


def screen(tab: Tab) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(tab.page.locator("#screen").screenshot())).convert("RGB")).astype(int)


def where(picture: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
    return np.abs(picture - np.array(colour)).max(-1) <= 3


def inside(mask: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Pixels of the mask so far from its edge."""
    moved = [np.roll(mask, step, axis) for axis, n in ((0, rows), (1, columns)) for step in (-n, n)]
    return np.logical_and.reduce([mask, *moved])


def middle(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(0)[::-1]  # x, y


COLOURS = {organ.name: organ.colour for organ in CHAOS_MR.organs}


@pytest.mark.browser
@pytest.mark.parametrize("case", ["p1_axial", "p2_coronal"])
def test_organs_lie_in_their_colours_where_the_image_shows_them(tab, case):
    show(tab, case, "first", "prediction")
    coloured = screen(tab)
    masks = {name: where(coloured, colour) for name, colour in COLOURS.items()}
    show(tab, case, "first")
    plain = screen(tab)
    assert not any(where(plain, colour).any() for colour in COLOURS.values())  # they vanish with their layer

    # 48, 12, 15 and 24 pixels of the third slice; the lines along their borders take a little of each
    assert masks["liver"].sum() / masks["spleen"].sum() == pytest.approx(48 / 24, rel=0.1)
    liver, kidney = middle(masks["liver"]), middle(masks["left_kidney"])
    spleen, right_kidney = middle(masks["spleen"]), middle(masks["right_kidney"])
    assert liver[0] < spleen[0]  # the patient's right is on the left
    assert liver[1] < kidney[1]  # front on top
    # liver (columns 2–8, rows 4–12) to left kidney (13–16, 14–19): 9.5 mm across and 17 mm down
    assert (kidney - liver)[0] / (kidney - liver)[1] == pytest.approx(9.5 / 17, rel=0.05)
    # liver to spleen (14–18, 5–11): 11 mm; the two kidneys (3–6, 14–18): 10 mm
    assert (spleen - liver)[0] / (kidney - right_kidney)[0] == pytest.approx(11 / 10, rel=0.05)

    # the image fades from one voxel's centre to the next: half a voxel inside the outline, it is the organ's alone
    px_mm = (kidney - liver)[1] / 17
    greys = {name: plain[inside(mask, round(1.2 * px_mm), round(0.6 * px_mm))].mean(-1) for name, mask in masks.items()}
    middles = {name: float(np.median(values)) for name, values in greys.items()}
    assert middles["liver"] < middles["right_kidney"] < middles["left_kidney"] < middles["spleen"]  # 150 to 300
    for name, values in greys.items():
        assert (np.abs(values - middles[name]) < 6).mean() > 0.9  # all but the crosshair


@pytest.mark.browser
@pytest.mark.parametrize("case", ["p1_axial", "p2_coronal"])
def test_sagittal_slices_look_to_the_left_and_heads_are_up(tab, case):
    show(tab, case, "first", "prediction")
    tab.page.click("[data-view=sagittal]")
    tab.page.keyboard.press("2")  # through the right kidney, behind the liver and lower by half a slice
    picture = screen(tab)
    liver, kidney = middle(where(picture, COLOURS["liver"])), middle(where(picture, COLOURS["right_kidney"]))
    assert liver[0] < kidney[0]
    assert liver[1] < kidney[1]
    tab.page.click("[data-view=coronal]")
    tab.page.keyboard.press("3")  # through both kidneys; the left one is higher by a slice
    picture = screen(tab)
    right, left = middle(where(picture, COLOURS["right_kidney"])), middle(where(picture, COLOURS["left_kidney"]))
    assert right[0] < left[0]
    assert right[1] > left[1]


@pytest.mark.browser
def test_an_organ_that_is_switched_off_is_gone_and_the_others_stay(tab):
    show(tab, "p1_axial", "first", "prediction")
    tab.page.uncheck("[data-show=spleen]")
    picture = screen(tab)
    tab.page.check("[data-show=spleen]")
    assert not where(picture, COLOURS["spleen"]).any()
    assert where(picture, COLOURS["liver"]).any()


@pytest.mark.browser
def test_errors_have_three_colours_of_the_right_size(tab):
    show(tab, "p1_axial", ODD, "errors")
    picture = screen(tab)
    sizes = [where(picture, colour).sum() for colour in ((0, 114, 178), (230, 159, 0), (204, 121, 167))]
    assert sizes[0] / sizes[1] == pytest.approx(8 / 3, rel=0.1)
    assert sizes[2] / sizes[1] == pytest.approx(4 / 3, rel=0.1)
    # of the whole case, at .006 ml a voxel: the page shows tenths of a millilitre
    assert tab.page.text_content("#ml-missed") == "0.2 ml"  # 4 slices × 8
    tab.page.uncheck("[data-show=spleen]")
    tab.page.uncheck("[data-show=liver]")
    alone = screen(tab)
    tab.page.check("[data-show=spleen]")
    tab.page.check("[data-show=liver]")
    assert not where(alone, (204, 121, 167)).any()
    assert where(alone, (230, 159, 0)).sum() == sizes[1]


@pytest.mark.browser
def test_keys_go_through_slices_organs_layers_and_cases(tab):
    page = tab.page
    show(tab, "p1_axial", "first", "reference", "prediction")
    assert page.text_content("#slice-number") == "slice 3 of 6"
    page.keyboard.press("ArrowUp")
    assert page.text_content("#slice-number") == "slice 4 of 6"
    page.keyboard.press("PageDown")
    assert page.text_content("#slice-number") == "slice 1 of 6"  # no slice below the first
    page.keyboard.press("3")  # left kidney: slices 3 to 5
    assert page.text_content("#here") == "reference left kidney, prediction left kidney"
    assert page.text_content("#value") == "value 250"
    # columns 13–15, rows 14–18: the middle column at 4 mm to the left, the middle row at 12 mm to the back
    assert page.text_content("#place") == "L 4.0 · P 12.0 · I 24.0 mm"
    for key, layer in (("r", "reference"), ("p", "prediction"), ("e", "errors")):
        before = page.is_checked(f"#{layer}")
        page.keyboard.press(key)
        assert page.is_checked(f"#{layer}") is not before
    page.keyboard.press("n")
    arrive(tab, "p2_coronal", "first")
    page.keyboard.press("b")
    arrive(tab, "p1_axial", "first")
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.keyboard.press("Escape")
    assert not page.is_visible("#help")


@pytest.mark.browser
def test_the_mouse_moves_the_crosshair_scrolls_and_sets_the_window(tab):
    show(tab, "p1_axial", "first", "prediction")
    x, y = middle(where(screen(tab), COLOURS["spleen"]))
    corner = tab.page.locator("#screen").bounding_box()
    mouse = tab.page.mouse
    mouse.move(corner["x"] + x, corner["y"] + y)
    mouse.down()
    mouse.up()
    assert tab.page.text_content("#here") == "reference spleen, prediction spleen"
    mouse.wheel(0, 100)
    assert axial_slice(tab) in (2, 4)
    window = tab.page.input_value("#low"), tab.page.input_value("#high")
    mouse.down(button="right")
    mouse.move(corner["x"] + x + 40, corner["y"] + y + 60, steps=4)
    mouse.up(button="right")
    assert (tab.page.input_value("#low"), tab.page.input_value("#high")) != window
    tab.page.click("#window-reset")
    assert (tab.page.input_value("#low"), tab.page.input_value("#high")) == window


@pytest.mark.browser
def test_the_worst_slice_is_the_one_with_most_errors(tab):
    show(tab, "p1_axial", ODD)
    tab.page.keyboard.press("Shift+4")  # the spleen's only errors are on slices 3 and 4
    assert "the slice with most errors, 4 pixels" in tab.page.text_content("#said")
    tab.page.keyboard.press("w")
    # slices 3 and 4 miss 8 and take 4 for another organ; only slice 3 spills over 3 more (the kidney ends there, too)
    assert "15 pixels" in tab.page.text_content("#said")


@pytest.mark.browser
def test_the_list_follows_the_prediction_worst_case_first(tab):
    page = tab.page
    show(tab, "p1_axial", "first")
    page.select_option("#choice", ODD)
    arrive(tab, "p1_axial", ODD)
    visible = page.eval_on_selector_all(
        "#cases tbody tr", "rows => rows.filter(r => !r.hidden).map(r => r.innerText.split(/\\s+/))"
    )
    assert [row[:3] for row in visible] == [["p2_coronal", "0.10", "0.10"], ["p1_axial", "0.80", "0.90"]]
    assert visible[1][4] == "–"  # the left kidney's Dice is undefined
    page.click("#cases tbody tr:not([hidden]) a")
    arrive(tab, "p2_coronal", ODD)
    assert "case=p2_coronal" in page.evaluate("location.hash")


@pytest.mark.browser
def test_a_link_opens_case_prediction_and_organ(tab):
    assert tab.at_first == [f"p2_coronal|{ODD}", "reference spleen, prediction spleen"]


@pytest.mark.browser
def test_without_webgl_one_line_says_so_and_the_scores_stay(launched, file):
    opened = new_tab(launched)
    opened.page.add_init_script(
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...rest)"
        " { return kind === 'webgl2' ? null : get.call(this, kind, ...rest); };"
    )
    opened.page.goto(file.as_uri())
    opened.page.wait_for_selector("#unable:visible")
    assert "WebGL" in opened.page.text_content("#unable")
    assert not opened.page.is_visible("#stage")
    assert "0.20" in opened.page.inner_text("#cases table")
    assert opened.said == []
    opened.page.close()


@pytest.mark.browser
def test_the_page_asks_nothing_of_anyone_and_never_complains(tab):
    assert tab.said == []
    assert [url for url in tab.asked if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.browser
def test_grey_values_arrive_as_they_left(tab):
    arrived = tab.page.evaluate("Unpack.image('image-0', 20).then((voxels) => Array.from(voxels))")
    sent = axial_case().image.intensities
    np.testing.assert_array_equal(np.array(arrived).reshape(SHAPE) + sent.min(), sent)


@pytest.mark.browser
def test_outlines_run_halfway_between_pixels_and_round_holes(tab):
    ring = [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]
    curves = tab.page.evaluate("ring => Contours.outline(5, 6, (u, v) => ring[v][u] === 1)", ring)
    areas = sorted(shoelace(np.array(curve).reshape(-1, 2)) for curve in curves)
    # corners are cut by 1/8 of a pixel: 9 − ½ round the ring, ½ the hole, ½ a lone pixel at the edge; holes run back
    assert areas == pytest.approx([-8.5, -0.5, 0.5]) or areas == pytest.approx([-0.5, 0.5, 8.5])
    lone = next(c for c in curves if max(c[1::2]) > 5)
    assert sorted(zip(lone[::2], lone[1::2], strict=True)) == [(0, 5.5), (0.5, 5), (0.5, 6), (1, 5.5)]


def shoelace(curve: np.ndarray) -> float:
    x, y = curve.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


@pytest.mark.browser
def test_a_surface_is_closed_looks_outwards_and_lies_in_millimetres(tab):
    # a box of 12 × 10 × 6 voxels of 1 × 2 × 3 mm, mirrored along x, its centre at voxel (7.5, 6.5, 4.5)
    points, triangles = tab.page.evaluate(
        """() => {
          const inside = (x, y, z) => x >= 2 && x < 14 && y >= 2 && y < 12 && z >= 2 && z < 8;
          const box = Surfaces.boxes([20, 20, 20], (x, y, z) => inside(x, y, z) ? 1 : 0).get(1);
          const found = Surfaces.surface(box, inside, [[-1, 0, 0, 100], [0, 2, 0, 0], [0, 0, 3, -5]]);
          return [Array.from(found.points), Array.from(found.triangles)];
        }"""
    )
    vertices, faces = np.array(points).reshape(-1, 3), np.array(triangles).reshape(-1, 3)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges)  # each edge once in each direction: closed
    assert {tuple(edge) for edge in edges} == {tuple(edge) for edge in edges[:, ::-1]}
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    volume = np.einsum("ij,ij->", a, np.cross(b, c)) / 6
    assert volume == pytest.approx(12 * 10 * 6 * 6, rel=1e-3)
    assert (vertices.min(0) + vertices.max(0)) / 2 == pytest.approx([92.5, 13, 8.5], abs=1e-3)
    assert (np.abs(np.ptp(vertices, axis=0) - [12, 20, 18]) < [1, 2, 3]).all()


def unpacked(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """What the page's script does, in numpy."""
    planes = np.frombuffer(gzip.decompress(base64.b64decode(text)), np.uint8).reshape(2, *shape).astype(np.int64)
    folded = planes[0] + 256 * planes[1]
    return np.cumsum(np.where(folded % 2, -(folded + 1) // 2, folded // 2), axis=-1) % 65536


def test_whole_numbers_are_packed_without_loss_even_from_end_to_end():
    whole = np.array([[[0, 65535, 0, 1], [65535, 65535, 3, 40000]]]) - 2000.0
    packed = pack_image(whole)
    np.testing.assert_array_equal(unpacked(packed.text, whole.shape) * packed.slope + packed.inter, whole)


def test_fractions_are_rounded_to_steps_that_nobody_sees():
    image = np.random.default_rng(4).normal(size=(2, 5, 7)).astype(np.float32)
    packed = pack_image(image)
    back = unpacked(packed.text, image.shape) * packed.slope + packed.inter
    assert np.abs(back - image).max() <= np.ptp(image) / 65535


def index_of(page: Path) -> dict:
    found = re.search(r'<script type="application/json" id="index">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found is not None
    return json.loads(found[1])


def test_no_name_becomes_markup(file):
    text = file.read_text(encoding="utf-8")
    assert ODD not in text
    assert "<odd>" not in text
    assert [p["name"] for p in index_of(file)["cases"][0]["predictions"]] == ["first", ODD]


def test_ct_starts_in_the_soft_tissue_window_and_mr_in_its_own_percentiles(tmp_path):
    labels = LabelMap(np.zeros(SHAPE, np.uint8), AXIAL, CHAOS_CT)
    hounsfield = pixels_like(labels.labels, seed=1).astype(np.float32) - 1100
    cases = [
        ShownCase("ct", Volume(hounsfield, AXIAL), None, {"a": labels}),
        ShownCase("mr", Volume(hounsfield + 1100, AXIAL), None, {"a": labels}),
    ]
    ct, mr = index_of(write_viewer(tmp_path / "v.html", cases, title="t"))["cases"]
    assert ct["window"] == [-160, 240]
    assert mr["window"] == pytest.approx(np.percentile(hounsfield + 1100, (1, 99.5)))
    assert ct["reference"] is None


def test_nothing_to_show_and_organs_that_differ_are_refused(tmp_path):
    with pytest.raises(BadData, match="no case"):
        write_viewer(tmp_path / "v.html", [], title="t")
    other = LabelMap(np.zeros(SHAPE, np.uint8), AXIAL, LabelSet(CHAOS_MR.organs[:1]))
    with pytest.raises(BadData, match="other organs"):
        write_viewer(
            tmp_path / "v.html", [axial_case(), ShownCase("x", axial_case().image, None, {"a": other})], title="t"
        )
    assert list(tmp_path.iterdir()) == []
