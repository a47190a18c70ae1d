"""Videos as photos: which frames are taken, what is said of the others, and what cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from agsrec.batch.listing import faults, folder_rows, listed_jobs
from agsrec.batch.places import Place
from agsrec.cli import main
from agsrec.errors import AgsrecError, ImageError, OptionError
from agsrec.frames import RECORD, extract_frames, photos_of
from agsrec.frames.choice import Choice, choose_frames
from agsrec.frames.survey import Survey
from agsrec.images import load_image, save_png
from agsrec.options import ObjectOptions
from agsrec.preprocess import process
from tests.frames.films import HEIGHT, WIDTH, blurred, scene, walk, write_film


def numbers(files: tuple[str, ...]) -> list[int]:
    return [int(file.removeprefix("frame_").removesuffix(".jpg")) for file in files]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("film") / "mug.avi", walk())


def test_frames_are_spread_and_written_as_they_are(film: Path, tmp_path: Path) -> None:
    done = extract_frames(film, tmp_path / "out", count=6)
    chosen = numbers(done.files)
    assert len(chosen) == 6
    gaps = np.diff(chosen)
    assert gaps.min() >= 3 and gaps.max() <= 7  # of 30 frames that move alike
    for number, file in zip(chosen, done.files, strict=True):
        rgba, _ = load_image(tmp_path / "out" / file)
        assert rgba.shape[:2] == (HEIGHT, WIDTH)
        off = [
            np.abs(rgba[..., :3].astype(float) - scene(1, 30 / 29 * near)[..., ::-1]).mean()
            for near in (number - 1, number, number + 1)
        ]
        assert np.argmin(off) == 1 and off[1] < 14
    assert done.seconds == pytest.approx([number / 10 for number in chosen], abs=0.01)
    assert "6 of 30 frames of mug.avi are photos" in done.said[0]
    stored = json.loads((tmp_path / "out" / RECORD).read_text())
    assert tuple(stored["files"]) == done.files


def test_the_same_video_gives_the_same_frames(film: Path, tmp_path: Path) -> None:
    first, second = (extract_frames(film, tmp_path / name, count=5) for name in ("a", "b"))
    assert first.files == second.files
    for file in first.files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_camera_that_stands_still_in_between_gives_one_frame(tmp_path: Path) -> None:
    pictures = walk(end=12, frames=12) + [scene(1, 12)] * 40 + walk(start=12, end=24, frames=12)
    chosen = numbers(extract_frames(write_film(tmp_path / "a.avi", pictures), count=8).files)
    assert sum(16 < number < 48 for number in chosen) <= 1
    assert sum(number <= 16 for number in chosen) >= 3 <= sum(number >= 48 for number in chosen)


def test_sharp_frames_are_taken(tmp_path: Path) -> None:
    pictures = [p if k % 3 == 0 else blurred(p) for k, p in enumerate(walk())]
    done = extract_frames(write_film(tmp_path / "a.avi", pictures), count=6)
    assert len(done.files) >= 5 and all(number % 3 == 0 for number in numbers(done.files))


def test_a_stretch_without_a_sharp_frame_is_left_out(tmp_path: Path) -> None:
    pictures = [blurred(p) if 10 <= k < 20 else p for k, p in enumerate(walk())]
    done = extract_frames(write_film(tmp_path / "a.avi", pictures), count=8)
    assert not [number for number in numbers(done.files) if 10 <= number < 20]
    assert any("left out, because no frame there is sharp" in sentence for sentence in done.said)


def test_the_way_back_shows_nothing_new(tmp_path: Path) -> None:
    there = walk(frames=20)
    done = extract_frames(write_film(tmp_path / "a.avi", there + there[::-1]), count=10)
    assert any("left out that show" in sentence for sentence in done.said)
    assert 8 <= len(done.files) <= 10, "and the frames in between take the place of what it would have given"
    assert sorted(file.name for file in (tmp_path / "a").glob("frame_*")) == list(done.files)
    where = sorted(min(number, 39 - number) for number in numbers(done.files))
    assert len(set(where)) == len(where) and np.diff(where).max() <= 4, where


def test_more_frames_than_asked_for_are_thinned(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first choice has others' frames in it, and the second one none."""
    asked: list[int] = []

    def is_same(first: object, second: object) -> bool:
        return len(asked) < 2

    def chosen(shot: Survey, count: int) -> Choice:
        asked.append(count)
        return choose_frames(shot, count)

    monkeypatch.setattr("agsrec.frames.extract._is_same", is_same)
    monkeypatch.setattr("agsrec.frames.extract.choose_frames", chosen)
    done = extract_frames(film, tmp_path / "out", count=4)
    assert len(asked) == 2 and asked[1] > 4 == len(done.files)
    assert np.diff(numbers(done.files)).min() >= 5, "spread evenly"
    assert sorted(file.name for file in (tmp_path / "out").glob("frame_*")) == list(done.files)


