"""Pictures upright, mirrored ones too, and deep samples on one scale per video."""

import zlib
from fractions import Fraction
from itertools import product

import av
import cv2
import numpy as np
import pytest
import tifffile
from clips import pictures, write_frames, write_video
from PIL import Image, ImageOps
from test_cut_videos import DATA

from ramvid_vad.errors import InputError
from ramvid_vad.video.benchmarks import annotations
from ramvid_vad.video.reader import read_frames, read_image

# a, b, c, d of a display matrix: the pixel (p, q) is shown at (a p + c q, b p + d q)
MATRICES = [(a, 0, 0, d) for a, d in product((1, -1), repeat=2)] + [(0, b, c, 0) for b, c in product((1, -1), repeat=2)]


def read(path, rgb=True) -> np.ndarray:
    return np.stack(list(read_frames(str(path), rgb)))


def shown(frame: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """The picture that a display matrix makes, pixel by pixel."""
    height, width = frame.shape[:2]
    places = {(a * p + c * q, b * p + d * q): frame[q, p] for p in range(width) for q in range(height)}
    left, top = min(x for x, _ in places), min(y for _, y in places)
    made = np.empty((width, height, 3) if b else frame.shape, np.uint8)
    for (x, y), pixel in places.items():
        made[y - top, x - left] = pixel
    return made


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_the_eight_display_matrices(tmp_path, name, matrix):
    a, b, c, d = matrix
    frames = pictures(3)
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        one = 1 << 16
        stream.set_display_matrix([a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30])
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    upright = read(path)
    assert upright.flags.c_contiguous
    for frame, seen in zip(frames, upright, strict=True):
        wanted = shown(frame, *matrix)
        assert seen.shape == wanted.shape and np.abs(seen.astype(int) - wanted).mean() < 2
    assert np.abs(read(path, rgb=False)[..., 0] - upright @ [0.299, 0.587, 0.114]).mean() < 2


def test_the_mirrored_video_of_the_field():
    """The reference is the same film, unmirrored, in another file of the field."""
    assert np.array_equal(read(DATA / "mirrored_hflip.mp4"), read(DATA / "two_video_streams.mkv")[:, :, ::-1])


def test_an_angle_between_quarter_turns_is_not_applied(tmp_path):
    path = write_video(tmp_path / "a.mp4", pictures(2), "libx264", "yuv444p", rotation=30)
    assert read(path).shape == (2, 48, 64, 3)


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif", "jpg", "webp"])
def test_the_eight_exif_orientations(tmp_path, ending, value):
    picture = Image.fromarray(pictures(1)[0])
    exif = picture.getexif()
    exif[0x0112] = value
    path = tmp_path / f"a.{ending}"
    picture.save(path, exif=exif)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    assert np.array_equal(read_image(str(path)), wanted)
    assert read_image(str(path), rgb=False).shape == (*wanted.shape[:2], 1)
    assert np.array_equal(read(write_frames(tmp_path / "01", wanted[None], ["0.png"])), wanted[None])


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("kind", ["grey.tif", "colour.tif", "grey.png", "colour.png"])
def test_exif_orientation_of_deep_pictures(tmp_path, kind, value):
    shallow = np.arange(12 * 20, dtype=np.uint8).reshape(12, 20)
    deep = shallow.astype(np.uint16) * 16
    wanted = scaled(np.asarray(ImageOps.exif_transpose(tagged(Image.fromarray(shallow), value))), 0, 239)
    path = str(tmp_path / f"a.{kind[-3:]}")
    deep = np.repeat(deep[..., None], 3, -1) if "colour" in kind else deep
    if kind.endswith("tif"):
        light = "rgb" if "colour" in kind else "minisblack"
        tifffile.imwrite(path, deep, photometric=light, extratags=[(274, 3, 1, value, True)])
    else:
        cv2.imwrite(path, deep)
        with open(path, "rb") as file:
            data = file.read()
        exif = tagged(Image.new("L", (1, 1)), value).getexif().tobytes()[6:]
        chunk = b"eXIf" + exif
        chunk = len(exif).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        with open(path, "wb") as file:
            file.write(data[:33] + chunk + data[33:])  # after the header
    assert np.array_equal(read_image(path, rgb=False)[..., 0], wanted)


def tagged(picture: Image.Image, orientation: int) -> Image.Image:
    picture.getexif()[0x0112] = orientation
    return picture


# --- depth


def scaled(samples: np.ndarray, low: int, high: int) -> np.ndarray:
    return np.floor((samples.astype(np.float64) - low) * 255 / (high - low) + 0.5).astype(np.uint8)


def deep_film(low: int, high: int) -> np.ndarray:
    """uint16 (4, 24, 32) that goes from low in the first frame to high in the last one."""
    film = np.linspace(low, high, 4 * 24 * 32).round().astype(np.uint16).reshape(4, 24, 32)
    assert film.min() == low and film.max() == high
    return film


KINDS = ["png", "tif", "zlib.tif", "miniswhite.tif", "pgm", "ffv1"]
KINDS += ["colour.png", "colour.tif", "colour.ppm", "colour.jp2"]
RANGES = [(0, 4095), (0, 16383), (29_555, 30_326), (100, 900), (0, 65_535)]


@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_one_scale_for_all_frames_of_a_video(tmp_path, kind, low, high, capsys):
    """12 and 14 bits in use, or a camera's narrow range: the differences stay, within and between frames."""
    film = deep_film(low, high)
    path = write_deep(tmp_path, film, kind)
    wanted = scaled(film, low, high)
    assert np.array_equal(read(path, rgb=False)[..., 0], wanted)
    assert capsys.readouterr().err.count(f"{path}: samples {low} to {high} of ") == 1
    assert np.array_equal(read(path), np.repeat(wanted[..., None], 3, -1))
    assert len(np.unique(wanted)) >= 250


def write_deep(folder, film: np.ndarray, kind: str):
    """The film as a folder of pictures or a file."""
    if kind == "ffv1":
        return write_video(folder / "01.mkv", film, "ffv1", "gray16le", source="gray16le")
    path = folder / "01"
    path.mkdir()
    for i, frame in enumerate(film):
        frame = np.repeat(frame[..., None], 3, -1) if "colour" in kind else frame
        name = path / f"{i}.{kind.rpartition('.')[2]}"
        if kind in ("pgm", "colour.ppm"):
            name.write_bytes(b"P%d 32 24 65535\n" % (5 if kind == "pgm" else 6) + frame.astype(">u2").tobytes())
        elif kind == "colour.jp2":
            encoder = av.CodecContext.create("jpeg2000", "w")
            encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 32, 24, "rgb48le", Fraction(1, 25)
            encoder.options = {"pred": "dwt53"}  # without loss
            name.write_bytes(bytes(encoder.encode(av.VideoFrame.from_ndarray(frame, format="rgb48le"))[0]))
        elif kind == "miniswhite.tif":
            tifffile.imwrite(name, 65_535 - frame, photometric="miniswhite")
        elif kind.endswith("tif"):
            light = "rgb" if "colour" in kind else "minisblack"
            tifffile.imwrite(name, frame, photometric=light, compression="zlib" if "zlib" in kind else None)
        else:
            cv2.imwrite(str(name), frame)
    return path


def test_the_thermal_picture_of_the_field():
    """A thermal camera's 14 bits, of which the scene uses 892 values: their order and their differences stay."""
    stored = np.asarray(Image.open(DATA / "thermal_16bit.png")).astype(int)
    frame = read_image(str(DATA / "thermal_16bit.png"), rgb=False)[..., 0]
    assert np.array_equal(frame, scaled(stored, stored.min(), stored.max()))
    step = -(-(stored.max() - stored.min()) // 255)
    values = np.unique(stored)
    level = {int(value): int(frame[stored == value][0]) for value in values}
    assert all(level[int(a)] < level[int(b)] for a in values for b in values if b - a >= step) and step == 4


@pytest.mark.parametrize("bits", [10, 12])
def test_formats_that_say_their_depth_keep_their_scale(tmp_path, bits):
    """12 bits in a 12-bit format need no guess: a dark video stays dark."""
    film = np.full((3, 32, 32), 2 ** (bits - 2), np.uint16)
    path = write_video(tmp_path / "a.mkv", film, "ffv1", f"gray{bits}le", source=f"gray{bits}le")
    assert (np.abs(read(path, rgb=False).astype(int) - 64) <= 1).all()


def test_eight_and_sixteen_bits_in_one_folder_are_refused(tmp_path):
    folder = write_frames(tmp_path / "01", pictures(2, 24, 32), ["0.png", "2.png"])
    cv2.imwrite(str(folder / "1.png"), deep_film(0, 4095)[0])
    with pytest.raises(InputError, match="frame 1 has 16 bits per sample, the first one 8"):
        read(folder)


def test_black_and_white_of_tiff(tmp_path):
    """MinIsWhite with 1, 8 and 16 bits, plain and compressed."""
    grey = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)
    for samples in (grey > 300, (grey // 4).astype(np.uint8), grey * 80):
        for compression in (None, "zlib"):
            path = str(tmp_path / f"{samples.dtype}{compression}.tif")
            tifffile.imwrite(path, samples, photometric="miniswhite", compression=compression)
            frame = read_image(path, rgb=False)[..., 0].astype(int)
            values = samples.astype(int)
            order = np.unique(values)
            means = np.array([frame[values == value].mean() for value in order])
            assert means[0] == 255 and (np.diff(means) <= 0).all() and means[-1] <= 255 - 191


def test_alpha_of_vp9_is_not_promised_and_said(tmp_path, capsys):
    """Its decoder passes over the second stream that holds it, as ffmpeg does: colours stay as they are."""
    rgba = np.full((3, 32, 48, 4), 200, np.uint8)
    rgba[..., 3] = 51
    path = tmp_path / "a.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuva420p"
        stream.metadata["alpha_mode"] = "1"
        for frame in rgba:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgba")))
        container.mux(stream.encode())
    assert np.abs(read(path).astype(int) - 200).max() <= 3
    assert f"{path}: its transparency is not read" in capsys.readouterr().err


def test_sixteen_bits_with_alpha(tmp_path):
    samples = np.full((3, 3, 4), 4000, np.uint16)
    samples[..., 3] = [[65_535], [32_768], [0]]
    cv2.imwrite(str(tmp_path / "a.png"), samples)
    assert read_image(str(tmp_path / "a.png"))[..., 0].tolist() == [[255] * 3, [128] * 3, [0] * 3]


# --- masks


@pytest.mark.parametrize("value", range(1, 9))
def test_masks_are_turned_as_the_frames_are(tmp_path, value):
    mask = np.zeros((12, 20), np.uint8)
    mask[2:5, 3:11] = 255
    picture = tagged(Image.fromarray(mask), value)
    wanted = np.asarray(ImageOps.exif_transpose(picture)) > 127
    for ending in ("png", "tif", "jpg"):
        path = tmp_path / f"a.{ending}"
        picture.save(path, exif=picture.getexif(), **({"quality": 100} if ending == "jpg" else {}))
        assert np.array_equal(annotations.read_picture(path) > 127, wanted)
        assert np.array_equal(read_image(str(path), rgb=False)[..., 0] > 127, wanted)


def test_small_numbers_in_a_deep_mask_are_objects(tmp_path):
    """Object 7 of 16 bits is no background; and half a mask is no mask."""
    mask = np.zeros((12, 20), np.uint16)
    mask[2:5, 3:11] = 7
    path = tmp_path / "0.png"
    cv2.imwrite(str(path), mask)
    assert np.array_equal(annotations.read_picture(path), mask)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"0\.png: cannot be read"):
        annotations.read_picture(path)
