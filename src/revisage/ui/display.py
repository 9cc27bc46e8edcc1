"""How the page shows things: words of a person, pictures with a text, and two viewers that Streamlit lacks."""

from __future__ import annotations

import base64
import html
import re
import string
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import streamlit as st

from revisage.core import Image
from revisage.media import media_type
from revisage.readers import SAME_PERSON

__all__ = [
    "a_while",
    "alert",
    "before_after",
    "bytes_of",
    "counted",
    "data_url",
    "likeness_in_words",
    "measures_in_words",
    "moving_picture",
    "picture",
    "plain",
    "seconds_of",
    "videos_in_step",
    "what_it_is",
]

_MEANT = re.compile(rf"([{re.escape(string.punctuation)}])")
_RECODED = 10
"""Smaller differences (of 255) come from encoding the video again, everywhere in the frame."""

_KINDS = {"video": "Video", "animation": "Animation", "image": "Photo"}


def plain(text: str) -> str:
    """Text that Markdown shows as it is: a name may hold stars, formulas, HTML, or a picture of another host's."""
    return _MEANT.sub(r"\\\1", text)


def alert(message: str) -> None:
    """A message about something that went wrong, shown as it is."""
    st.error(plain(message), icon=":material/error:")


def counted(number: int, noun: str) -> str:
    """A number and what it counts: ``1 frame``, ``2 frames``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def a_while(seconds: float) -> str:
    """A length of time as one would say it: ``about 2 minutes``."""
    if seconds < 1.5:
        return "a second"
    if seconds < 90:
        return f"about {round(seconds)} seconds" if seconds < 20 else f"about {5 * round(seconds / 5)} seconds"
    minutes = seconds / 60
    if minutes < 90:
        return f"about {round(minutes)} minutes"
    return f"about {minutes / 60:.1f} hours"


def seconds_of(info: Mapping[str, Any]) -> float:
    """The length of a medium as ``probe`` tells it, a fraction as text; 0 when it has none."""
    return float(Fraction(info.get("duration") or 0))


def bytes_of(size: int) -> str:
    """A file's size: ``12.3 MB``."""
    if size < 1_000_000:
        return f"{max(1, round(size / 1000))} kB"
    return f"{size / 1_000_000:.1f} MB" if size < 1_000_000_000 else f"{size / 1_000_000_000:.2f} GB"


def what_it_is(kind: str, width: int, height: int, seconds: float | None, frames: int | None) -> str:
    """A file in one line: ``Video, 1280 x 720, 9.4 s, 282 frames``."""
    parts = [_KINDS.get(kind, kind), f"{width} × {height}"]
    if kind != "image":
        if seconds:
            parts.append(f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)}:{int(seconds % 60):02d} min")
        if frames:
            parts.append(counted(frames, "frame"))
    return ", ".join(parts)


def measures_in_words(measures: dict[str, Any], *, faces: int, frames: int, seconds: float) -> list[tuple[str, str]]:
    """(sentence, number) pairs from the measures of a report; what was not measured is left out."""
    rows = [(f"{counted(faces, 'face')} restored in {counted(frames, 'frame')}", f"{seconds:.1f} s")]
    rows += [row for row in (_rate(measures), _change(measures), _sync(measures), _quality(measures)) if row]
    fpa = measures.get("fpa")
    if fpa is not None:
        rows.append(("Eyes, nose and mouth are where they were before", f"{100 * fpa:.0f} %"))
    return rows


def likeness_in_words(likeness: Mapping[str, Any]) -> tuple[str, bool]:
    """What a report says of a restored face beside what it was, and whether it still looks like the same person."""
    identity, kept = likeness["identity"], likeness.get("expression_kept")
    is_same = identity >= SAME_PERSON
    text = "Still the same person" if is_same else "Looks like somebody else now"
    text += f" (likeness {identity:.2f} of 1)"
    if kept is not None:
        text += f"; eyes and mouth as far open as before in {100 * kept:.0f} % of the faces compared"
    return text + ("." if is_same else ". Look closely; lower the strength, or take the tick away."), is_same


def _rate(measures: dict[str, Any]) -> tuple[str, str] | None:
    ratio = measures.get("frr")
    if ratio is None:
        return None
    return ("The speed of the film is unchanged" if ratio == "1" else "The frame rate changed", f"ratio {ratio}")


def _change(measures: dict[str, Any]) -> tuple[str, str] | None:
    part = measures.get("fei_measured")
    if part is None:
        return None
    return ("Of a full restoration the faces got", f"{100 * part:.0f} %")


def _sync(measures: dict[str, Any]) -> tuple[str, str] | None:
    shift = measures.get("avs_ms")
    if shift is None:
        return None
    told = "Sound and picture are as much in step as before" if shift <= 1 else "Sound and picture moved apart"
    return (told, f"{shift:.2f} ms")


