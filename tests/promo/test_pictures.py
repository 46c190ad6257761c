"""Uploaded pictures: read by what they are, written anew, refused with a reason."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image, PngImagePlugin

from affiliate.core.errors import Invalid
from affiliate.promo import pictures
from affiliate.promo.pictures import read_picture


def drawn(
    kind: str, mode: str = "RGB", size: tuple[int, int] = (60, 40), **options: object
) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, 100).save(out, kind, **options)
    return out.getvalue()


def animated(kind: str, frames: int, size: tuple[int, int] = (20, 10)) -> bytes:
    made = [Image.new("RGB", size, (number * 7 % 256, 0, 99)) for number in range(frames)]
    out = io.BytesIO()
    made[0].save(out, kind, save_all=True, append_images=made[1:], duration=70, loop=0)
    return out.getvalue()


def refused(raw: bytes) -> str:
    with pytest.raises(Invalid) as caught:
        read_picture(raw)
    (error,) = caught.value.errors
    assert error.field == "picture"
    return error.code


@pytest.mark.parametrize(
    ("kind", "mode", "extension"),
    [
        ("PNG", "RGBA", "png"), ("PNG", "P", "png"), ("PNG", "1", "png"), ("PNG", "LA", "png"),
        ("JPEG", "RGB", "jpg"), ("JPEG", "CMYK", "jpg"), ("JPEG", "L", "jpg"),
        ("GIF", "P", "gif"), ("WEBP", "RGBA", "webp"),
    ],
)  # fmt: skip
def test_a_picture_keeps_its_kind_and_size(kind: str, mode: str, extension: str) -> None:
    found = read_picture(drawn(kind, mode))
    assert (found.extension, found.width, found.height) == (extension, 60, 40)
    with Image.open(io.BytesIO(found.content)) as shown:
        assert (shown.format, shown.size) == (kind, (60, 40))


def test_what_is_seen_through_stays_so() -> None:
    raw = io.BytesIO()
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(raw, "PNG")
    with Image.open(io.BytesIO(read_picture(raw.getvalue()).content)) as shown:
        assert shown.convert("RGBA").getpixel((1, 1)) == (0, 0, 0, 0)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_an_animation_keeps_its_pictures_and_their_pace(kind: str) -> None:
    found = read_picture(animated(kind, 5))
    with Image.open(io.BytesIO(found.content)) as shown:
        assert (shown.n_frames, shown.size) == (5, (20, 10))  # type: ignore[attr-defined]
        shown.seek(1)
        shown.load()
        assert shown.info["duration"] == 70


def test_a_photo_taken_upright_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # A quarter turn.
    found = read_picture(drawn("JPEG", exif=exif))
    assert (found.width, found.height) == (40, 60)


@pytest.mark.abuse("A33")
def test_nothing_of_the_file_but_its_pixels_is_kept() -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", "<script>alert(1)</script>")
    exif = Image.Exif()
    exif[0x010E] = "<script>place</script>"
    exif[0x8825] = {1: "N", 2: (55.0, 45.0, 0.0)}
    for raw in (
        drawn("PNG", pnginfo=notes) + b"<script>behind</script>",
        drawn("JPEG", exif=exif, comment=b"<script>c</script>") + b"<?php behind ?>",
        drawn("GIF", "P", comment=b"<script>c</script>") + b"<script>behind</script>",
        drawn("WEBP", exif=exif, icc_profile=b"<script>profile</script>"),
    ):
        kept = read_picture(raw).content
        assert b"script" in raw or b"php" in raw
        for trace in (b"script", b"php", b"Exif", b"EXIF", b"iCCP", b"ICCP", b"tEXt"):
            assert trace not in kept


@pytest.mark.abuse("A33")
@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "required"),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
            "not_a_picture",
        ),
        (b"<!doctype html><script>alert(1)</script>", "not_a_picture"),
        (b"%PDF-1.7", "not_a_picture"),
        (b"MZ\x90\x00" * 20, "not_a_picture"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 60, "broken"),
        (drawn("JPEG")[:200], "broken"),
        (drawn("PNG")[:-30], "broken"),
        (drawn("BMP"), "not_a_picture"),
        (drawn("TIFF"), "not_a_picture"),
        (drawn("ICO"), "not_a_picture"),
        (b"GIF89a" + bytes(3_000_001), "too_large"),
        (drawn("PNG", "1", (4_001, 10)), "too_many_pixels"),
        (drawn("PNG", "1", (3_900, 3_900)), "too_many_pixels"),
        (animated("GIF", 121, (2, 2)), "too_many_frames"),
    ],
)
def test_what_is_no_picture_of_ours_is_refused_by_what_it_is(raw: bytes, code: str) -> None:
    assert refused(raw) == code


@pytest.mark.abuse("A33")
def test_a_bomb_is_refused_by_its_header_before_a_pixel_is_decoded() -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        whole = name + body
        return struct.pack(">I", len(body)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1_000_000))) + chunk(b"IEND", b"")
    )  # fmt: skip
    assert refused(bomb) in ("too_many_pixels", "broken")
    assert pictures.PIXELS_MAX < Image.MAX_IMAGE_PIXELS  # type: ignore[operator]


@pytest.mark.abuse("A33")
def test_garbage_of_any_kind_is_refused_and_never_an_error() -> None:
    for kind in ("PNG", "JPEG", "GIF", "WEBP"):
        good = drawn(kind, "P" if kind == "GIF" else "RGB")
        for place in range(8, len(good), max(1, len(good) // 60)):
            spoiled = good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :]
            try:
                read_picture(spoiled)
            except Invalid as refusal:
                assert refusal.errors[0].field == "picture"


@pytest.mark.abuse("A33")
def test_a_picture_that_grows_while_it_is_decoded_is_refused() -> None:
    """The header of a GIF says 10 x 10; its second frame is larger than we take."""
    small, large = io.BytesIO(), io.BytesIO()
    Image.new("P", (10, 10)).save(small, "GIF")
    Image.new("P", (3_000, 2_000), 1).save(large, "GIF")
    frame = large.getvalue()[13 + 3 * (2 << (large.getvalue()[10] & 7)) :]
    assert refused(small.getvalue()[:-1] + frame) == "broken"


@pytest.mark.abuse("A33")
def test_a_jpeg_of_endless_scans_is_refused_before_it_is_decoded() -> None:
    good = drawn("JPEG", progressive=True)
    scan = good[good.index(b"\xff\xda") : -2]
    assert refused(good[:-2] + scan * 100 + good[-2:]) == "broken"


@pytest.mark.abuse("A33")
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_a_torn_note_is_refused_or_passed_over_and_never_an_error(kind: str) -> None:
    raw = drawn(kind, exif=b"Exif\0\0II*\0")
    try:
        assert read_picture(raw).width == 60
    except Invalid as refusal:
        assert refusal.errors[0].code == "broken"


@pytest.mark.abuse("A33")
def test_what_grows_by_being_written_anew_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = animated("GIF", 30, (50, 50))
    monkeypatch.setattr(pictures, "FILE_BYTES_MAX", len(raw))
    assert len(read_picture(raw).content) <= len(raw)
    monkeypatch.setattr(pictures, "_OPTIONS", {**pictures._OPTIONS, "GIF": {"comment": raw}})
    assert refused(raw) == "too_large"


def test_several_pictures_in_one_jpeg_are_the_first() -> None:
    out = io.BytesIO()
    Image.new("RGB", (60, 40), 9).save(
        out, "MPO", save_all=True, append_images=[Image.new("RGB", (60, 40), 200)]
    )
    found = read_picture(out.getvalue())
    assert (found.extension, found.width, found.height) == ("jpg", 60, 40)


def test_sixteen_bits_of_grey_keep_their_shades() -> None:
    deep = Image.new("I;16", (4, 1))
    for x, level in enumerate((0, 0x4000, 0x8000, 0xFFFF)):
        deep.putpixel((x, 0), level)
    out = io.BytesIO()
    deep.save(out, "PNG")
    with Image.open(io.BytesIO(read_picture(out.getvalue()).content)) as shown:
        assert [shown.convert("L").getpixel((x, 0)) for x in range(4)] == [0, 64, 128, 255]


@pytest.mark.parametrize(("given", "kept"), [({}, None), ({"loop": 0}, 0), ({"loop": 3}, 3)])
def test_an_animation_is_played_as_often_as_before(given: dict[str, int], kept: int | None) -> None:
    made = [Image.new("RGB", (8, 8), (number * 90, 0, 0)) for number in range(3)]
    out = io.BytesIO()
    made[0].save(out, "GIF", save_all=True, append_images=made[1:], duration=70, **given)
    with Image.open(io.BytesIO(read_picture(out.getvalue()).content)) as shown:
        assert shown.info.get("loop") == kept
