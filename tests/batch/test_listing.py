"""From folders and lists to jobs, and everything that can be wrong with them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agsrec.batch.listing import faults, folder_rows, listed_jobs, read_list
from agsrec.batch.places import Place
from agsrec.batch.record import Job
from agsrec.cli.batch import _with_own
from agsrec.config import PRESETS
from agsrec.errors import MissingExtraError, OptionError
from agsrec.options import ObjectOptions
from tests.batch.stubs import jobs_in, write_photos


def csv_jobs(file: Path, text: str, usual: ObjectOptions | None = None) -> list[Job]:
    file.write_text(text, encoding="utf-8")
    return listed_jobs(read_list(file), usual or ObjectOptions(), _with_own)


def test_folders_get_their_names_and_the_usual_options(tmp_path: Path) -> None:
    usual = ObjectOptions(seed=3)
    write_photos(tmp_path / "mug")
    jobs = listed_jobs(folder_rows([f"{tmp_path}/mug/", f"{tmp_path}/cup"]), usual, _with_own)
    assert [(job.name, job.photos) for job in jobs] == [
        ("mug", f"{tmp_path}/mug"),
        ("cup", f"{tmp_path}/cup"),
    ]
    assert all(job.options is usual for job in jobs)


def test_a_list_has_options_of_single_objects(tmp_path: Path) -> None:
    text = (
        "photos,name,resolution,enable_loop,preset,views,fit.poses.warmup\n"
        "a/mug,,512,yes,,,\n"
        "/b/mug,other,,no,quality,000 002,7\n"
        "s3://c/mug,third,,,,,\n"
    )
    usual = ObjectOptions(seed=3, enable_loop=True)
    first, second, third = csv_jobs(tmp_path / "list.csv", text, usual)
    assert (first.name, first.photos) == ("mug", str(tmp_path / "a/mug"))
    assert first.options == ObjectOptions(seed=3, enable_loop=True, resolution=512)
    assert (second.name, second.photos) == ("other", "/b/mug")
    assert second.options.preset == "quality" and not second.options.enable_loop
    assert second.options.views == ("000", "002") and second.options.fit.poses.warmup == 7
    assert second.options.fit.rounds == PRESETS["quality"].rounds
    assert third.photos == "s3://c/mug" and third.options == usual
    assert len({job.made_with for job in (first, second, third)}) == 3


def test_a_parquet_list_is_the_same_as_a_csv_one(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet  # pyright: ignore[reportMissingImports]

    table = pyarrow.table({"photos": ["a/mug", "b/cup"], "seed": [None, 4], "enable_loop": [True, None]})
    parquet.write_table(table, tmp_path / "list.parquet")
    rows = listed_jobs(read_list(tmp_path / "list.parquet"), ObjectOptions(), _with_own)
    assert rows == csv_jobs(tmp_path / "list.csv", "photos,seed,enable_loop\na/mug,,true\nb/cup,4,\n")
    assert rows[0].options.enable_loop and rows[1].options.seed == 4
    (tmp_path / "list.parquet").write_bytes(b"no table")
    with pytest.raises(OptionError, match=r"list\.parquet cannot be read.*is it a Parquet file"):
        read_list(tmp_path / "list.parquet")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "list.parquet").write_bytes(b"")
    with pytest.raises(MissingExtraError, match=r"pip install 'agsrec\[batch\]'"):
        read_list(tmp_path / "list.parquet")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column photos, or no rows"),
        ("folder\na\n", "no column photos, or no rows"),
        ("photos\na,b\n", "row 1 has more cells than there are columns"),
        ("photos,name\na,\n,b\n", "row 2 has no photos"),
        ("photos,reso\na,512\n", "columns are photos, name and options of `agsrec run`"),
        ("photos,resolution\na,large\n", "resolution"),
        ("photos,enable_loop\na,perhaps\n", "enable-loop"),
    ],
)
def test_a_wrong_list_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(OptionError) as stop:
        csv_jobs(tmp_path / "list.csv", text)
    assert str(stop.value).startswith("--list") and words in str(stop.value)
    assert "\n" not in str(stop.value)


def test_what_is_wrong_with_objects_is_a_sentence_each(tmp_path: Path) -> None:
    output = Place(str(tmp_path / "out"))
    good = jobs_in(tmp_path / "photos", ["mug", "cup"])
    assert faults(good, output) == []
    (tmp_path / "empty").mkdir()
    other = Job("mug", str(write_photos(tmp_path / "other/mug")))
    bad = [
        *good,
        good[1],
        other,
        Job("empty", str(tmp_path / "empty")),
        Job("gone", str(tmp_path / "gone")),
        Job("../mug", good[0].photos),
        Job("own", str(write_photos(tmp_path / "out/own"))),
    ]
    twice, collide, empty, gone, name, own = faults(bad, output)
    assert twice == f"{good[1].photos} is listed twice; leave one out"
    assert collide.startswith(f"{good[0].photos} and {other.photos} would both become {output}/mug")
    assert empty.startswith(f"{tmp_path}/empty has no photos in it")
    assert gone.startswith(f"{tmp_path}/gone is not there")
    assert "'../mug' cannot be the name of a folder" in name
    assert own.startswith(f"the result of {tmp_path}/out/own would overwrite its photos")


def test_scenes_and_single_photos_are_objects_too(tmp_path: Path) -> None:
    write_photos(tmp_path / "scene/processed")
    (tmp_path / "photo.JPG").write_bytes(b"a photo")
    jobs = [Job("scene", str(tmp_path / "scene")), Job("photo", str(tmp_path / "photo.JPG"))]
    assert faults(jobs, Place(str(tmp_path / "out"))) == []


def test_urls(tmp_path: Path) -> None:
    write_photos(tmp_path / "in/mug")
    write_photos(tmp_path / "in/cup")
    rows = [*folder_rows([f"file://{tmp_path}/in/*"])]
    jobs = listed_jobs(rows, ObjectOptions(), _with_own)
    assert [job.name for job in jobs] == ["cup", "mug"]
    assert all(job.photos.startswith("file://") for job in jobs)
    assert faults(jobs, Place("memory://out")) == []
    missing = [Job("x", f"file://{tmp_path}/in/x")]
    assert "is not there" in faults(missing, Place("memory://out"))[0]
    with pytest.raises(OptionError, match="nothing there matches"):
        list(folder_rows([f"file://{tmp_path}/in/x*"]))
    with pytest.raises(OptionError, match="nowhere://"):
        list(folder_rows(["nowhere://bucket/*"]))