def _quality(measures: dict[str, Any]) -> tuple[str, str] | None:
    before, after = measures.get("niqe_before"), measures.get("niqe_after")
    if before is None or after is None:
        return None
    told = "The faces look more natural" if after < before else "The faces look no more natural than before"
    return (f"{told} (NIQE, lower is better)", f"{before:.2f} → {after:.2f}")


_component = cache(st.components.v2.component)
"""Registered once per process: again and again would warn."""

_SHARED_CSS = """
:host, .viewer { font-family: var(--st-font); color: var(--st-text-color); }
button, input[type=range] { accent-color: var(--st-primary-color); }
button:focus-visible, input:focus-visible { outline: 3px solid var(--st-primary-color); outline-offset: 2px; }
.hint { font-size: 0.85rem; opacity: 0.75; margin: 0.25rem 0 0; }
"""

_STEP_HTML = """
<div class="viewer" role="group" aria-label="Play both videos together">
  <button type="button" class="play" aria-label="Play both videos">Play both</button>
  <input type="range" class="seek" min="0" max="1000" value="0" step="1" aria-label="Position in both videos">
  <output class="clock">0:00 / 0:00</output>
</div>
"""

_STEP_CSS = (
    _SHARED_CSS
    + """
.viewer { display: flex; gap: 0.75rem; align-items: center; }
.seek { flex: 1; min-width: 4rem; }
.clock { font-variant-numeric: tabular-nums; white-space: nowrap; }
.play { min-width: 6.5rem; padding: 0.4rem 0.8rem; border-radius: 0.5rem; cursor: pointer;
  border: 1px solid var(--st-border-color); background: var(--st-secondary-background-color);
  color: inherit; font: inherit; }
"""
)

# The videos are Streamlit's own elements, in containers with the keys `original` and `restored`: it serves them in
# ranges, so that even a long film starts at once. The restored one leads; the other is brought back into step when it
# strays by more than a frame or so.
_STEP_JS = """
export default function ({ parentElement, data }) {
  const play = parentElement.querySelector('.play');
  const seek = parentElement.querySelector('.seek');
  const clock = parentElement.querySelector('.clock');
  const find = (key) => document.querySelector(`.st-key-${key} video`);
  const both = () => data.keys.map(find).filter(Boolean);
  const text = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, '0')}`;
  let dragging = false;

  const show = () => {
    const [first, lead] = both();
    if (lead) {
      const length = lead.duration || 0;
      if (!dragging && length) seek.value = String(Math.round(1000 * lead.currentTime / length));
      clock.textContent = `${text(lead.currentTime || 0)} / ${text(length)}`;
      seek.setAttribute('aria-valuetext', clock.textContent);
      if (!lead.paused && Math.abs(first.currentTime - lead.currentTime) > 0.06) first.currentTime = lead.currentTime;
      const word = lead.paused || lead.ended ? 'Play both' : 'Pause both';
      if (play.textContent !== word) {
        play.textContent = word;
        play.setAttribute('aria-label', word + ' videos');
      }
    }
    timer = requestAnimationFrame(show);
  };
  play.onclick = async () => {
    const videos = both();
    if (videos.length < 2) return;
    const [first, lead] = videos;
    if (!lead.paused) { videos.forEach((video) => video.pause()); return; }
    first.muted = true;                       // the sound of one is enough
    first.currentTime = lead.ended ? 0 : lead.currentTime;
    if (lead.ended) lead.currentTime = 0;
    await Promise.all(videos.map((video) => video.play()));
  };
  seek.oninput = () => {
    dragging = true;
    both().forEach((video) => { video.currentTime = (video.duration || 0) * seek.value / 1000; });
  };
  seek.onchange = () => { dragging = false; };
  let timer = requestAnimationFrame(show);
  return () => cancelAnimationFrame(timer);
}
"""

_SLIDER_HTML = """
<figure class="viewer">
  <div class="frame">
    <img class="after" alt=""><div class="clip"><img class="before" alt=""></div><div class="line"></div>
    <span class="tag left">before</span><span class="tag right">after</span>
  </div>
  <input type="range" class="cut" min="0" max="100" value="50" step="1">
</figure>
"""

