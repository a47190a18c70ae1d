"""What a user is told of photos that do not belong with the others as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agsrec.matching import Oddity

__all__ = ["odd_entries", "odd_sentences"]


def odd_sentences(names: Sequence[str], oddities: Sequence[Oddity]) -> list[str]:
    """One sentence per kind, which names the photos and what to do.

    Args:
        names: Of all V views.
        oddities: What is odd, by the views' indices.
    """
    of_kind: dict[str, list[Oddity]] = {}
    for odd in oddities:
        of_kind.setdefault(odd.kind, []).append(odd)
    return [
        sentence(names, of_kind[kind])
        for kind, sentence in {
            "foreign": _foreign,
            "mirrored": _mirrored,
            "turned": _turned,
            "copy": _copies,
        }.items()
        if kind in of_kind
    ]


def odd_entries(names: Sequence[str], oddities: Sequence[Oddity]) -> dict[str, dict[str, Any]]:
    """What `cameras.json` stores of views that are odd and have a camera all the same, by name."""
    turned = {names[o.view]: {"turned_deg": o.turned_deg} for o in oddities if o.kind == "turned"}
    copies = {names[o.view]: {"copy_of": names[o.of]} for o in oddities if o.of is not None}
    return {**turned, **copies}


def _foreign(names: Sequence[str], oddities: Sequence[Oddity]) -> str:
    one = len(oddities) == 1
    it, was, shows = ("it", "it was", "shows") if one else ("them", "they were", "show")
    return (
        f"{_listed(names, oddities)} {shows} nothing that the other photos show, which have much in common; "
        f"{was} left out: remove {it} if this is something else, add photos in between if it is another side"
    )


def _mirrored(names: Sequence[str], oddities: Sequence[Oddity]) -> str:
    one = len(oddities) == 1
    return (
        f"{_listed(names, oddities)} {'is' if one else 'are'} mirrored: the other photos show the same the "
        f"other way round; {'it was' if one else 'they were'} left out, flip {'it' if one else 'them'} back "
        "and run again"
    )


def _turned(names: Sequence[str], oddities: Sequence[Oddity]) -> str:
    ways = {90: "a quarter turn to the left", 180: "upside down", 270: "a quarter turn to the right"}
    one = len(oddities) == 1
    how = ", ".join(f"{names[odd.view]} ({ways[odd.turned_deg]})" for odd in oddities)
    return (
        f"Turned against the other photos: {how}; {'its camera is' if one else 'their cameras are'} turned "
        "alike, so that nothing has to be done"
    )


def _copies(names: Sequence[str], oddities: Sequence[Oddity]) -> str:
    pairs = ", ".join(f"{names[odd.view]} (of {names[odd.of]})" for odd in oddities if odd.of is not None)
    return (
        f"The same picture again, saved or cut otherwise: {pairs}; both have one camera, and one of them "
        "can go"
    )


def _listed(names: Sequence[str], oddities: Sequence[Oddity]) -> str:
    return ", ".join(names[odd.view] for odd in oddities)
