"""The window: a viser server that draws what `agsrec.viewer.assemble` has put together."""

from __future__ import annotations

import errno
import io
import socket
import threading
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import numpy as np

from agsrec.errors import OptionError, require
from agsrec.figures.canvas import INITIAL, TRUTH
from agsrec.viewer.assemble import display, frustum_lines, image_planes, rgb
from agsrec.viewer.panel import legend_html, moment_html, stories_html

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.viewer.assemble import Display
    from agsrec.viewer.result import ShownResult

__all__ = ["serve"]

_LINE = 2.5  # screen pixels
_FIELD_OF_VIEW = 0.7  # radians, of the window
_FROM_ABOVE = 0.45  # of the distance: how high the window's first viewpoint stands
_PHOTO_PIXELS = 512  # longer side of a photo in the window


def serve(result: ShownResult, *, host: str = "127.0.0.1", port: int = 8080) -> Any:
    """A running `viser.ViserServer` that shows the result; call its `stop()` when done.

    Raises:
        MissingExtraError: viser is not installed.
        OptionError: The address cannot be listened at.
    """
    viser = require("viser", "viewer")
    _check_address(host, port)
    shown = display(result)
    with redirect_stdout(io.StringIO()):  # a box with the address, which is told otherwise
        server = viser.ViserServer(host=host, port=port, verbose=False, label=result.name)
    if server.get_port() != port:  # viser goes on to the next free one
        server.stop()
        raise _taken(host, port)
    try:
        _Window(server, result, shown).build()
    except BaseException:
        server.stop()
        raise
    return server


def _taken(host: str, port: int) -> OptionError:
    return OptionError(f"--port: {port} on {host} is taken by another program; name another port")


def _check_address(host: str, port: int) -> None:
    if not 1 <= port <= 65535:
        raise OptionError(f"--port must be between 1 and 65535, not {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise OptionError(
            f"--host: {host!r} is no address of this machine; 127.0.0.1 is for this machine alone, "
            "0.0.0.0 for the network"
        ) from error
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise _taken(host, port) from error
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"cannot listen at {host}, port {port}: {reason}; choose others") from error


def _line_colors(colors: np.ndarray) -> np.ndarray:
    """Colours uint8 as lines need them: viser takes those of segments for linear light, not sRGB."""
    return np.round(255 * (colors / 255.0) ** 2.2).astype(np.uint8)


