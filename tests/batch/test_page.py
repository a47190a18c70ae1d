"""The page of a batch: whoever should be looked at first, and pictures of everybody."""

from __future__ import annotations

import html
from pathlib import Path

from agsrec.batch.manifest import MANIFEST, Manifest
from agsrec.batch.page import write_pages
from agsrec.batch.places import Place
from agsrec.batch.record import Job, Record


def written(folder: Path, records: list[Record], jobs: list[Job] | None = None, **options: int) -> str:
    manifest = Manifest.build(folder / MANIFEST, records, jobs or [])
    write_pages(Place(str(folder)), manifest, **options)
    manifest.close()
    return (folder / "index.html").read_text(encoding="utf-8")


def record(name: str, state: str = "done", **values: object) -> Record:
    return Record.of(Job(name, f"photos/{name}"), state, **values)  # pyright: ignore[reportArgumentType]


def test_worst_first(tmp_path: Path) -> None:
    records = [
        record("good", psnr=27.0, worst_psnr=24.0, views=8),
        record("dull", psnr=21.0, worst_psnr=16.0, views=8),
        record("odd", psnr=24.0, worst_psnr=21.0, warnings=("No mesh: it is flat", "Left out: 003")),
        record("lost", "failed", sentence="photos/lost/0.png: no object found in it"),
        record("shy", psnr=24.0, worst_psnr=21.0, confidence=0.2),
    ]
    page = written(tmp_path, records, [Job("new", "photos/new")])
    first, everybody = page.split("<h2>All of them</h2>")
    places = [first.index(f">{name}</a>") for name in ("lost", "odd", "dull", "shy")]
    assert places == sorted(places) and ">good</a>" not in first
    assert "photos/lost/0.png: no object found in it." in first
    assert "No mesh: it is flat. Left out: 003." in first
    assert "A photo is explained with 16.0 dB only." in first
    assert "The confidence in a pose is 0.20 only." in first
    assert '<li class="failed">' in everybody and everybody.count('<li class="doubtful">') == 3
    for name, count in {"done": 4, "failed": 1, "not started": 1, "to look at": 4}.items():
        assert f"<dt>{name}</dt><dd>{count}</dd>" in first
    assert 'data-video="good/turntable.mp4"' in everybody and 'src="good/thumbnail.jpg"' in everybody
    assert 'data-video="lost' not in page and "new</a>" not in page


def test_names_are_those_of_folders_and_no_code(tmp_path: Path) -> None:
    name = "<script>alert(1)</script> & 100%#?"
    page = written(tmp_path, [record(name), record("b", "failed", sentence="<b>bold</b>")])
    assert name not in page and html.escape(name) in page and "<b>bold" not in page
    assert "%3Cscript%3Ealert%281%29%3C/script%3E%20%26%20100%25%23%3F/report.html" in page


def test_many_objects_are_on_several_pages(tmp_path: Path) -> None:
    records = [record(f"cup{k}") for k in range(7)]
    written(tmp_path, records, per_page=3)
    pages = [(tmp_path / f).read_text() for f in ("index.html", "index-2.html", "index-3.html")]
    assert [page.count("data-video=") for page in pages] == [3, 3, 1]
    assert all('href="index-2.html"' in page for page in (pages[0], pages[2]))
    page = written(tmp_path, records[:2], per_page=3)
    assert sorted(f.name for f in tmp_path.glob("*.html")) == ["index.html"] and "<nav>" not in page
    assert "Look at these" not in page


def test_nothing_yet(tmp_path: Path) -> None:
    assert "<dt>done</dt><dd>0</dd>" in written(tmp_path, [])
