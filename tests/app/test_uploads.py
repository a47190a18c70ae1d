"""Uploads: what may come in, under which name, and what is said about the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from agsrec.app.pictures import dimmed
from agsrec.app.sessions import Session, Sessions
from agsrec.app.uploads import Limits, label_of, take_in
from agsrec.errors import OptionError


@pytest.fixture
def session() -> Iterator[Session]:
    sessions = Sessions()
    yield sessions.of("a")
    sessions.close()


def photo(path: Path, size: tuple[int, int] = (64, 48), color: str = "red", **options: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)  # pyright: ignore[reportArgumentType]
    return path


def test_names_of_ours_and_labels_of_theirs(session: Session, tmp_path: Path) -> None:
    evil = photo(tmp_path / "in" / "..;rm -rf $HOME <b>cup.png")
    twin = photo(tmp_path / "other" / "..;rm -rf $HOME <b>cup.png", color="blue")
    assert take_in(session, [evil, twin], Limits()) == []
    assert [p.name for p in session.photos] == ["01", "02"]
    assert session.photos[0].label == "rm -rf HOME bcup"
    for p, file in zip(session.photos, (evil, twin), strict=True):
        assert p.file is not None and p.file.read_bytes() == file.read_bytes()
        assert p.file.name == f"{p.name}.png" and p.file.is_relative_to(session.private)
        assert p.picture.is_relative_to(session.public)


def test_a_file_is_what_it_decodes_to(session: Session, tmp_path: Path) -> None:
    jpeg = photo(tmp_path / "a.gif", format="JPEG")
    take_in(session, [jpeg], Limits())
    assert session.photos[0].file is not None and session.photos[0].file.suffix == ".jpg"


def test_a_heic_photo_with_any_name(session: Session, tmp_path: Path) -> None:
    pillow_heif.register_heif_opener()
    take_in(session, [photo(tmp_path / "a.jpg", (64, 48), format="HEIF")], Limits())
    (taken,) = session.photos
    assert taken.file is not None and taken.file.suffix == ".heif"
    with Image.open(taken.picture) as picture:
        assert (picture.format, picture.size) == ("JPEG", (64, 48))


def test_phone_photos_are_upright(session: Session, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    take_in(session, [photo(tmp_path / "a.jpg", (64, 48), exif=exif)], Limits())
    with Image.open(session.photos[0].picture) as picture:
        assert picture.size == (48, 64)


def test_one_sentence_for_each_file_that_cannot_be_used(session: Session, tmp_path: Path) -> None:
    text = tmp_path / "letter.png"
    text.write_text("not a picture")
    dot = photo(tmp_path / "dot.png", (1, 1))
    large = tmp_path / "large.png"
    Image.new("1", (20_000, 20_000)).save(large)
    heavy = photo(tmp_path / "heavy.bmp", (200, 200))
    good = photo(tmp_path / "good.webp")
    refused = take_in(session, [text, dot, large, heavy, good], Limits(bytes=100_000))
    assert [p.label for p in session.photos] == ["good"]
    assert [s.split()[0].strip(":") for s in refused] == ["letter", "dot", "large", "heavy"]
    assert "is not an image" in refused[0] and "1 x 1" in refused[1]
    assert "is more than 100 megapixels" in refused[2] and "larger than 0 MB" in refused[3]
    assert not any(str(tmp_path) in sentence for sentence in refused)


def test_too_many_and_none_of_them_is_taken(session: Session, tmp_path: Path) -> None:
    files = [photo(tmp_path / f"{i}.png") for i in range(13)]
    take_in(session, files[:11], Limits())
    with pytest.raises(OptionError, match="13 photos are too many: use at most 12"):
        take_in(session, files[:2], Limits())
    assert len(session.photos) == 11
    take_in(session, files[:1], Limits())
    assert session.photos[-1].name == "12"


def test_own_photos_replace_an_example(session: Session, tmp_path: Path) -> None:
    take_in(session, [photo(tmp_path / "a.png")], Limits())
    session.posed, session.title = True, "eagle"
    before = session.photos[0].picture
    take_in(session, [photo(tmp_path / "b.png")], Limits())
    assert [p.label for p in session.photos] == ["b"] and not session.posed
    assert session.title == "your object" and not before.exists()


def test_nothing_usable_changes_nothing(session: Session, tmp_path: Path) -> None:
    take_in(session, [photo(tmp_path / "a.png")], Limits())
    session.posed, session.title, session.scene = True, "eagle", tmp_path
    assert len(take_in(session, [photo(tmp_path / "dot.png", (1, 1))], Limits())) == 1
    assert session.posed and session.scene == tmp_path and session.title == "eagle"
    assert session.photos[0].picture.exists()


def test_what_is_left_out_looks_pale(session: Session, tmp_path: Path) -> None:
    take_in(session, [photo(tmp_path / "a.png", color="black")], Limits())
    pale = dimmed(session.photos[0].picture)
    with Image.open(pale) as picture:
        assert 150 < np.asarray(picture).mean() < 200


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("IMG_2041.JPG", "IMG_2041"),
        ("<script>.png", "script"),
        ("\x00\u202e/", "photo"),
        ("ä" * 99, "ä" * 32),
    ],
)
def test_labels(name: str, label: str) -> None:
    assert label_of(name) == label


def test_a_video_comes_alone(session: Session, tmp_path: Path) -> None:
    clip, picture = tmp_path / "my <i>clip.MP4", photo(tmp_path / "a.png")
    clip.write_bytes(b"anything: what it holds is seen later")
    with pytest.raises(OptionError, match=r"my iclip is a video.*upload it alone"):
        take_in(session, [picture, clip], Limits())
    assert take_in(session, [clip], Limits(video_bytes=20)) == [
        "my iclip is larger than 0 MB: make it shorter."
    ]
    assert session.video is None
    take_in(session, [clip], Limits())
    assert session.video is not None and session.video.label == "my iclip" and not session.photos
    assert session.video.file.name == "video.mp4" and session.video.file.is_relative_to(session.private)
    take_in(session, [picture], Limits())  # instead of a video that waits
    assert session.video is None and [p.label for p in session.photos] == ["a"]
    with pytest.raises(OptionError, match="Start over makes room"):
        take_in(session, [clip], Limits())
    assert len(session.photos) == 1


def test_a_video_instead_of_an_example(session: Session, tmp_path: Path) -> None:
    take_in(session, [photo(tmp_path / "a.png")], Limits())
    session.posed, session.scene = True, tmp_path
    clip = tmp_path / "clip.mov"
    clip.write_bytes(b"anything")
    take_in(session, [clip], Limits())
    assert session.video is not None and not (session.photos or session.posed or session.scene)