class _Window:
    """Everything in the window, and what its controls do.

    Args:
        server: The running server.
        result: What is shown.
        shown: The same, ready to be drawn.
    """

    def __init__(self, server: Any, result: ShownResult, shown: Display) -> None:
        self._server, self._scene, self._gui = server, server.scene, server.gui
        self._result, self._shown = result, shown
        self._names = result.views.names
        self._lock = threading.Lock()  # viser answers every control in a thread of its own

    def build(self) -> None:
        """Draw everything, then the controls."""
        self._scene.set_up_direction("+y")
        # The mesh's texture holds the photos' light: it is shown as it is, by light that has no direction.
        self._scene.configure_environment_map(None)
        self._scene.configure_default_lights(False)
        self._scene.add_light_ambient("/light", intensity=np.pi)
        self._gui.configure_theme(show_logo=False, show_share_button=False)
        self._gui.main_panel.dock_right()
        self._server.on_client_connect(self._place_window)
        self._draw_object()
        self._draw_cameras()
        self._add_controls()

    def _place_window(self, client: Any) -> None:
        """The first viewpoint: on the first photo's side, from above, with all cameras in sight."""
        centers = self._shown.moments[-1].cameras.centers.numpy()
        middle = self._shown.center
        reach = float(np.linalg.norm(centers - middle, axis=-1).max())
        toward = (centers[0] - middle) * [1, 0, 1]
        toward = toward / max(float(np.linalg.norm(toward)), 1e-9) + [0, _FROM_ABOVE, 0]
        client.camera.up_direction = (0.0, 1.0, 0.0)
        client.camera.position = middle + toward * 2.4 * reach
        client.camera.look_at = middle
        client.camera.fov = _FIELD_OF_VIEW

    # ---------------------------------------------------------------- the picture

    def _draw_object(self) -> None:
        self._splats = {
            title: self._scene.add_gaussian_splats(
                f"/scenes/{number}",
                centers=s.centers,
                covariances=s.covariances,
                rgbs=s.rgbs,
                opacities=s.opacities,
                visible=number == 0,
            )
            for number, (title, s) in enumerate(self._shown.scenes.items())
        }
        self._mesh = None
        if self._result.mesh is not None:
            self._mesh = self._scene.add_glb("/mesh", self._result.mesh, visible=False, cast_shadow=False)

    def _draw_cameras(self) -> None:
        shown = self._shown
        final = shown.moments[-1].cameras
        self._frusta = self._draw_lines("/cameras", final, shown.colors)
        photos = (self._result.views.images * 255 + 0.5).byte().numpy()
        step = -(-max(photos.shape[1:3]) // _PHOTO_PIXELS)
        self._photos, self._labels = [], []
        for view, plane in enumerate(image_planes(final)):
            photo = self._scene.add_image(
                f"/photos/{view}",
                photos[view, ::step, ::step],
                plane.width,
                plane.height,
                wxyz=plane.wxyz,
                position=plane.center,
                cast_shadow=False,
                receive_shadow=False,
            )
            self._photos.append(photo)
        self._labels = [
            self._scene.add_label(f"/names/{view}", story.name)
            for view, story in enumerate(shown.stories[: len(self._names)])
        ]
        self._given = self._draw_set("/given", shown.given, INITIAL, visible=True)
        self._truth = self._draw_set("/truth", shown.truth, TRUTH, visible=False)
        if shown.left_out is not None:
            cameras, names = shown.left_out
            self._draw_set("/left_out", cameras, shown.stories[-1].color, visible=True)
            for name, center in zip(names, cameras.centers.numpy(), strict=True):
                self._scene.add_label(f"/left_out/{name}", f"{name} (left out)", position=center)
        self._paths = None
        if len(shown.moments) > 1:
            centers = np.stack([moment.cameras.centers.numpy() for moment in shown.moments], axis=1)
            legs = np.stack([centers[:, :-1], centers[:, 1:]], axis=2)  # [U, S - 1, 2, 3]
            colors = np.broadcast_to(_line_colors(shown.colors)[:, None, None], legs.shape)
            self._paths = self._scene.add_line_segments(
                "/paths",
                legs.reshape(-1, 2, 3).astype(np.float32),
                colors.reshape(-1, 2, 3),
                thickness=1.5,
                thickness_units="screen",
            )

    def _draw_set(self, name: str, cameras: Cameras | None, color: str, *, visible: bool) -> Any:
        """A set of cameras in one colour; None where there is none."""
        if cameras is None:
            return None
        colors = np.tile(np.array(rgb(color), dtype=np.uint8), (len(cameras), 1))
        return self._draw_lines(name, cameras, colors, visible=visible)

    def _draw_lines(self, name: str, cameras: Cameras, colors: np.ndarray, *, visible: bool = True) -> Any:
        lines = frustum_lines(cameras)
        painted = np.broadcast_to(_line_colors(colors)[:, None, None], lines.shape)
        return self._scene.add_line_segments(
            name,
            lines.reshape(-1, 2, 3),
            painted.reshape(-1, 2, 3),
            thickness=_LINE,
            thickness_units="screen",
            visible=visible,
        )

    # ---------------------------------------------------------------- the controls

    def _add_controls(self) -> None:
        gui, shown = self._gui, self._shown
        gui.set_panel_label(self._result.name)
        with gui.add_folder("Course of the cameras"):
            last = len(shown.moments) - 1
            if last > 0:
                self.step = gui.add_slider("Moment", min=0, max=last, step=1, initial_value=last)
                self.step.on_update(lambda _: self._go_to_step())
            self._moment = gui.add_html("")
        with gui.add_folder("Show"):
            titles = tuple(shown.scenes)
            self.chosen = gui.add_dropdown("Scene", titles, visible=len(titles) > 1)
            self.chosen.on_update(lambda _: self._show_scene())
            self.splat = gui.add_checkbox("Splat", True)
            self.splat.on_update(lambda _: self._show_scene())
            self._toggle("Mesh", [self._mesh], False)
            self._toggle("Photos", self._photos, True)
            self._toggle("Cameras", [self._frusta], True)
            self._toggle("Cameras as given", [self._given], True)
            self._toggle("True cameras", [self._truth], False)
            self._toggle("Paths", [self._paths], True)
            self._toggle("Names", self._labels, True)
            gui.add_html(legend_html(shown))
        with gui.add_folder("Photos"):
            stand = gui.add_dropdown("Stand at", ("anywhere", *self._names))
            stand.on_update(lambda event: self._stand_at(event.client, stand.value))
            gui.add_html(stories_html(shown))
        self._go_to(last)

    def _toggle(self, label: str, nodes: list[Any], initial: bool) -> None:
        """A box that shows and hides what there is of some nodes."""
        nodes = [node for node in nodes if node is not None]
        if not nodes:
            return
        box = self._gui.add_checkbox(label, initial)

        @box.on_update
        def _(_: Any) -> None:
            with self._lock:
                for node in nodes:
                    node.visible = box.value

    def _show_scene(self) -> None:
        with self._lock:
            for title, node in self._splats.items():
                node.visible = self.splat.value and title == self.chosen.value

    def _go_to_step(self) -> None:
        with self._lock:
            self._go_to(int(self.step.value))

    def _go_to(self, number: int) -> None:
        """Move cameras, photos and names to a moment of the course."""
        moment = self._shown.moments[number]
        self._frusta.points = frustum_lines(moment.cameras).reshape(-1, 2, 3)
        centers = moment.cameras.centers.numpy()
        for view, plane in enumerate(image_planes(moment.cameras)):
            photo = self._photos[view]
            photo.wxyz, photo.position = plane.wxyz, plane.center
            self._labels[view].position = centers[view]
        self._moment.content = moment_html(self._shown, moment)

    def _stand_at(self, client: Any, name: str) -> None:
        """Look at the object from where a photo was taken."""
        if client is None or name not in self._names:
            return
        view = self._names.index(name)
        camera = self._shown.moments[-1].cameras[view]
        ahead = camera.rotations[0, 2].numpy()
        center = camera.centers[0].numpy()
        distance = max(float((self._shown.center - center) @ ahead), 1e-3)
        client.camera.up_direction = -camera.rotations[0, 1].numpy()
        client.camera.position = center
        client.camera.look_at = center + distance * ahead
        client.camera.fov = float(2 * np.arctan(camera.height / 2 / float(camera.focal_lengths[0, 1])))
