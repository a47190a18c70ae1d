"""Things that must not appear in the package, whatever they are good for elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import agsrec

FORBIDDEN = {
    "the device is handed over": r"\.cuda\(\)|device\s*=\s*[\"']cuda",
    "no shell": r"\bos\.system\b|\bos\.popen\b|shell\s*=\s*True",
    "imports come from where the package is installed": r"\bsys\.path\b",
    "no code from strings": r"(?<![\w.])(eval|exec)\(",
    "no code from files": r"\bpickle\.loads?\b|weights_only\s*=\s*False|allow_pickle\s*=\s*True",
    "name the exception": r"^\s*except\s*:",
}


def offences(code: str) -> list[str]:
    """Every forbidden line, with the reason."""
    return [
        f"{number}: {line.strip()} ({reason})"
        for number, line in enumerate(code.splitlines(), 1)
        for reason, pattern in FORBIDDEN.items()
        if re.search(pattern, line)
    ]


def test_package() -> None:
    files = sorted(Path(agsrec.__file__).parent.rglob("*.py"))
    assert len(files) > 40
    found = [f"{file}:{offence}" for file in files for offence in offences(file.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "model.cuda()",
        'x = torch.zeros(3, device="cuda")',
        "x = torch.zeros(3, device = 'cuda:0')",
        'os.system("ls")',
        "subprocess.run(command, shell=True)",
        "sys.path.append('..')",
        "value = eval(text)",
        "exec(code)",
        "pickle.load(file)",
        "pickle.loads(data)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "    except:",
    ],
)
def test_what_must_be_caught_is_caught(line: str) -> None:
    assert offences(line)


@pytest.mark.parametrize(
    "line", ["model.eval()", "retrieval(x)", "except OSError:", 'name == "cuda"', "pickle.UnpicklingError"]
)
def test_what_is_allowed_passes(line: str) -> None:
    assert not offences(line)
