"""The running app, asked by programs: whole runs, several users, files that must stay closed."""

from __future__ import annotations

import importlib.util
import json
import os
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.client import Job
from gradio_client.exceptions import AppError
from PIL import Image

from agsrec.app import entry, main
from agsrec.app.actions import AppConfig
from agsrec.app.entry import Server
from agsrec.app.sessions import Session
from agsrec.camera_files import read_cameras_json
from tests.frames.films import walk, write_film
from tests.tiny import NAMES, tiny_scene


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Client:
    return Client(server.url, verbose=False, download_files=str(tmp_path / "downloads"))


def session_of(server: Server, client: Client) -> Session:
    session = server.sessions.find(client.session_hash)
    assert session is not None
    return session


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def begun(job: Job) -> bool:
    """Whether a reconstruction has come to its fit."""
    return any("step" in status["message"] for status, _ in job.outputs())


def fetched(server: Server, path: str) -> httpx.Response:
    return httpx.get(f"{server.url}gradio_api/file={path}")


def test_an_example_becomes_an_archive(server: Server, client: Client) -> None:
    answer = client.predict("thing", api_name="/example")
    assert [photo["name"] for photo in answer["photos"]] == list(NAMES)
    assert [p["kept"] for p in client.predict("003", api_name="/drop")["photos"]].count(False) == 1
    job = client.submit("fast", True, 3, api_name="/reconstruct")
    job.result(timeout=120)
    report, file = job.outputs()[-1]
    told = [status["message"] for status, _ in job.outputs()]
    assert told[-1] == "Done."
    assert any("leaving out each of 5 views" in text for text in told)
    assert any("step 80 of 80" in text for text in told) and "Making the mesh" in told
    assert [view["name"] for view in report["views"]] == [n for n in NAMES if n != "003"]
    assert all(view["psnr"] > 15 and view["verdict"] == "trusted" for view in report["views"])
    assert report["summary"][0].startswith("5 photos of thing became a model of ")
    assert "No photo's pose contradicts the others'." in report["summary"]
    with zipfile.ZipFile(file) as archive:
        names = {Path(name).name for name in archive.namelist()}
        assert {"mesh.glb", "splat.ply", "cameras.json", "report.html", "turntable.mp4"} <= names
        assert all(name.startswith("thing/") and "checkpoint" not in name for name in archive.namelist())
        assert archive.read("thing/mesh.glb")[:4] == b"glTF"
        assert json.loads(archive.read("thing/config.json"))["seed"] == 3
        cameras = Path(archive.extract("thing/cameras.json", Path(file).parent))
    assert len(read_cameras_json(cameras, 48, 48).names) == 5
    assert os.listdir(session_of(server, client).private) == []


def test_no_file_of_another_user_is_served(server: Server, client: Client, tmp_path: Path) -> None:
    photo = tmp_path / "mine.png"
    Image.new("RGB", (50, 40), "red").save(photo)
    client.predict([handle_file(photo)], api_name="/photos")
    session = session_of(server, client)
    mine = session.photos[0]
    assert mine.file is not None
    assert fetched(server, str(mine.picture)).status_code == 200  # whoever knows the name
    below = os.path.relpath("/etc/passwd", session.public)
    for path in (
        "/etc/passwd",
        f"{session.public}/{below}",
        f"{session.public}/{quote(below, safe='')}",
        f"{quote(str(session.public))}/%2e%2e/%2e%2e/private/{session.private.name}/001/01.png",
        str(mine.file),
        str(session.private),
        str(server.sessions.served),
        str(session.public),
        f"{server.sessions.served}/*/001/01.jpg",
        str(Path(__file__).resolve()),
        "file:///etc/passwd",
    ):
        response = fetched(server, path)
        assert response.status_code in (403, 404), (path, response.status_code)
        assert b"root:" not in response.content
    (session.public / "link").symlink_to("/etc/passwd")
    assert fetched(server, f"{session.public}/link").status_code == 403
    # A second user has a session, photos and folders of their own.
    other = Client(server.url, verbose=False)
    assert other.predict("thing", api_name="/example")["photos"][0]["name"] == "000"
    theirs = session_of(server, other)
    assert theirs.public != session.public and len(session.photos) == 1
    server.sessions.end(client.session_hash)
    assert fetched(server, str(mine.picture)).status_code == 403


def test_a_path_is_no_upload(server: Server, client: Client, tmp_path: Path) -> None:
    """Only what was uploaded can be taken in, not any picture of the machine."""
    picture = tmp_path / "private.png"
    Image.new("RGB", (50, 40)).save(picture)
    client.predict([handle_file(picture)], api_name="/photos")
    mine = session_of(server, client).photos[0].file
    for path in (str(picture), str(mine), f"{server.sessions.uploads}/../private/{mine}"):
        data = [[{"path": path, "meta": {"_type": "gradio.FileData"}}]]
        call = httpx.post(f"{server.url}gradio_api/call/photos", json={"data": data, "session_hash": "thief"})
        answer = httpx.get(f"{server.url}gradio_api/call/photos/{call.json()['event_id']}")
        assert "event: error" in answer.text
    thief = server.sessions.find("thief")
    assert thief is None or not thief.photos