def test_of_several_shots_the_longest_is_used(tmp_path: Path) -> None:
    pictures = walk(seed=2, frames=12) + walk(seed=1, frames=30) + walk(seed=3, frames=9)
    done = extract_frames(write_film(tmp_path / "a.avi", pictures), count=6)
    assert all(12 <= number < 42 for number in numbers(done.files)) and len(done.files) >= 5
    (remark,) = done.remarks
    assert "3 shots" in remark and "0.0-1.1 s, 4.2-5.0 s" in remark


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "MJPG"), (".mp4", "mp4v"), (".mkv", "XVID")])
def test_grey_and_odd_sizes(tmp_path: Path, suffix: str, codec: str) -> None:
    pictures = [np.asarray(cv2.cvtColor(p, cv2.COLOR_BGR2GRAY))[2:, 2:] for p in walk(frames=12)]
    file = write_film(tmp_path / f"a{suffix}", pictures, codec=codec)
    done = extract_frames(file, count=4)
    rgba, _ = load_image(tmp_path / "a" / done.files[0])
    assert rgba.shape[:2] == (HEIGHT - 2, WIDTH - 2)
    assert np.abs(rgba[..., 0].astype(int) - rgba[..., 1]).max() < 8


def test_what_of_a_broken_file_can_be_decoded_is_used(film: Path, tmp_path: Path) -> None:
    whole = film.read_bytes()
    (tmp_path / "a.avi").write_bytes(whole[: 2 * len(whole) // 3])
    done = extract_frames(tmp_path / "a.avi", count=5)
    assert len(done.files) == 5 and max(numbers(done.files)) < 21
    assert "is incomplete" in done.remarks[0]


def bad_films(folder: Path) -> dict[str, tuple[Path, str]]:
    """Videos that cannot be used, and what is said of them."""
    whole = write_film(folder / "whole.mp4", walk(frames=8), codec="mp4v").read_bytes()
    (folder / "half.mp4").write_bytes(whole[: len(whole) // 2])  # what says where frames are is at its end
    (folder / "text.mp4").write_text("not a video" * 50)
    (folder / "empty.mp4").touch()
    (folder / "list.mp4").write_text("#EXTM3U\nother.mp4\n")
    shaken = [np.asarray(cv2.warpAffine(scene(1, 0), np.array([[1, 0, k % 3], [0, 1, k % 2]], np.float32),
                                        (WIDTH, HEIGHT))) for k in range(20)]  # fmt: skip
    write_film(folder / "shaken.avi", shaken)
    write_film(folder / "still.avi", [scene(1, 0)] * 20)
    write_film(folder / "two.avi", walk(end=1, frames=2))
    said = {
        "half.mp4": "not a video that can be read, or incomplete; copy it again",
        "text.mp4": "ffmpeg -i text.mp4 -c:v libx264",
        "empty.mp4": "is empty; copy the video again",
        "list.mp4": "is a list of videos",
        "shaken.avi": "stands still, or only turns; walk around the object",
        "still.avi": "stands still, or only turns; walk around the object",
        "two.avi": "has 2 frames, and at least 3 are needed; film longer",
        "none.avi": "no such file; give a video",
    }
    return {name: (folder / name, words) for name, words in said.items()}


def test_what_cannot_be_used_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, (file, words) in bad_films(tmp_path).items():
        with pytest.raises(ImageError, match=words) as said:
            extract_frames(file)
        assert name in str(said.value)
        assert not file.with_suffix("").exists()
    assert capfd.readouterr().err == ""  # nor do the decoders say anything


def test_a_number_out_of_range(film: Path) -> None:
    with pytest.raises(OptionError, match="--frames must be between 3 and 300, not 2"):
        extract_frames(film, count=2)


def test_frames_that_are_there_are_kept(film: Path, tmp_path: Path) -> None:
    done = extract_frames(film, tmp_path / "out", count=5)
    file = tmp_path / "out" / done.files[2]
    changed = file.stat().st_mtime_ns
    assert extract_frames(film, tmp_path / "out", count=5) == done
    assert file.stat().st_mtime_ns == changed
    with pytest.raises(OptionError, match=r"has frames of mug.avi \(--frames 5\) already; remove the folder"):
        extract_frames(film, tmp_path / "out", count=6)


def test_other_photos_are_left_alone(film: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "mine.png"), scene(1, 0))
    with pytest.raises(OptionError, match="has photos already"):
        extract_frames(film, tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["mine.png"]


def test_what_was_interrupted_is_done_again(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(text: str) -> None:
        if "writing" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_frames(film, tmp_path, count=5, report=interrupted)
    cv2.imwrite(str(tmp_path / "frame_999999.jpg"), scene(1, 0))
    done = extract_frames(film, tmp_path, count=5)
    assert sorted(f.name for f in tmp_path.glob("*.jpg")) == sorted(done.files)


# -------------------------------------------------------------------- where a video may be given


def test_a_video_stands_for_the_folder_beside_it(film: Path, tmp_path: Path) -> None:
    video = tmp_path / "cup.avi"
    video.write_bytes(film.read_bytes())
    with pytest.raises(OptionError, match=r"no frames of .* have been chosen yet; do so with: agsrec video"):
        photos_of(video, look=True)
    folder, taken = photos_of(video)
    assert folder == tmp_path / "cup" and taken is not None
    (folder / taken.files[0]).unlink()  # a frame that was not liked
    assert photos_of(video, look=True) == (folder, taken)


def test_a_folder_with_nothing_but_a_video(film: Path, tmp_path: Path) -> None:
    (tmp_path / "cup.avi").write_bytes(film.read_bytes())
    folder, taken = photos_of(tmp_path)
    assert folder == tmp_path and taken is not None and (tmp_path / taken.files[0]).is_file()
    assert photos_of(tmp_path) == (folder, taken)
    (tmp_path / "empty").mkdir()
    assert photos_of(tmp_path / "empty") == (tmp_path / "empty", None)


def test_photos_go_before_videos_and_two_videos_are_one_too_many(film: Path, tmp_path: Path) -> None:
    for name in ("a.avi", "b.avi"):
        (tmp_path / name).write_bytes(film.read_bytes())
    with pytest.raises(AgsrecError, match=r"no photos but 2 videos \(a.avi, b.avi\); give one of them"):
        photos_of(tmp_path)
    cv2.imwrite(str(tmp_path / "mine.png"), scene(1, 0))
    assert photos_of(tmp_path) == (tmp_path, None)


def test_the_command_says_what_was_chosen(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["video", str(film), "--output", str(tmp_path / "out"), "--frames", "4"])
    assert "4 of 30 frames of mug.avi are photos in" in capsys.readouterr().out
    assert len([*(tmp_path / "out").glob("frame_*.jpg")]) == 4
    (tmp_path / "out.avi").write_bytes(film.read_bytes())
    main(["run", str(tmp_path / "out.avi"), "--explain", "--output", str(tmp_path / "results")])
    assert "4 of 30 frames of mug.avi" in (said := capsys.readouterr().out)
    assert "cutout    to be computed" in said and not (tmp_path / "results").exists()


def test_commands_for_photos_take_a_video(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[Path] = []

    def no_more(path: Path, *_: object, **__: object) -> None:
        given.append(path)
        raise OptionError("enough")

    monkeypatch.setattr("agsrec.preprocess.process", no_more)
    monkeypatch.setattr("agsrec.cli.poses.scene_folder", no_more)
    for command in ("process", "poses"):
        video = tmp_path / command / "mug.avi"
        video.parent.mkdir()
        video.write_bytes(film.read_bytes())
        with pytest.raises(SystemExit):
            main([command, str(video)])
        assert (
            given.pop() == video.with_suffix("") and "frames of mug.avi are photos" in capsys.readouterr().out
        )


def test_a_video_without_an_object_is_named_as_one(tmp_path: Path) -> None:
    for number in range(3):
        save_png(tmp_path / f"frame_{number:06d}.png", np.zeros((20, 20, 4), np.uint8))
    (tmp_path / RECORD).write_text("{}")
    with pytest.raises(
        ImageError, match=r"no frame of the video .*frame_000000.png: no object.*film one object"
    ):
        process(tmp_path)


def test_a_batch_takes_folders_with_a_video(tmp_path: Path) -> None:
    (tmp_path / "mug").mkdir()
    (tmp_path / "mug/a.mov").touch()
    jobs = listed_jobs(folder_rows([str(tmp_path / "mug")]), ObjectOptions(), lambda options, _: options)
    assert faults(jobs, Place.of(str(tmp_path / "out"))) == []
