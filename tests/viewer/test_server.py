"""The window's wiring, with viser where it is installed."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agsrec.errors import OptionError
from agsrec.viewer import load_result
from agsrec.viewer.server import _Window, serve
from tests.viewer.made_up import NAMES

viser = pytest.importorskip("viser")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Any]:
    running = serve(load_result(folder), port=free_port())
    yield running
    running.stop()


@pytest.fixture(scope="module")
def window(folder: Path) -> Iterator[_Window]:
    from agsrec.viewer.assemble import display

    result = load_result(folder)
    running = viser.ViserServer(host="127.0.0.1", port=free_port(), verbose=False)
    window = _Window(running, result, display(result))
    window.build()
    yield window
    running.stop()


def test_answers_on_loopback_and_needs_nothing_from_elsewhere(server: Any) -> None:
    url = f"http://127.0.0.1:{server.get_port()}/"
    with urllib.request.urlopen(url, timeout=20) as answer:
        page = answer.read()
    assert b"<html" in page and b'src="http' not in page and b'href="http' not in page
    assert server.get_host() == "127.0.0.1"


def test_everything_is_in_the_scene(window: _Window) -> None:
    assert len(window._photos) == len(window._labels) == len(NAMES)
    assert list(window._splats) == ["the result", "trusted photos only"]
    assert [node.visible for node in window._splats.values()] == [True, False]
    assert window._given.visible and not window._truth.visible
    # Ten segments a camera; a path of four legs each.
    assert window._paths is not None and window._paths.points.shape == (24, 2, 3)
    assert window._frusta.points.shape == (60, 2, 3)


def test_the_slider_moves_cameras_photos_and_names(window: _Window) -> None:
    shown, (first, last) = window._shown, (0, len(window._shown.moments) - 1)
    ends = []
    for number in (first, last):
        window._go_to(number)
        center = shown.moments[number].cameras.centers[2].numpy()
        np.testing.assert_allclose(window._frusta.points[20, 0], center, atol=1e-5)
        np.testing.assert_allclose(window._labels[2].position, center, atol=1e-5)
        ends.append((np.array(window._photos[2].position), np.array(window._photos[2].wxyz)))
        assert ("As given" in window._moment.content) == (number == first)
    assert np.linalg.norm(ends[0][0] - ends[1][0]) > 1  # it was posed anew, 90 degrees away


def test_scenes_and_boxes(window: _Window) -> None:
    window.chosen.value = "trusted photos only"
    window._show_scene()
    assert [node.visible for node in window._splats.values()] == [False, True]
    window.splat.value = False
    window._show_scene()
    assert not any(node.visible for node in window._splats.values())
    window.chosen.value, window.splat.value = "the result", True
    window._show_scene()
    assert [node.visible for node in window._splats.values()] == [True, False]


class _Client:
    """What a viewpoint is set on."""

    def __init__(self) -> None:
        self.camera: Any = SimpleNamespace()


def test_standing_at_a_photo(window: _Window) -> None:
    client = _Client()
    window._stand_at(client, "003")
    camera = window._shown.moments[-1].cameras[3]
    np.testing.assert_allclose(client.camera.position, camera.centers[0], atol=1e-6)
    ahead = client.camera.look_at - client.camera.position
    np.testing.assert_allclose(ahead / np.linalg.norm(ahead), camera.rotations[0, 2], atol=1e-6)
    assert client.camera.fov == pytest.approx(2 * np.arctan(24 / 60))
    window._stand_at(client, "anywhere")
    np.testing.assert_allclose(client.camera.position, camera.centers[0], atol=1e-6)


def test_the_first_viewpoint_has_everything_in_sight(window: _Window) -> None:
    client = _Client()
    window._place_window(client)
    toward = client.camera.look_at - client.camera.position
    distance = np.linalg.norm(toward)
    assert client.camera.position[1] > 0.5
    for center in window._shown.moments[-1].cameras.centers.numpy():
        ray = center - client.camera.position
        cosine = ray @ toward / np.linalg.norm(ray) / distance
        assert np.arccos(cosine) < 0.6 * client.camera.fov


def test_taken_ports_and_odd_addresses(folder: Path) -> None:
    result = load_result(folder)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OptionError, match="is taken by another program"):
            serve(result, port=other.getsockname()[1])
    with pytest.raises(OptionError, match="--port must be between"):
        serve(result, port=70000)
    with pytest.raises(OptionError, match=r"--host.*no address"):
        serve(result, host="no-such-host.invalid")
    with pytest.raises(OptionError, match="cannot listen at 192"):
        serve(result, host="192.0.2.1", port=free_port())
