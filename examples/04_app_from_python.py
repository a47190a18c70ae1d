"""Teaches how to use a running app from a program: pick an object, reconstruct it, fetch the results.

python gradio_app.py &                # or on another machine, with --host 0.0.0.0 --auth user:password
python examples/04_app_from_python.py --name eagle --output output/examples/app
python examples/04_app_from_python.py --photos photos/mug/*.jpg --output output/examples/app
"""

from __future__ import annotations

import shutil
from pathlib import Path

import tyro
from gradio_client import Client, handle_file


def main(
    url: str = "http://127.0.0.1:7860",
    name: str = "eagle",
    photos: tuple[Path, ...] = (),
    output: Path = Path("output/examples/app"),
    preset: str = "fast",
    correct: bool = True,
    seed: int = 0,
    auth: str | None = None,
) -> None:
    """Reconstruct an object with a running app.

    Args:
        url: Where the app is.
        name: Name of an example of the app.
        photos: Photos to upload instead.
        output: Folder for the archive of results.
        preset: Schedule of the fit.
        correct: Look for badly posed photos.
        seed: Seed of everything random.
        auth: user:password, where the app asks for it.
    """
    user, _, password = (auth or "").partition(":")
    client = Client(url, verbose=False, auth=(user, password) if auth else None)
    if photos:
        print(client.predict([handle_file(file) for file in photos], api_name="/photos")["message"])
    else:
        print(client.predict(name, api_name="/example")["message"])
    job = client.submit(preset, correct, seed, api_name="/reconstruct")  # waits in line, then works
    for status, _ in job:
        print(status["message"])
    job.result()  # raises what went wrong, if anything did
    report, archive = job.outputs()[-1]
    print(*report["summary"], sep="\n")
    output.mkdir(parents=True, exist_ok=True)
    print("Results are in", shutil.copy(archive, output))


if __name__ == "__main__":
    tyro.cli(main)
