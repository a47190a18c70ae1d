"""What is the same for every command: help, and command lines that are not complete."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agsrec.cli import main
from tests.cli.helpers import refused

HELP = {
    "video": "--frames",
    "process": "--border-ratio",
    "poses": "--overwrite",
    "run": "--num-views",
    "eval": "--noise",
    "view": "--port",
    "novel-view": "--azimuth",
    "train": "--workers",
    "convert": "--all-weights",
}


@pytest.mark.parametrize("command", [[], *([name] for name in HELP)])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr()
    words = [HELP[command[0]]] if command else list(HELP)
    assert all(word in printed.out for word in words)
    assert printed.err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["process", "run", "eval", "novel-view", "train", "convert"]),
        (["dance"], ["dance"]),
        (["run"], ["--category"]),
        (["process"], ["PATH"]),
        (["process", "nowhere.png"], ["nowhere.png"]),
        (["video", "nowhere.mp4"], ["nowhere.mp4: no such file", "give a video"]),
        (["run", "nowhere.mp4"], ["nowhere.mp4: no such file", "give a video"]),
        (["run", "--category", "nowhere.mp4"], ["nowhere.mp4: no such file", "give a video"]),
        (["eval"], ["folder"]),
        (["eval", "nowhere", "--prior", "none"], ["nowhere", "transforms.json"]),
        (["novel-view"], ["PATH"]),
        (["train", "zero123"], ["--output"]),
        (["train", "--output", "out"], ["zero123"]),
        (["convert", "a.ckpt", "--base", "b"], ["--output"]),
    ],
)
def test_incomplete_commands(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused(capsys, *arguments)
    assert all(word.lower() in message.lower() for word in words), message
    assert list(tmp_path.iterdir()) == []


def test_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "agsrec", "convert", "nowhere.ckpt"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "--base" in done.stderr


def test_output_that_nobody_reads_to_its_end() -> None:
    command = [sys.executable, "-m", "agsrec", "run", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_interrupted_while_it_loads() -> None:
    code = (
        "import sys, importlib.abc\n"
        "class Interrupts(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'agsrec.cli.entry':\n"
        "            raise KeyboardInterrupt\n"
        "from agsrec.cli import main\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "main(['doctor'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
