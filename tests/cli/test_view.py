"""`agsrec view`: what it says and how it ends."""

from __future__ import annotations

import builtins
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from agsrec.cli import main
from tests.cli.helpers import refused
from tests.viewer.made_up import write_result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_result(tmp_path_factory.mktemp("results") / "ball")


@pytest.mark.parametrize("missing", ["splat.ply", "cameras.json", "views"])
def test_incomplete_results(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    for part in ("splat.ply", "cameras.json", "views"):
        if part != missing:
            (tmp_path / part).symlink_to(folder / part)
    assert f"has no {missing}" in refused(capsys, "view", str(tmp_path))


def test_no_results_and_damaged_ones(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "not a folder" in refused(capsys, "view", str(tmp_path / "nowhere"))
    for part in ("cameras.json", "views"):
        (tmp_path / part).symlink_to(folder / part)
    whole = (folder / "splat.ply").read_bytes()
    (tmp_path / "splat.ply").write_bytes(whole[: len(whole) // 2])
    assert "splat.ply ends before" in refused(capsys, "view", str(tmp_path))


def test_without_viser(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "viser"]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "viser":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setitem(sys.modules, "viser", None)
    assert "pip install 'agsrec[viewer]'" in refused(capsys, "view", str(folder))


def test_a_taken_port(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("viser")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert f"{port} on 127.0.0.1 is taken" in refused(capsys, "view", str(folder), "--port", port)


def test_serves_until_interrupted(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("viser")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    answered: list[int] = []

    class Interrupted:
        """An event for which nobody waits long."""

        def wait(self) -> None:
            with urllib.request.urlopen(url, timeout=20) as answer:
                answered.append(answer.status)
            raise KeyboardInterrupt

    monkeypatch.setattr("agsrec.cli.view.Event", Interrupted)
    main(["view", str(folder), "--port", str(port)])
    assert answered == [200]
    printed = capsys.readouterr()
    assert printed.out == f"Open {url} in a browser; stop with Ctrl-C\n" and printed.err == ""
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=5)
