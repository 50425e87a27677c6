"""A film through the slices of a case: reference and segmentation on the image, side by side."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from steelyard.errors import BadSpec
from steelyard.labels import Organ
from steelyard.runstore import write_atomically, write_bytes, writing_to
from steelyard.views.canvas import BLACK, Panel, sheet
from steelyard.views.case_on_screen import CaseOnScreen
from steelyard.views.shown_cases import ShownCase
from steelyard.views.slices import COLOUR_SHARE

PANEL_PX = 540  # of a picture's longer side
LEAST_PX = 512  # of a frame's either side
FRAMES_PER_SECOND = 4.0
GREYS = 64  # of a GIF's 256 colours; the organs share the others
ENDINGS = (".gif", ".mp4")
MP4_QUALITY = "20"  # of x264, where 18 is said to be indistinguishable and 23 is usual


def frames(case: ShownCase, *, predictions: Sequence[str] | None = None) -> Iterator[Image.Image]:
    """One picture per slice, from the feet to the head (right to left, front to back): all of one size, sides even.

    Left the reference, without one the bare image; then every prediction, under its Dice values in the whole case
    where they are known. Below: the case, the slice and its place in mm.

    Args:
        predictions: the names of those to be shown; all when left out.
    """
    screen = CaseOnScreen(case)
    px_per_mm = PANEL_PX / max(screen.size_mm)
    names = list(case.predictions) if predictions is None else predictions
    for index in _order(case):
        if case.reference is None:
            shown = [Panel(screen.image(index, px_per_mm), ("image", ""))]
        else:
            shown = [Panel(screen.on_image(case.reference, index, px_per_mm), ("reference", ""))]
        for name in names:
            shown.append(Panel(screen.on_image(case.predictions[name], index, px_per_mm), (name, screen.dice(name))))
        row = [Panel(screen.marked(panel.pixels, px_per_mm), panel.words) for panel in shown]
        foot = (f"{case.case_id} · {screen.where(index)}",)
        yield _at_least(sheet([row], case.label_set.organs, paper=BLACK, foot=foot), LEAST_PX)


def write_film(
    path: Path,
    case: ShownCase,
    *,
    predictions: Sequence[str] | None = None,
    frames_per_second: float = FRAMES_PER_SECOND,
) -> None:
    """The film as `.gif`, or as `.mp4` (H.264) with the extra `video`; whole or not at all. Makes missing folders.

    Raises:
        BadSpec: another ending, or `.mp4` without imageio and av.
        BadData: a place that cannot be written.
    """
    check_film(path)
    pictures = frames(case, predictions=predictions)
    if path.suffix.lower() == ".gif":
        content = _gif(pictures, case.label_set.organs, frames_per_second)
        with writing_to(path):
            write_bytes(path, content)
    else:
        with writing_to(path):
            write_atomically(path, lambda temporary: _write_mp4(temporary, pictures, frames_per_second))


def check_film(path: Path) -> None:
    """`BadSpec` unless a film can be written under that name: ask before the work, not after."""
    if path.suffix.lower() not in ENDINGS:
        raise BadSpec(f"films are written as .gif or .mp4; came {path}. Change the ending.")
    if path.suffix.lower() == ".mp4":
        try:
            import av  # noqa: F401
            import imageio.v3  # noqa: F401
        except ImportError:
            raise BadSpec(
                "MP4 films need imageio and av: pip install 'steelyard[video]'. Or name the film .gif, which needs "
                "nothing more."
            ) from None


def _at_least(picture: Image.Image, side_px: int) -> Image.Image:
    """The picture, with black below and to the right where a side is shorter."""
    page = Image.new("RGB", (max(picture.width, side_px), max(picture.height, side_px)), BLACK.ground)
    page.paste(picture)
    return page


def _order(case: ShownCase) -> list[int]:
    """Slice indices by their place along the patient: R to L, A to P or F to H."""
    geometry = case.image.geometry
    step = geometry.affine[:3, 0]
    along = int(np.abs(np.cross(geometry.affine[:3, 1], geometry.affine[:3, 2])).argmax())
    indices = list(range(geometry.shape[0]))
    return indices if step[along] >= 0 else indices[::-1]


def _gif(pictures: Iterator[Image.Image], organs: Sequence[Organ], frames_per_second: float) -> bytes:
    """One palette for all frames, undithered: dither would crawl, and would not compress."""
    palette = Image.new("P", (1, 1))
    palette.putpalette(gif_colours(organs).tobytes())
    reduced = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    buffer = io.BytesIO()
    reduced[0].save(
        buffer, "GIF", save_all=True, append_images=reduced[1:], duration=round(1000 / frames_per_second), loop=0
    )
    return buffer.getvalue()


def gif_colours(organs: Sequence[Organ]) -> np.ndarray:
    """The palette (colour, 3): greys, every organ's own colour, and its colour over as many greys as there is room."""
    room = max((256 - GREYS) // max(len(organs), 1), 1)
    greys = np.linspace(0, 255, GREYS)
    colours = [np.repeat(greys[:, None], 3, axis=1)]
    for organ in organs:
        under = np.linspace(0, 255, room - 1)[:, None] if room > 1 else np.empty((0, 1))
        colours += [np.array([organ.colour]), (1 - COLOUR_SHARE) * under + COLOUR_SHARE * np.array(organ.colour)]
    return np.round(np.concatenate(colours)[:256]).astype(np.uint8)


def _write_mp4(path: Path, pictures: Iterator[Image.Image], frames_per_second: float) -> None:
    import imageio.v3 as imageio

    with imageio.imopen(path, "w", plugin="pyav", extension=".mp4") as film:
        film.init_video_stream("libx264", fps=frames_per_second, pixel_format="yuv420p")
        film._video_stream.options = {"crf": MP4_QUALITY}
        for picture in pictures:
            film.write_frame(np.asarray(picture))