def test_mistakes_get_one_sentence(server: Server, client: Client, tmp_path: Path) -> None:
    for call, said in (
        (("", "/example"), "There is no example ''; there are thing."),
        (("nobody", "/drop"), "There is no photo 'nobody'."),
        (("fast", False, 0, "/reconstruct"), "Choose an example, or upload photos or a video first."),
        (("/preprocess",), "Choose an example, or upload photos or a video first."),
    ):
        with pytest.raises(AppError) as error:
            client.predict(*call[:-1], api_name=call[-1])
        assert said in str(error.value)
    files = []
    for k in range(30):
        files.append(tmp_path / f"{k}.png")
        Image.new("RGB", (40, 40)).save(files[-1])
    with pytest.raises(AppError, match="30 photos are too many: use at most 12"):
        client.predict([handle_file(f) for f in files], api_name="/photos")
    files[0].write_text("not a picture")
    answer = client.predict([handle_file(f) for f in files[:2]], api_name="/photos")
    assert answer["message"].startswith("0 is not an image") and len(answer["photos"]) == 1
    with pytest.raises(AppError) as error:  # nothing to see on a plain black square
        client.predict(api_name="/preprocess")
        client.predict("fast", False, 0, api_name="/reconstruct")
    assert "Photo 01 (1): no object found in it" in str(error.value)
    assert str(server.sessions.root) not in str(error.value)
    assert len(client.predict("thing", api_name="/example")["photos"]) == 6


def test_own_photos_are_cut_out(server: Server, client: Client, tmp_path: Path) -> None:
    views, _ = tiny_scene(6)
    for view, image in zip(views.names[:3], views.images[:3], strict=True):
        pixels = (image.repeat_interleave(2, 0).repeat_interleave(2, 1) * 255).byte().numpy()
        Image.fromarray(pixels).save(tmp_path / f"cup {view}.png")
    client.predict([handle_file(f) for f in sorted(tmp_path.glob("*.png"))], api_name="/photos")
    job = client.submit(api_name="/preprocess")
    job.result(timeout=60)
    state: Any = job.outputs()[-1]
    assert state["message"] == "Done."
    session = session_of(server, client)
    assert session.scene is not None and not session.posed
    assert sorted(p.name for p in (session.scene / "processed").glob("*_rgba.png")) == [
        f"0{k}_rgba.png" for k in (1, 2, 3)
    ]
    assert [photo.label for photo in session.photos] == [f"cup 00{k}" for k in range(3)]


def test_a_video_gives_photos(server: Server, client: Client, tmp_path: Path) -> None:
    film = write_film(tmp_path / "my mug.avi", walk())
    answer = client.predict([handle_file(film)], api_name="/photos")
    assert answer == {"message": "1 video.", "photos": []}
    job = client.submit(api_name="/preprocess")
    job.result(timeout=60)
    told: list[Any] = job.outputs()
    assert told[0]["message"].startswith("Looking at my mug") and told[-1]["message"] == "Done."
    session = session_of(server, client)
    assert session.video is None and session.scene is not None
    assert len(session.photos) >= 2 and all(p.picture.is_file() for p in session.photos)
    seconds = [float(p.label.removeprefix("at ").removesuffix(" s")) for p in session.photos]
    assert seconds == sorted(seconds) and seconds[-1] < 3
    assert not list(session.private.rglob("video.avi"))
    still = write_film(tmp_path / "still.avi", walk(end=0.0))
    client.predict("thing", api_name="/example")
    client.predict([handle_file(still)], api_name="/photos")
    with pytest.raises(AppError, match="the camera stands still") as error:
        client.predict("fast", False, 0, api_name="/reconstruct")
    assert str(error.value).startswith("Still: ") and str(server.sessions.root) not in str(error.value)
    with pytest.raises(AppError, match="the camera stands still"):  # it is still there
        client.predict(api_name="/preprocess")


def test_stop_in_mid_run(server: Server, client: Client) -> None:
    client.predict("thing", api_name="/example")
    job = client.submit("quality", False, 0, api_name="/reconstruct")
    wait_for(lambda: begun(job))
    session = session_of(server, client)
    assert session.job is not None
    pid = session.job.pid
    clock = time.monotonic()
    assert httpx.get(server.url).status_code == 200  # the page answers while the work goes on
    assert time.monotonic() - clock < 5
    assert client.predict(api_name="/stop") == "Stopped."
    wait_for(job.done, 10)
    with pytest.raises(AppError, match="Stopped"):
        job.result()
    assert pid is not None and not Path(f"/proc/{pid}").exists()
    assert session.job is None and os.listdir(session.private) == []
    assert client.predict(api_name="/stop") == "Nothing was running."
    again = client.submit("quality", False, 0, api_name="/reconstruct")
    wait_for(lambda: begun(again))
    client.predict(api_name="/stop")


