"""The README's code runs, its commands exist, its links lead somewhere, and it keeps its order."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from agsrec import PRESETS
from agsrec.cli import main
from agsrec.config import FitConfig, Round, Stage

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "benchmarks/gpu/README.md", *sorted((ROOT / "docs").glob("*.md"))]

SMOKE = FitConfig(
    rounds=(
        Round(
            num_points=150,
            max_points=150,
            hull_blur=0.03,
            stages=(Stage(16, 3),),
            rate_rotation=1e-3,
            rate_translation=1e-3,
        ),
    ),
    hull_resolution=16,
)


def blocks(language: str, text: str = README) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Every command line in the shell blocks, as words, chains taken apart and comments dropped."""
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    out: list[list[str]] = []
    for line in words:
        out.append([])
        for word in line:
            if word == "&&":
                out.append([])
            else:
                out[-1].append(word)
    return [command for command in out if command]


def agsrec_arguments(command: list[str]) -> list[str] | None:
    """Arguments as for `agsrec`, or None where the command is of another program."""
    match command:
        case ["agsrec", *rest]:
            return rest
        case ["python", ("run.py" | "process.py") as script, *rest]:
            return [script.removesuffix(".py"), *rest]
        case _:
            return None


def help_text(*subcommand: str) -> str:
    """What `agsrec SUBCOMMAND --help` prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as exit_:
        main([*subcommand, "--help"])
    assert exit_.value.code in (0, None)
    return out.getvalue()


def test_sections_in_order() -> None:
    titles = re.findall(r"^## (.*)$", README, re.MULTILINE)
    assert titles == [
        "Install",
        "Commands",
        "Ten lines of Python",
        "What comes out",
        "How good, how fast",
        "How it works",
        "Limits",
        "Citation",
        "Licence",
    ]


def test_the_commands_options_exist() -> None:
    ours = [arguments for c in commands() if (arguments := agsrec_arguments(c)) is not None]
    shown = {"run", "process", "poses", "mesh", "view", "localize", "eval", "novel-view", "train", "convert"}
    shown |= {"batch", "doctor", "nerf", "video"}
    assert {arguments[0] for arguments in ours} == shown
    texts = {name: help_text(name) for name in shown - {"train"}} | {"train": help_text("train", "zero123")}
    for name, *rest in ours:
        for option in (word for word in rest if word.startswith("--")):
            assert re.search(rf"{option.replace('_', '-')}\b", texts[name]), f"{name} has no {option}"
    assert "--fit.poses.refine-focal" in re.sub(r"\s+", " ", texts["run"])


def test_the_commands_name_what_is_there() -> None:
    for arguments in filter(None, map(agsrec_arguments, commands())):
        for word in arguments[1:]:
            assert not word.startswith("data/") or (ROOT / word / "cameras_gt.json").is_file(), word
    assert all((ROOT / c[1]).is_file() for c in commands() if c[0] == "python" and c[1].endswith(".py"))


def test_installs_and_runs_the_tests_from_nothing() -> None:
    chains = [line for block in blocks("bash") for line in block.splitlines() if "venv" in line]
    main_job, tests = (chain.split(" && ") for chain in chains)
    assert main_job[2:] == ["pip install .", "python run.py --category jordan --num_views 8"]
    assert tests[2:] == ["pip install '.[test]'", "python -m pytest"]
    # What continuous integration runs is what the reader is told to run.
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith(tests[3]) for line in ci)
    assert any(line.endswith("'.[test]'") and line.startswith("pip install") for line in ci)


def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("python")
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PRESETS, "fast", replace(SMOKE))
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    picture = names["picture"]
    assert getattr(picture, "shape", None) == (8, 512, 512, 3)
    written = {file.name for file in (tmp_path / "output/demo/jordan").iterdir()}
    listed = set(re.findall(r"^\| `([\w.]+)` \|", README, re.MULTILINE))
    # Only the command line keeps its stages and makes a mesh.
    assert written == listed - {"stages", "mesh.glb", "mesh_comparison.png"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_pages_compiles(page: Path) -> None:
    for code in blocks("python", page.read_text(encoding="utf-8")):
        compile(code, page.name, "exec")
