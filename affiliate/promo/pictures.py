"""An uploaded picture, read by what it is and written anew: nothing of the file itself is kept.

What a decoder has read and an encoder has written is a picture and nothing besides: no HTML
behind it, no script in its comments, no place in its EXIF data. (docs/security.md, A33.)
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image, ImageOps, UnidentifiedImageError

from affiliate.core.errors import Invalid, Phrase

FILE_BYTES_MAX: Final = 3_000_000
SIDE_PX_MAX: Final = 4_000
PIXELS_MAX: Final = 8_000_000
FRAMES_MAX: Final = 120
FRAME_PIXELS_MAX: Final = 40_000_000
"""Of all frames of an animation together."""
EXTENSIONS: Final = {"PNG": "png", "JPEG": "jpg", "GIF": "gif", "WEBP": "webp"}
CONTENT_TYPES: Final = {
    "png": "image/png", "jpg": "image/jpeg", "gif": "image/gif", "webp": "image/webp",
}  # fmt: skip
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "PNG": {"optimize": True},
    "JPEG": {"quality": 88, "optimize": True, "progressive": True},
    "GIF": {},
    "WEBP": {"quality": 88, "method": 4},
}


@dataclass(frozen=True, slots=True)
class Picture:
    """What is stored of an upload."""

    content: bytes
    extension: str
    width: int
    height: int
    """In pixels, as it is shown."""


def read_picture(raw: bytes) -> Picture:
    """The picture in a file. Raises Invalid (`picture`) with what is wrong and what would do."""
    if not raw:
        raise _refused("required", Phrase("Choose a file."))
    if len(raw) > FILE_BYTES_MAX:
        raise _refused("too_large", Phrase("At most %(mb)s MB.", mb=FILE_BYTES_MAX // 1_000_000))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # A bomb is told of by a warning first.
            return _written_anew(raw)
    except Invalid:
        raise
    except UnidentifiedImageError:
        raise _refused(
            "not_a_picture",
            Phrase("This is no PNG, JPEG, GIF or WebP picture. SVG is not taken: it can script."),
        ) from None
    # Decoders raise whatever they meet in a broken file.
    except (OSError, ValueError, SyntaxError, MemoryError, OverflowError, EOFError, Warning,
            Image.DecompressionBombError, IndexError, KeyError, TypeError):  # fmt: skip
        raise _refused("broken", Phrase("The picture cannot be read; save it anew.")) from None


def _written_anew(raw: bytes) -> Picture:
    with Image.open(io.BytesIO(raw), formats=tuple(EXTENSIONS)) as given:
        _require_size(given)
        if getattr(given, "n_frames", 1) > 1 and given.format in ("GIF", "WEBP"):
            return _animation(given)
        upright = ImageOps.exif_transpose(given)
        shown = _plain(upright, given.format or "")
        out = io.BytesIO()
        shown.save(out, given.format, **_OPTIONS[given.format or ""])
        return Picture(out.getvalue(), EXTENSIONS[given.format or ""], *shown.size)


def _require_size(given: Image.Image) -> None:
    """Before a pixel is decoded: the header says how many there are."""
    width, height = given.size
    frames: int = getattr(given, "n_frames", 1)
    if max(width, height) > SIDE_PX_MAX or width * height > PIXELS_MAX:
        message = Phrase("At most %(most)s pixels wide and high.", most=SIDE_PX_MAX)
        raise _refused("too_many_pixels", message)
    if frames > FRAMES_MAX or frames * width * height > FRAME_PIXELS_MAX:
        message = Phrase("An animation has at most %(most)s pictures; this one is too large.",
                         most=FRAMES_MAX)  # fmt: skip
        raise _refused("too_many_frames", message)


def _plain(picture: Image.Image, kind: str) -> Image.Image:
    """The pixels alone, in a mode that the format knows; notes and profiles stay behind."""
    if kind == "JPEG":
        mode = "RGB"
    elif picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        mode = "RGBA"
    else:
        mode = "RGB"
    bare = Image.new(mode, picture.size)
    bare.paste(picture.convert(mode))
    return bare


def _animation(given: Image.Image) -> Picture:
    frames, pauses_ms = [], []
    for number in range(getattr(given, "n_frames", 1)):
        given.seek(number)
        frames.append(given.convert("RGBA"))
        pauses_ms.append(int(given.info.get("duration") or 100))
    out = io.BytesIO()
    frames[0].save(
        out, given.format, save_all=True, append_images=frames[1:], duration=pauses_ms,
        loop=int(given.info.get("loop") or 0), disposal=2, **_OPTIONS[given.format or ""],
    )  # fmt: skip
    return Picture(out.getvalue(), EXTENSIONS[given.format or ""], *given.size)


def _refused(code: str, message: Phrase) -> Invalid:
    return Invalid.field("picture", code, message)
