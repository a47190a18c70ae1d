from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agsrec.app.events import Event, Said
from agsrec.app.tasks import CutOut


def cut_out_picture(x0: int, x1: int, color: tuple[int, int, int] = (200, 60, 40)) -> Image.Image:
    rgba = np.zeros((60, 80, 4), dtype=np.uint8)
    rgba[..., :3] = 128
    rgba[15:50, x0:x1] = (*color, 255)
    return Image.fromarray(rgba)


def test_doubtful_and_skipped_photos_are_told_by_the_users_names(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    boxes = {"001": (20, 50), "002": (22, 52), "003": (18, 48), "004": (0, 30), "005": (0, 0)}
    for name, box in boxes.items():
        cut_out_picture(*box).save(folder / f"{name}.png")
    said: list[Event] = []
    outcome = CutOut(folder, tmp_path, {"004": "left.png", "005": "empty.png"}).run(said.append)
    texts = [event.text for event in said if isinstance(event, Said)]
    assert texts[0] == "Photo 005 (empty.png) is left out: no object found in it."
    assert texts[1].startswith("Look at the cut-out of photo 004 (left.png): it reaches the photo's border")
    assert outcome["pictures"].keys() == {"001", "002", "003", "004"}
    assert outcome["doubtful"].keys() == {"004"}


@pytest.mark.parametrize("doubt", [None, "it is odd"])
def test_captions_say_what_is_doubtful(tmp_path: Path, doubt: str | None) -> None:
    from agsrec.app.page import _caption
    from agsrec.app.sessions import Photo

    photo = Photo("001", "mug.jpg", tmp_path, doubt=doubt)
    assert _caption(photo) == ("001 doubtful cut-out" if doubt else "001 mug.jpg")
    photo.kept = False
    assert _caption(photo) == "001 left out"