def test_a_closed_page_ends_its_job_and_the_next_in_line_begins(server: Server) -> None:
    first, second = Client(server.url, verbose=False), Client(server.url, verbose=False)
    for client in (first, second):
        client.predict("thing", api_name="/example")
    job = first.submit("quality", False, 0, api_name="/reconstruct")
    wait_for(lambda: begun(job))
    waiting = second.submit("quality", False, 0, api_name="/reconstruct")
    wait_for(lambda: waiting.status().rank is not None)
    assert waiting.outputs() == [] and session_of(server, second).job is None
    pid = getattr(session_of(server, first).job, "pid", None)
    server.sessions.end(first.session_hash)
    wait_for(lambda: begun(waiting))
    server.sessions.end(second.session_hash)
    wait_for(waiting.done)
    assert pid is not None and not Path(f"/proc/{pid}").exists()


def test_two_sessions_do_not_mix(server: Server) -> None:
    """Users who do the same thing at the same time: every one sees the own photos alone."""
    found: dict[int, list[str]] = {}

    def use(user: int) -> None:
        client = Client(server.url, verbose=False)
        client.predict("thing", api_name="/example")
        answer = client.predict(NAMES[user], api_name="/drop")
        found[user] = [photo["name"] for photo in answer["photos"] if not photo["kept"]]

    threads = [threading.Thread(target=use, args=(user,)) for user in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {user: [NAMES[user]] for user in range(4)}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--auth", "anna"], "--auth must be user:password"),
        (["--port", "70000"], "--port must be between 0 and 65535"),
        (["--concurrency", "0"], "--concurrency must be between 1 and 64"),
        (["--idle-minutes", "0"], "--idle-minutes must be between 1"),
        (["--nonsense"], "nrecognized options: --nonsense"),
    ],
)
def test_options_that_cannot_be_used(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(options)
    message = capsys.readouterr().err
    assert stop.value.code == 2 and said in message and message.count("\n") == 1


def test_a_port_that_is_taken(
    server: Server, app_config: AppConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    port = server.url.rstrip("/").rsplit(":", 1)[1]
    with pytest.raises(SystemExit) as stop:
        main(["--port", port, "--data", str(app_config.data)])
    message = capsys.readouterr().err
    assert stop.value.code == 2 and f"--port {port} is taken on 127.0.0.1" in message


def test_an_app_that_does_not_reach_itself(
    app_config: AppConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gradio.networking.url_ok", lambda url: False)
    with pytest.raises(SystemExit) as stop:
        main(["--port", "0", "--data", str(app_config.data), "--prior", "none"])
    message = capsys.readouterr().err
    assert stop.value.code == 2 and "does not reach itself" in message and "Traceback" not in message


def test_a_password_closes_page_and_files(app_config: AppConfig) -> None:
    running = entry.serve(app_config, auth=("anna", "secret"))
    try:
        picture = next((running.sessions.served / "examples").iterdir())
        assert httpx.get(f"{running.url}gradio_api/file={picture}").status_code == 401
        assert httpx.get(f"{running.url}config").status_code == 401
        client = Client(running.url, verbose=False, auth=("anna", "secret"))
        assert len(client.predict("thing", api_name="/example")["photos"]) == 6
    finally:
        running.close()


def test_pages_that_gradio_forgets_go_on(app_config: AppConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "_KEPT_PAGES", 1)
    running = entry.serve(app_config)
    try:
        clients = [Client(running.url, verbose=False) for _ in range(2)]
        for client in clients:
            client.predict("thing", api_name="/example")
        jobs = [client.submit("fast", False, 0, api_name="/reconstruct") for client in clients]
        for client, job in zip(clients, jobs, strict=True):
            assert job.result(timeout=120)[1]
            assert len(client.predict("003", api_name="/drop")["photos"]) == len(NAMES)
    finally:
        running.close()


def test_the_example_program(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It stands here because it needs a running app."""
    file = Path(__file__).resolve().parents[2] / "examples/04_app_from_python.py"
    spec = importlib.util.spec_from_file_location("app_from_python", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(url=server.url, name="thing", output=tmp_path / "out", correct=False)
    out = capsys.readouterr().out
    assert "6 photos of thing, cut out already." in out and "6 photos of thing became a model" in out
    assert zipfile.is_zipfile(tmp_path / "out" / "thing.zip")
