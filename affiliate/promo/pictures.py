"""An uploaded picture, read by what it is and written anew: nothing of the file itself is kept.

What a decoder has read and an encoder has written is a picture and nothing besides: no HTML
behind it, no script in its comments, no place in its EXIF data. (docs/security.md, A33.)
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image, ImageOps, UnidentifiedImageError
from rq.timeouts import BaseTimeoutException

from affiliate.core.errors import Invalid, Phrase

FILE_BYTES_MAX: Final = 3_000_000
SIDE_PX_MAX: Final = 4_000
PIXELS_MAX: Final = 8_000_000
FRAMES_MAX: Final = 120
FRAME_PIXELS_MAX: Final = 16_000_000
"""Of all frames of an animation together."""
EXTENSIONS: Final = {"PNG": "png", "JPEG": "jpg", "GIF": "gif", "WEBP": "webp"}
SCANS_MAX: Final = 100
"""Of a progressive JPEG, which has some ten: each costs its decoder a look at all pixels."""
_JPEG, _JPEG_SCAN = b"\xff\xd8", b"\xff\xda"
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
        raise _too_large()
    try:
        made = _written_anew(raw)
    except Invalid:
        raise
    except UnidentifiedImageError:
        raise _refused(
            "not_a_picture",
            Phrase("This is no PNG, JPEG, GIF or WebP picture. SVG is not taken: it can script."),
        ) from None
    except Exception:  # noqa: BLE001 -- decoders raise whatever they meet in a broken file
        raise _refused("broken", Phrase("The picture cannot be read; save it anew.")) from None
    # What was packed by differences between its frames is larger when each is whole.
    if len(made.content) > FILE_BYTES_MAX:
        raise _too_large()
    return made


def small_picture(raw: bytes, *, side_px: int) -> Picture:
    """A small WebP of the picture in a file, of an animation the first: for lists of many.

    Raises Invalid (`picture`) as `read_picture` does.
    """
    try:
        _require_few_scans(raw)
        with Image.open(io.BytesIO(raw), formats=tuple(EXTENSIONS)) as given:
            _require_size(given, "JPEG" if given.format == "MPO" else given.format or "")
            shown = _plain(ImageOps.exif_transpose(given), "WEBP")
    except (Invalid, BaseTimeoutException):
        raise
    except Exception:  # noqa: BLE001 -- decoders raise whatever they meet in a broken file
        raise _refused("broken", Phrase("The picture cannot be read; save it anew.")) from None
    shown.thumbnail((side_px, side_px))
    out = io.BytesIO()
    shown.save(out, "WEBP", **_OPTIONS["WEBP"])
    return Picture(out.getvalue(), EXTENSIONS["WEBP"], *shown.size)


def _written_anew(raw: bytes) -> Picture:
    _require_few_scans(raw)
    with Image.open(io.BytesIO(raw), formats=tuple(EXTENSIONS)) as given:
        # Several pictures in one JPEG, as some cameras write them: the first is the picture.
        kind = "JPEG" if given.format == "MPO" else given.format or ""
        _require_size(given, kind)
        if _frames(given, kind) > 1:
            return _animation(given, kind)
        shown = _plain(ImageOps.exif_transpose(given), kind)
        out = io.BytesIO()
        shown.save(out, kind, **_OPTIONS[kind])
        return Picture(out.getvalue(), EXTENSIONS[kind], *shown.size)


def _require_few_scans(raw: bytes) -> None:
    if raw.count(_JPEG_SCAN) > SCANS_MAX and raw.startswith(_JPEG):
        raise _refused("broken", Phrase("The picture cannot be read; save it anew."))


def _frames(given: Image.Image, kind: str) -> int:
    """How many pictures are shown one after another; of a PNG the first alone is taken."""
    return int(getattr(given, "n_frames", 1)) if kind in ("GIF", "WEBP") else 1


def _require_size(given: Image.Image, kind: str) -> None:
    """Before a pixel is decoded: the header says how many there are."""
    width, height = given.size
    frames = _frames(given, kind)
    if max(width, height) > SIDE_PX_MAX or width * height > PIXELS_MAX:
        message = Phrase("At most %(most)s pixels wide and high.", most=SIDE_PX_MAX)
        raise _refused("too_many_pixels", message)
    if frames > FRAMES_MAX or frames * width * height > FRAME_PIXELS_MAX:
        message = Phrase("An animation has at most %(most)s pictures; this one is too large.",
                         most=FRAMES_MAX)  # fmt: skip
        raise _refused("too_many_frames", message)


def _plain(picture: Image.Image, kind: str) -> Image.Image:
    """The pixels alone, in a mode that the format knows; notes and profiles stay behind."""
    if picture.mode.startswith("I"):  # Sixteen bits of grey, which a plain conversion would clip.
        picture = picture.convert("I").point(lambda level: level / 256).convert("L")
    if kind == "JPEG":
        mode = "RGB"
    elif picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        mode = "RGBA"
    else:
        mode = "RGB"
    bare = Image.new(mode, picture.size)
    bare.paste(picture.convert(mode))
    return bare


def _animation(given: Image.Image, kind: str) -> Picture:
    size, frames, pauses_ms = given.size, [], []
    for number in range(_frames(given, kind)):
        given.seek(number)
        if given.size != size:  # A later frame may make the whole picture larger.
            raise _refused("broken", Phrase("The picture cannot be read; save it anew."))
        frames.append(given.convert("RGBA"))
        pauses_ms.append(int(given.info.get("duration") or 100))
    once = {"loop": int(given.info["loop"])} if "loop" in given.info else {}
    out = io.BytesIO()
    frames[0].save(
        out, kind, save_all=True, append_images=frames[1:], duration=pauses_ms, disposal=2,
        **once, **_OPTIONS[kind],
    )  # fmt: skip
    return Picture(out.getvalue(), EXTENSIONS[kind], *size)


def _too_large() -> Invalid:
    return _refused("too_large", Phrase("At most %(mb)s MB.", mb=FILE_BYTES_MAX // 1_000_000))


def _refused(code: str, message: Phrase) -> Invalid:
    return Invalid.field("picture", code, message)
