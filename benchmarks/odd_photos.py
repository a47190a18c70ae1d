"""Whether photos that do not belong with the others as they are get found, and whether others are suspected.

python benchmarks/odd_photos.py FOLDER... [--views 8] [--each 2] [--kinds mirrored turned ...] [--json FILE]

FOLDER holds views of one object, as for `initialisers.py`. Of its first views one is changed at a time,
`--each` different ones: mirrored, turned by 90 or 180 degrees, replaced by the next folder's, shrunk to a
third, or added once more, smaller, shifted and saved as JPEG. Views as they are, and a small one, are not to
be named.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from initialisers import given
from machine import description, heading
from torch import Tensor
from torch.nn import functional as F

from agsrec import Views
from agsrec.errors import AgsrecError
from agsrec.export.tables import text_table
from agsrec.files import atomic_write
from agsrec.matching import (
    Features,
    Matcher,
    PairMatches,
    describe_views,
    find_oddities,
    load_matcher,
    match_features,
)
from agsrec.pose_init.nview.reading import read_views
from agsrec.pose_init.odd import lens_guesses

KINDS = ("as they are", "mirrored", "turned 90", "turned 180", "foreign", "small", "copy")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Known:
    """Views with what is found out about them once."""

    name: str
    views: Views
    features: list[Features]
    found: list[PairMatches]

    def changed(self, view: int, image: Tensor, matcher: Matcher) -> Known:
        """The same with another picture [H, W, 4] for a view, or one more."""
        images = [*self.views.images]
        features = [*self.features]
        new = describe_views(Views(image[None], ("new",)), matcher)[0]
        images[view : view + 1], features[view : view + 1] = [image], [new]
        pairs = [pair for pair in combinations(range(len(images)), 2) if view in pair]
        untouched = [f for f in self.found if view not in (f.first, f.second)]
        views = Views(torch.stack(images), tuple(f"{k:03d}" for k in range(len(images))))
        return Known(self.name, views, features, [*untouched, *match_features(features, matcher, pairs)])


@dataclass(frozen=True)
class Outcome:
    """What was said of views of which one was changed.

    Attributes:
        named: Kind and view of everything that was named.
        right: Whether exactly the change was named.
    """

    name: str
    kind: str
    view: int
    named: list[str]
    right: bool
    seconds: float


def saved_again(image: Tensor) -> Tensor:
    """A picture [H, W, 4] at six tenths of its size and back, shifted, its colours as JPEG keeps them."""
    pixels = (image.numpy() * 255).round().astype(np.uint8)
    height, width = pixels.shape[:2]
    _, code = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., :3]), [cv2.IMWRITE_JPEG_QUALITY, 75])
    decoded = np.dstack([np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR)), pixels[..., 3]])
    small = cv2.resize(decoded, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    back = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return torch.from_numpy(np.roll(back, (2, 3), (0, 1)).astype(np.float32) / 255)


def resized(image: Tensor, height: int, width: int, share: float = 1.0) -> Tensor:
    """A picture [H, W, 4] in the middle `share` of one of another size."""
    inner = (round(share * height), round(share * width))
    drawn = F.interpolate(image.movedim(-1, 0)[None], inner, mode="area")[0].movedim(0, -1)
    out = torch.zeros(height, width, 4)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    out[top : top + inner[0], left : left + inner[1]] = drawn
    return out


def changes(kind: str, known: Known, view: int, stranger: Tensor) -> tuple[int, Tensor, str]:
    """Which view is changed and into what, and what should be said then."""
    image = known.views.images[view]
    size = (known.views.height, known.views.width)
    last = len(known.views)
    return {
        "mirrored": (view, image.flip(1), f"mirrored {view}"),
        "turned 90": (view, image.rot90(1, (0, 1)), f"turned 90 {view}"),
        "turned 180": (view, image.rot90(2, (0, 1)), f"turned 180 {view}"),
        "foreign": (view, resized(stranger, *size), f"foreign {view}"),
        "small": (view, resized(image, *size, share=1 / 3), ""),
        "copy": (last, saved_again(image), f"copy of {view} {last}"),
    }[kind]


def named(known: Known, matcher: Matcher) -> list[str]:
    """What is said of views, in the words of `changes`."""
    lenses = lens_guesses(read_views(known.views, "nview-mini", CPU), None)
    odd = find_oddities(known.views, known.features, known.found, matcher, lenses)
    words = {"turned": "turned {0.turned_deg}", "copy": "copy of {0.of}"}
    return [f"{words.get(o.kind, o.kind).format(o)} {o.view}" for o in odd]


def outcomes(
    known: Known, stranger: Tensor, each: int, kinds: Sequence[str], matcher: Matcher
) -> Iterator[Outcome]:
    """All changes of one folder's views."""
    chosen = [1 + k * (len(known.views) - 1) // each for k in range(each)]
    for kind in kinds:
        for view in [-1] if kind == KINDS[0] else chosen:
            case, wanted = known, ""
            if view >= 0:
                place, image, wanted = changes(kind, known, view, stranger)
                case = known.changed(place, image, matcher)
            clock = time.perf_counter()
            said = named(case, matcher)
            right = said == ([wanted] if wanted else [])
            yield Outcome(known.name, kind, view, said, right, time.perf_counter() - clock)


def row(kind: str, members: Sequence[Outcome]) -> dict[str, Any]:
    """One line of the table."""
    silent = kind in (KINDS[0], "small")
    return {
        "Changed": kind,
        "Cases": len(members),
        "Right": sum(o.right for o in members),
        "Nothing said": sum(not o.named for o in members),
        "Something wrong said": sum(bool(o.named) and not o.right for o in members),
        "To be named": "no" if silent else "yes",
        "Seconds": f"{sum(o.seconds for o in members) / len(members):.1f}",
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--each", type=int, default=2, help="how many views are changed, one at a time")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--json", type=Path, help="file for all outcomes")
    options = parser.parse_args(argv)
    print(heading(description()), flush=True)
    found: list[Outcome] = []
    try:
        matcher = load_matcher()
        scenes = [given(folder) for folder in options.folders]
        scenes = [replace(s, views=s.views[range(min(options.views, len(s.views)))]) for s in scenes]
        for k, scene in enumerate(scenes):
            features = describe_views(scene.views, matcher)
            known = Known(scene.name, scene.views, features, match_features(features, matcher))
            stranger = scenes[(k + 1) % len(scenes)].views.images[0]
            for outcome in outcomes(known, stranger, options.each, options.kinds, matcher):
                found.append(outcome)
                print(f"{outcome.name} {outcome.kind} {outcome.view}: {outcome.named}", flush=True)
                if options.json is not None:
                    atomic_write(options.json, json.dumps([asdict(o) for o in found]) + "\n")
    except AgsrecError as error:
        parser.error(str(error))
    rows = [row(kind, [o for o in found if o.kind == kind]) for kind in options.kinds]
    print(f"\n{text_table(rows)}")


if __name__ == "__main__":
    main()
