"""Pictures of a folder of frames: damaged ones that lenient readers fill up, files that hold several, odd ones."""

import io
from pathlib import Path

import numpy as np
import pytest
from clips import pictures
from PIL import Image

from ramvid_vad.errors import InputError
from ramvid_vad.video.reader import read_image

FRAME = np.clip(pictures(1, 96, 128)[0] + np.random.default_rng(0).normal(0, 6, (96, 128, 3)), 0, 255).astype(np.uint8)


def encoded(kind: str, picture: np.ndarray = FRAME, mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def lenient(data: bytes) -> np.ndarray:
    """What Pillow makes of it."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def refused(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(InputError) as error:
        read_image(str(path))
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


JPEGS = {
    "baseline": encoded("JPEG"),
    "progressive": encoded("JPEG", progressive=True),
    "grey": encoded("JPEG", mode="L"),
    "cmyk": encoded("JPEG", mode="CMYK"),
    "restarts": encoded("JPEG", restart_marker_blocks=4),
    "4:2:2": encoded("JPEG", subsampling=1),
    "4:4:4": encoded("JPEG", subsampling=0),
    "odd": encoded("JPEG", FRAME[:33, :47]),
    "one pixel": encoded("JPEG", FRAME[:1, :1]),
    "comment": encoded("JPEG", comment=b"from a camera"),
    "profile": encoded("JPEG", icc_profile=bytes(3000)),
    "bytes behind": encoded("JPEG") + bytes(200) + b"maker's notes",
    "exif": encoded("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
}
DAMAGED_EXIF = {"no header": b"camera", "cut header": b"II*\0", "cut list": b"II*\0\x08\0\0\0\x03\0"}
JPEGS |= {f"exif, {damage}": encoded("JPEG", exif=b"Exif\0\0" + exif) for damage, exif in DAMAGED_EXIF.items()}


@pytest.mark.parametrize("name", JPEGS)
def test_healthy_jpegs(tmp_path, name):
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEGS[name])
    assert np.array_equal(read_image(str(path)), lenient(JPEGS[name]))


@pytest.mark.parametrize("damage", DAMAGED_EXIF)
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_damaged_exif_is_no_damaged_picture(tmp_path, kind, damage):
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(encoded(kind, exif=b"Exif\0\0" + DAMAGED_EXIF[damage], lossless=True))
    assert np.array_equal(read_image(str(path)), FRAME)


@pytest.mark.parametrize("name", ["baseline", "progressive", "grey", "cmyk", "restarts", "exif, cut header"])
@pytest.mark.parametrize("damage", ["cut", "cut and closed", "zeros"])
def test_damaged_jpegs(tmp_path, name, damage):
    """A copy that broke off and was closed, and a sector of zeros: libjpeg fills the rest with grey."""
    whole = JPEGS[name]
    half = len(whole) * 6 // 10
    data = {
        "cut": whole[:half],
        "cut and closed": whole[:half] + b"\xff\xd9",
        "zeros": whole[:half] + bytes(200) + whole[half + 200 :],
    }[damage]
    if damage != "cut" and name != "progressive":
        assert lenient(data).shape == FRAME.shape  # the premise
    refused(tmp_path / "a.jpg", data)


@pytest.mark.parametrize("compression", ["raw", "tiff_adobe_deflate", "tiff_lzw", "packbits"])
def test_cut_tiffs(tmp_path, compression):
    data = encoded("TIFF", compression=compression)
    for share in (0.3, 0.6, 0.9, 0.99):
        refused(tmp_path / "a.tif", data[: int(len(data) * share)])


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_zeros_in_a_deflated_tiff(tmp_path, place):
    """It has a checksum that libtiff reports to the terminal alone."""
    data = bytearray(encoded("TIFF", compression="tiff_adobe_deflate"))
    start = int(len(data) * place)
    data[start : start + 8] = bytes(8)
    assert lenient(bytes(data)).shape == FRAME.shape  # the premise
    refused(tmp_path / "a.tif", bytes(data))


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_zeros_in_a_png(tmp_path, mode, place):
    data = bytearray(encoded("PNG", mode=mode))
    start = int(len(data) * place)
    data[start : start + 8] = bytes(8)
    refused(tmp_path / "a.png", bytes(data))


@pytest.mark.parametrize("lossless", [True, False])
def test_cut_webp(tmp_path, lossless):
    data = encoded("WEBP", lossless=lossless)
    path = tmp_path / "a.webp"
    path.write_bytes(data)
    assert np.array_equal(read_image(str(path)), lenient(data))
    for share in (0.3, 0.6, 0.9, 0.99):
        refused(path, data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "PNG", "MPO"])
def test_several_pictures_of_one_size_are_refused(tmp_path, kind):
    """Pages, an animation, a stereo pair: only the first would be a frame."""
    other = Image.fromarray(FRAME[::-1].copy())
    data = encoded(kind, save_all=True, append_images=[other])
    assert "holds 2 pictures; one per file is expected" in refused(tmp_path / "a.tif", data)


@pytest.mark.parametrize("kind", ["TIFF", "MPO"])
def test_previews_and_gain_maps_are_passed_over_and_said(tmp_path, kind, capsys):
    """Telephones add a smaller picture to a JPEG, scanners one to a TIFF."""
    data = encoded(kind, save_all=True, append_images=[Image.fromarray(FRAME[::4, ::4].copy())])
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    assert np.array_equal(read_image(str(path)), lenient(data))
    assert f"note: {path}: holds 2 pictures; the first is read" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_healthy_pngs(tmp_path, mode):
    path = tmp_path / "a.png"
    path.write_bytes(encoded("PNG", mode=mode))
    assert read_image(str(path)).shape == FRAME.shape