_SLIDER_CSS = (
    _SHARED_CSS
    + """
figure { margin: 0; }
.frame { position: relative; overflow: hidden; border-radius: 0.5rem; touch-action: pan-y; }
.frame img { display: block; width: 100%; user-select: none; -webkit-user-drag: none; }
.clip { position: absolute; inset: 0; clip-path: inset(0 50% 0 0); }
.line { position: absolute; top: 0; bottom: 0; left: 50%; width: 2px; background: #fff; box-shadow: 0 0 4px #000; }
.tag { position: absolute; bottom: 0.5rem; padding: 0.1rem 0.5rem; border-radius: 0.5rem; color: #fff;
  background: rgba(0, 0, 0, 0.65); font-size: 0.8rem; }
.left { left: 0.5rem; } .right { right: 0.5rem; }
.cut { width: 100%; margin: 0.5rem 0 0; }
"""
)

_SLIDER_JS = """
export default function ({ parentElement, data }) {
  const part = (name) => parentElement.querySelector('.' + name);
  part('before').src = data.before;
  part('after').src = data.after;
  part('before').alt = 'Before: ' + data.alt;
  part('after').alt = 'After: ' + data.alt;
  const cut = part('cut');
  if (cut.dataset.of !== data.before) {       // another picture: begin at the face again
    cut.dataset.of = data.before;
    cut.value = String(data.cut);
  }
  cut.setAttribute('aria-label', 'How much of the frame shows the state before');
  const show = () => {
    part('clip').style.clipPath = `inset(0 ${100 - cut.value}% 0 0)`;
    part('line').style.left = `${cut.value}%`;
  };
  cut.oninput = show;
  const drag = (event) => {
    const box = part('frame').getBoundingClientRect();
    cut.value = String(Math.round(100 * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width))));
    show();
  };
  part('frame').onpointerdown = (event) => { part('frame').setPointerCapture(event.pointerId); drag(event); };
  part('frame').onpointermove = (event) => { if (event.buttons) drag(event); };
  show();
}
"""


def videos_in_step(*, original: str, restored: str, key: str) -> None:
    """One play button and one seek bar for two videos.

    Args:
        original, restored: keys of the Streamlit containers that hold a video each.
        key: of this control.
    """
    _component("revisage_videos_in_step", html=_STEP_HTML, css=_STEP_CSS, js=_STEP_JS)(
        data={"keys": [original, restored]}, key=key, height="content"
    )


def before_after(before: Image, after: Image, *, alt: str, key: str) -> None:
    """A frame before and after, with a slider (mouse, finger or arrow keys) between them.

    Args:
        before, after: (H, W, 3) uint8 RGB, of the same aspect ratio.
        alt: what the frame shows, for those who cannot see it.
        key: of this viewer.
    """
    values = {"before": data_url(before), "after": data_url(after), "alt": alt, "cut": _middle_of_change(before, after)}
    _component("revisage_before_after", html=_SLIDER_HTML, css=_SLIDER_CSS, js=_SLIDER_JS)(
        data=values, key=key, height="content"
    )


def _middle_of_change(before: Image, after: Image) -> int:
    """Where the divider begins, in percent of the width: through the middle of what was restored."""
    height, width = before.shape[:2]
    if (height, width) != after.shape[:2]:
        after = cv2.resize(after, (width, height), interpolation=cv2.INTER_AREA)
    change = cv2.absdiff(before, after)
    change[change < _RECODED] = 0
    columns = change.sum(axis=(0, 2), dtype=np.float64)
    return round(100 * float(columns @ np.arange(width) / columns.sum()) / width) if columns.any() else 50


def moving_picture(path: Path, *, alt: str) -> None:
    """A GIF, APNG or animated WebP, which browsers play as a picture.

    Args:
        path: of the file, up to about 100 MB: it travels with the page.
        alt: what it shows.
    """
    _show_picture(path, alt, "width: 100%")


def picture(shown: Path | Image, *, alt: str, width: int | None = None) -> None:
    """A picture with a text for those who cannot see it (Streamlit's own has none).

    Args:
        shown: (H, W, 3) uint8 RGB, or the path of a JPEG, PNG or WebP that the project made.
        alt: what it shows.
        width: in px; by default as wide as its place.
    """
    _show_picture(shown, alt, f"width: {width}px" if width else "width: 100%")


def _show_picture(shown: Path | Image, alt: str, style: str) -> None:
    if isinstance(shown, Path):
        data = base64.b64encode(shown.read_bytes()).decode("ascii")
        source = f"data:{media_type(shown.suffix)};base64,{data}"
    else:
        source = data_url(shown)
    st.html(f'<img src="{source}" alt="{html.escape(alt, quote=True)}" style="{style}; border-radius: 0.5rem">')


def data_url(image: Image, *, longest: int = 1280, quality: int = 90) -> str:
    """(H, W, 3) uint8 RGB as a WebP in a data URL, reduced by area to at most ``longest`` px a side."""
    factor = longest / max(image.shape[:2])
    if factor < 1:
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".webp", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, quality])
    return "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode("ascii")
