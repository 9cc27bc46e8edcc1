"""The page of the camera: what the browser films goes to this computer over WebRTC, and comes back restored.

Only the browser and this computer talk to each other: no server is asked for addresses, unless one is set.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from typing import TYPE_CHECKING, Any, cast

import av
import streamlit as st
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from revisage.core import ConfigError, Image, MissingExtraError, RevisageError
from revisage.live_stream import Stream
from revisage.streams import split_view
from revisage.ui.display import alert

if TYPE_CHECKING:
    from revisage.streams import StreamTally

__all__ = ["CameraRestorer", "ice_servers", "show_live"]

ICE_SERVERS = "REVISAGE_UI_ICE_SERVERS"
"""The environment variable that names STUN and TURN servers, as a browser's ``RTCPeerConnection`` takes them."""

_WANTED = {"video": {"width": {"ideal": 640}, "height": {"ideal": 360}, "frameRate": {"ideal": 30}}, "audio": False}


class _IceServer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    urls: str | list[str]
    username: str | None = None
    credential: str | None = None


def ice_servers() -> list[dict[str, Any]]:
    """The STUN and TURN servers that are set; none asks nobody.

    Raises:
        ConfigError: the variable holds something else.
    """
    try:
        read = TypeAdapter(list[_IceServer]).validate_json(os.environ.get(ICE_SERVERS) or "[]")
    except ValidationError as error:
        example = '[{"urls": "turn:host:3478", "username": "me", "credential": "secret"}]'
        raise ConfigError(f"{ICE_SERVERS} is not a list of servers; write for example {example}") from error
    return [server.model_dump(exclude_none=True) for server in read]


class CameraRestorer:
    """Restores the frames of one browser's camera. ``recv_queued`` is called with those that have come.

    Its networks load beside the frames, which pass as they are until then: whoever opens the page sees themselves at
    once, and no frame waits.

    Attributes:
        strength: 0 leaves faces as they are, 1 restores them fully.
        split: show the left half as it was captured.
        error: why nothing is restored.
    """

    def __init__(self, strength: float, split: bool) -> None:
        self.strength, self.split = strength, split
        self.error: str | None = None
        self._stream: Stream | None = None
        self._lock = threading.Lock()
        self._has_ended = False
        threading.Thread(target=self._load, name="camera-networks", daemon=True).start()

    def _load(self) -> None:
        try:
            stream = Stream()
        except RevisageError as error:
            self.error = str(error)
            return
        with self._lock:
            if not self._has_ended:
                self._stream = stream
                return
        stream.close()

    @property
    def tally(self) -> StreamTally | None:
        """What became of the frames so far; None while the networks load."""
        stream = self._stream
        return None if stream is None else stream.tally

    async def recv_queued(self, frames: list[av.VideoFrame]) -> list[av.VideoFrame]:
        """The newest of the frames that have come, restored; none where it would be late. Older ones are left out."""
        shown = self.recv(frames[-1])
        return [] if shown is None else [shown]

    def recv(self, frame: av.VideoFrame) -> av.VideoFrame | None:
        """A frame, restored; None where it is dropped."""
        came = time.monotonic()
        with self._lock:  # the stream is not closed while a frame is in it
            if self._stream is None:
                return frame
            before = cast("Image", frame.to_ndarray(format="rgb24"))
            if self._stream.strength != self.strength:
                self._stream.strength = self.strength
            try:
                shown = self._stream.push(before, captured=came)
            except RevisageError as error:
                self.error = str(error)
                return frame
        if shown is None:
            return None
        return av.VideoFrame.from_ndarray(split_view(before, shown) if self.split else shown, format="rgb24")

    def on_ended(self) -> None:
        """The camera is off, or the browser has gone."""
        with self._lock:
            self._has_ended = True
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


def show_live() -> None:
    """Draw the page of the camera."""
    if importlib.util.find_spec("streamlit_webrtc") is None:
        alert(str(MissingExtraError("The camera in the browser", "live")))
        return
    try:
        _camera(ice_servers())
    except RevisageError as error:
        alert(str(error))


def _camera(servers: list[dict[str, Any]]) -> None:
    from streamlit_webrtc import WebRtcMode, webrtc_streamer

    view, side = st.columns([3, 2], gap="large")
    with side, st.container(border=True):
        strength = st.slider("Strength", 0, 100, 100, key="live-strength", format="%d %%") / 100
        split = st.toggle("Left half as it was filmed", key="live-split")
    factory: Any = lambda: CameraRestorer(strength, split)  # noqa: E731 - their type asks for their base class
    with view:
        context = webrtc_streamer(
            "camera",
            mode=WebRtcMode.SENDRECV,
            rtc_configuration={"iceServers": servers},  # an empty list: without one, a public server would be asked
            media_stream_constraints=_WANTED,
            video_processor_factory=factory,
            sendback_audio=False,
            video_html_attrs={"autoPlay": True, "controls": False, "muted": True, "style": {"width": "100%"}},
        )
        st.caption(
            "The picture goes from this browser to the computer that runs revisage and back, and nowhere else. On "
            "that computer it works as it is. From another one, browsers give out a camera over HTTPS only, and "
            "where no direct way leads there, a TURN server is needed."
        )
    camera: CameraRestorer | None = context.video_processor
    if camera is not None:
        camera.strength, camera.split = strength, split
        with side:
            _figures(camera)


@st.fragment(run_every=1.0)
def _figures(camera: CameraRestorer) -> None:
    """What became of the frames, anew each second."""
    tally = camera.tally
    if camera.error is not None:
        alert(camera.error)
    elif tally is None:
        st.caption("The networks are loading; the picture is not restored yet.")
    else:
        latency = tally.latencies.percentile(50)
        took = "" if latency is None else f", {1000 * latency:.0f} ms each"
        said = f"{tally.shown} frames shown{took}; {tally.dropped} dropped. "
        if tally.with_faces:
            said += (
                f"The restorer ran in {tally.share_restored:.0%} of those with faces; the others carry what it made."
            )
        st.caption(said)
