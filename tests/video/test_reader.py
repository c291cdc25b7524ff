"""Whole videos of every kind: found, named, counted by decoding, upright, in the right colours."""

import os
from itertools import islice
from pathlib import Path

import av
import blobfile
import cv2
import numpy as np
import pytest
from clips import LENGTH, WHOLE, pictures, write_frames, write_tail, write_video, write_whole
from PIL import Image

from ramvid_vad.errors import InputError
from ramvid_vad.video import files
from ramvid_vad.video.reader import Clip, find_videos, read_frames, read_image, read_numbers, video_name


def read(path, rgb=True) -> np.ndarray:
    return np.stack(list(read_frames(str(path), rgb)))


@pytest.mark.parametrize("name", WHOLE)
def test_every_frame_of_every_kind(tmp_path, name):
    frames = read(write_whole(tmp_path, name))
    expected = pictures()
    assert frames.shape == expected.shape and frames.dtype == np.uint8
    error = np.abs(frames.astype(int) - expected).mean()
    assert error < {"gif": 20, "avi": 8, "mpg": 8}.get(name.lower()[-3:], 5)
    if "ffv1" in name:
        assert error == 0
    # the level rises with the frame number: no frame is repeated, lost or out of order
    assert (np.diff(frames[..., 2].mean((1, 2))) > 0.5).all()


def test_a_header_without_a_frame_count(tmp_path):
    path = write_whole(tmp_path, "live.mkv")
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 0
    assert len(read(path)) == LENGTH


def test_one_frame(tmp_path):
    assert read(write_whole(tmp_path, "h264.mp4", length=1)).shape == (1, 48, 64, 3)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.avi"])
def test_variable_frame_rate_counts_decoded_frames(tmp_path, name):
    times = [i + 7 * (i > 10) + 30 * (i > 20) for i in range(LENGTH)]
    assert len(read(write_video(tmp_path / name, pictures(), "libx264", "yuv420p", times=times))) == LENGTH


def test_edit_list_is_obeyed_and_is_no_damage(tmp_path):
    """A clip trimmed without re-encoding: the samples before the cut are in the file, and players do not show them."""
    path = write_video(
        tmp_path / "cut.mp4",
        pictures(),
        "libx264",
        "yuv420p",
        {"avoid_negative_ts": "disabled"},
        {"g": "8"},
        times=list(range(-11, LENGTH - 11)),
    )
    capture, shown = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        shown += 1
    assert shown == LENGTH - 11
    assert len(read(path)) == shown


def test_a_cut_before_an_open_group_is_no_damage(tmp_path):
    """The pictures between the cut and its key frame lean on what was cut away; no player shows them."""
    options = {"x265-params": "log-level=none:keyint=10:min-keyint=10:open-gop=1:bframes=3:b-adapt=0"}
    whole = write_video(tmp_path / "whole.mkv", pictures(), "libx265", "yuv420p", codec_options=options)
    with av.open(str(whole)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    key = [packet.is_keyframe for packet in packets].index(True, 1)
    leading = sum(packet.pts < packets[key].pts for packet in packets[key:])
    assert leading > 0
    assert len(read(write_tail(whole, tmp_path / "a.mkv", key))) == LENGTH - key - leading


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_flag(tmp_path, degrees):
    path = write_video(tmp_path / "a.mp4", pictures(3), "libx264", "yuv444p", rotation=degrees)
    _, oracle = cv2.VideoCapture(str(path)).read()
    frames = read(path)
    assert frames.shape[1:] == oracle.shape
    assert np.abs(frames[0].astype(int) - oracle[..., ::-1]).mean() < 3
    assert frames[0].shape == ((64, 48, 3) if degrees % 180 else (48, 64, 3))
    assert frames.flags.c_contiguous


def test_grey(tmp_path):
    grey = pictures()[..., 1]
    path = write_video(tmp_path / "a.mkv", grey, "ffv1", "gray", source="gray")
    assert np.array_equal(read(path, rgb=False), grey[..., None])
    assert np.array_equal(read(path), np.repeat(grey[..., None], 3, -1))


def test_luma_of_colour(tmp_path):
    path = write_video(tmp_path / "a.mkv", pictures(3), "ffv1", "bgr0")
    luma = pictures(3) @ [0.299, 0.587, 0.114]
    frames = read(path, rgb=False)
    assert frames.shape == (3, 48, 64, 1)
    assert np.abs(frames[..., 0] - luma).max() < 3


@pytest.mark.parametrize("rgb", [True, False])
def test_alpha_is_blended_onto_black(tmp_path, rgb):
    rgba = np.full((3, 16, 24, 4), 200, np.uint8)
    rgba[..., 3] = [[[255]], [[51]], [[0]]]
    path = write_video(tmp_path / "a.mkv", rgba, "ffv1", "bgra", source="rgba")
    assert read(path, rgb)[:, 5, 5].tolist() == [
        [200] * (3 if rgb else 1),
        [40] * (3 if rgb else 1),
        [0] * (3 if rgb else 1),
    ]


def test_ten_bits(tmp_path):
    levels = np.full((4, 32, 32, 3), 0, np.uint8) + np.array([16, 80, 160, 240], np.uint8).reshape(4, 1, 1, 1)
    path = write_video(tmp_path / "a.mkv", levels, "ffv1", "yuv420p10le")
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p10le"
    assert np.abs(read(path).astype(int) - levels).max() <= 2


def test_odd_sizes(tmp_path):
    odd = pictures(5, 33, 47)
    assert np.array_equal(read(write_video(tmp_path / "a.avi", odd)), odd)
    assert read(write_video(tmp_path / "a.mp4", odd, "libx264", "yuv444p")).shape == odd.shape


@pytest.mark.parametrize("name", ["camera:1.mp4", "50%d %.mp4", "Straße 7.mp4", "-i.mp4"])
def test_awkward_names(tmp_path, name, monkeypatch):
    write_whole(tmp_path, "h264.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(read(name)) == LENGTH


def test_files_are_closed_when_reading_stops_early(tmp_path):
    path = write_whole(tmp_path, "h264.mp4")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        next(read_frames(str(path)))
    assert len(os.listdir("/proc/self/fd")) == before


def test_real_videos_have_their_published_lengths(shared):
    data = shared / "data"

    def lengths(*below: str) -> dict[str, int]:
        paths = find_videos(str(data.joinpath(*below)))
        return {Path(path).stem: sum(1 for _ in read_frames(path, rgb=False)) for path in paths}

    assert lengths("avenue_part", "testing") == {"08": 36, "17": 426, "18": 294, "19": 248, "20": 273, "21": 76}
    assert lengths("avenue_part", "training") == {"10": 1223, "11": 781, "12": 145, "16": 244}
    assert sum(lengths("ped2", "training").values()) == 2550
    testing = lengths("ped2", "testing")
    assert testing == {name: len(np.load(data / "ped2" / "labels" / f"{name}.npy")) for name in testing}
    assert len(testing) == 12 and sum(testing.values()) == 2010


def test_real_video_and_its_frame_folder_agree(shared):
    (folder,) = find_videos(str(shared / "data" / "ped2_frames" / "training"))
    frames = read(folder)
    assert frames.shape == (60, 240, 360, 3)
    video = np.stack(list(islice(read_frames(str(shared / "data" / "ped2" / "training" / "01.mp4")), 60)))
    assert np.abs(frames.astype(int) - video).mean() < 1.5  # encoded at about 49 dB


# --- folders of frames


@pytest.mark.parametrize("extension", ["png", "bmp", "tif", "TIFF", "JPG"])
def test_frame_folder_in_natural_order(tmp_path, extension):
    frames = pictures(12)
    folder = write_frames(tmp_path / "01", frames, [f"frame{i}.{extension}" for i in range(12)])
    (folder / "notes.txt").write_text("not a frame")
    (folder / ".frame3.png").write_bytes(b"left by a file manager")
    error = np.abs(read(folder).astype(int) - frames).max()
    assert error == 0 if extension != "JPG" else error < 40
    assert (np.diff(read(folder)[..., 2].mean((1, 2))) > 0.5).all()


def test_frames_of_different_sizes_are_refused(tmp_path):
    folder = write_frames(tmp_path / "01", pictures(3), ["0.png", "1.png", "2.png"])
    Image.new("RGB", (65, 48)).save(folder / "1.png")
    with pytest.raises(InputError, match=r"01: frame 1 \(1\.png\) is 65x48, the first one 64x48"):
        read(folder)


@pytest.mark.parametrize("kind", ["h264.mp4", "folder", "deep"])
def test_a_part_is_the_same_part_of_the_whole(tmp_path, kind):
    if kind == "folder":
        path = str(write_frames(tmp_path / "01", pictures(), [f"{i}.png" for i in range(LENGTH)]))
    elif kind == "deep":
        path = str(tmp_path / "01")
        os.mkdir(path)
        for i in range(LENGTH):
            cv2.imwrite(f"{path}/{i}.png", np.full((8, 8), 100 + 10 * i, np.uint16))
    else:
        path = str(write_whole(tmp_path, kind))
    whole, grey = read(path), read(path, rgb=False)
    assert list(Clip(path, LENGTH).frames()) == []
    assert list(read_numbers(path)) == list(range(LENGTH))
    for clip in Clip(path, 3, 9), Clip(path, 5), Clip(path, 0, 4):
        np.testing.assert_array_equal([*clip.frames()], whole[clip.first : clip.end])
        np.testing.assert_array_equal([*clip.frames(rgb=False)], grey[clip.first : clip.end])
        both = list(clip.colour_and_grey())
        assert len(both) == len(whole[clip.first : clip.end])
        np.testing.assert_array_equal([colour for colour, _ in both], whole[clip.first : clip.end])
        np.testing.assert_array_equal([luma for _, luma in both], grey[clip.first : clip.end])
        assert [number in clip for number in range(LENGTH)] == [
            number in range(LENGTH)[clip.first : clip.end] for number in range(LENGTH)
        ]


def test_one_frame_twice_is_refused(tmp_path):
    folder = write_frames(tmp_path / "01", pictures(3), ["0.png", "1.png", "1.bmp"])
    with pytest.raises(InputError, match=r"1\.\w+ and 1\.\w+ are both the same frame"):
        read(folder)


def test_picture_modes(tmp_path):
    path = str(tmp_path / "a.png")
    Image.fromarray(np.array([[0, 257, 64_000, 65_535]], np.uint16)).save(path)
    assert read_image(path)[0].tolist() == [[0] * 3, [1] * 3, [249] * 3, [255] * 3]
    Image.fromarray(np.array([[[200, 100, 0, 51]]], np.uint8)).save(path)
    assert read_image(path).tolist() == [[[40, 20, 0]]]
    Image.fromarray(np.array([[True, False]])).save(path)
    assert read_image(path, rgb=False).tolist() == [[[255], [0]]]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(path)
    assert read_image(path).tolist() == [[[10, 20, 30], [40, 50, 60]]]


def test_exif_orientation(tmp_path):
    picture = Image.fromarray(pictures(1)[0])
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    picture.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(str(tmp_path / "a.png")), np.rot90(pictures(1)[0], -1))


@pytest.mark.parametrize("damage", ["cut jpg", "cut png", "text", "empty", "float", "two pages", "huge"])
def test_damaged_pictures(tmp_path, damage):
    folder = write_frames(tmp_path / "01", pictures(2), ["0.png", "1.png"])
    bad = folder / "1.png"
    if damage == "cut jpg":
        bad.unlink()
        bad = folder / "1.jpg"
        Image.fromarray(pictures(2)[1]).save(bad)
    if damage.startswith("cut"):
        bad.write_bytes(bad.read_bytes()[: bad.stat().st_size * 2 // 3])
    elif damage == "text":
        bad.write_text("no picture")
    elif damage == "empty":
        bad.write_bytes(b"")
    elif damage == "huge":
        data = bytearray(bad.read_bytes())
        data[16:24] = (10**6).to_bytes(4, "big") * 2
        bad.write_bytes(data)
    else:
        bad.unlink()
        bad = folder / "1.tif"
        if damage == "float":
            Image.fromarray(np.zeros((48, 64), np.float32)).save(bad)
        else:
            Image.new("L", (64, 48)).save(bad, save_all=True, append_images=[Image.new("L", (64, 48))])
    with pytest.raises(InputError) as error:
        read(folder)
    assert str(bad) in str(error.value) and "\n" not in str(error.value)


# --- finding and naming


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def names(folder) -> list[str]:
    return [video_name(path, str(folder)) for path in find_videos(str(folder))]


def test_find_videos(tmp_path):
    for name in ["b/02.AVI", "b/01.mkv", "a.Mp4", "scene.1/x.y.webm", ".hidden/c.mp4", "._a.mp4", "notes.txt"]:
        touch(tmp_path / name)
    touch(tmp_path / "frames" / "7" / "000.JPG")
    touch(tmp_path / "b" / "poster.png")  # beside videos: no folder of frames
    touch(tmp_path / "album" / "deep" / "1.mpeg")
    for overview in ("contact sheet.png", "frames/overview.png", "album/cover.png"):
        touch(tmp_path / overview)
    assert names(tmp_path) == ["a", "album/deep/1", "b/01", "b/02", "frames/7", "scene.1/x.y"]
    assert find_videos(str(tmp_path))[0] == str(tmp_path / "a.Mp4")
    assert names(str(tmp_path) + "/") == names(tmp_path)


def test_find_videos_from_below_the_current_folder(tmp_path, monkeypatch):
    touch(tmp_path / "data" / "x" / "1.gif")
    monkeypatch.chdir(tmp_path)
    assert find_videos("data") == ["data/x/1.gif"]
    monkeypatch.chdir(tmp_path / "data")
    assert names(".") == ["x/1"]


def test_a_folder_of_frames_or_a_file_is_one_video(tmp_path):
    touch(tmp_path / "Test001" / "000.tif")
    assert names(tmp_path / "Test001") == ["Test001"]
    video = touch(tmp_path / "01.mov")
    assert find_videos(str(video)) == [str(video)]
    assert video_name(str(video), str(video)) == "01"


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path / "elsewhere" / "01.mp4")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "data")
    assert names(tmp_path / "data") == ["link/01"]


@pytest.mark.parametrize(
    ("present", "message"),
    [
        (None, "does not exist"),
        ([], "holds nothing"),
        (["readme.txt", "sub/labels.npy"], "holds 2 files, none of them a video"),
        (["01.mp4", "01.avi"], r"01\.avi and .*01\.mp4 have the same name '01'"),
        (["01.mp4", "01/000.png"], r"01 and .*01\.mp4 have the same name '01'"),
    ],
)
def test_unusable_data_directories(tmp_path, present, message):
    folder = tmp_path / "data"
    if present is not None:
        folder.mkdir()
        for name in present:
            touch(folder / name)
    with pytest.raises(InputError, match=message) as error:
        find_videos(str(folder))
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_no_video_is_no_data_directory(tmp_path):
    with pytest.raises(InputError, match=r"labels\.npy: not a video"):
        find_videos(str(touch(tmp_path / "labels.npy")))


# --- remote stores


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """gs://bucket/ served by blobfile itself from a local folder."""
    folder = tmp_path / "bucket"
    folder.mkdir()

    def translated(function):
        def call(address, *rest):
            assert address.startswith("gs://bucket/")
            return function(address.replace("gs://bucket/", f"{folder}/"), *rest)

        return call

    for name in ["isdir", "listdir", "stat", "BlobFile", "read_bytes"]:
        monkeypatch.setattr(blobfile, name, translated(getattr(blobfile, name)))
    real_walk = translated(blobfile.walk)

    def walk(top):
        for root, below, names in real_walk(top):
            yield root.replace(f"{folder}", "gs://bucket") + "/", below, names

    monkeypatch.setattr(blobfile, "walk", walk)
    return folder


def test_remote_videos(bucket, tmp_path):
    write_frames(bucket / "data" / "frames" / "01", pictures(11), [f"{i}.png" for i in range(11)])
    write_video(bucket / "data" / "02.mkv", pictures())
    found = find_videos("gs://bucket/data")
    assert found == ["gs://bucket/data/02.mkv", "gs://bucket/data/frames/01"]
    assert [video_name(path, "gs://bucket/data/") for path in found] == ["02", "frames/01"]
    assert np.array_equal(read(found[0]), pictures())
    assert np.array_equal(read(found[1]), pictures(11))
    video, frame = bucket / "data" / "02.mkv", bucket / "data" / "frames" / "01" / "3.png"
    before = [files.fingerprint(path) for path in found]
    for path in (video, frame):
        os.utime(path, (1, 1))
    later = [files.fingerprint(path) for path in found]
    write_video(video, pictures(5))
    write_frames(frame.parent, pictures(1, 9, 9), [frame.name])
    for path in (video, frame):
        os.utime(path, (1, 1))
    smaller = [files.fingerprint(path) for path in found]
    for a, b, c in zip(before, later, smaller, strict=True):
        assert a != b and b != c


def test_fetching_gives_signs_of_life(bucket):
    (bucket / "a.mkv").write_bytes(bytes(3 << 20))  # no video, which is noticed when it is there
    ticks = []
    with pytest.raises(InputError, match=r"gs://bucket/a\.mkv: cannot be opened"):
        next(read_frames("gs://bucket/a.mkv", tick=lambda: ticks.append(1)))
    assert len(ticks) == 3


def test_remote_failures_name_the_address(bucket):
    (bucket / "data").mkdir()
    with pytest.raises(InputError, match="holds nothing"):
        find_videos("gs://bucket/data")
    with pytest.raises(InputError, match="gs://bucket/none"):
        find_videos("gs://bucket/none")
    with pytest.raises(InputError, match=r"gs://bucket/data/none\.mp4: cannot be reached"):
        read("gs://bucket/data/none.mp4")


def test_reading_leaves_no_threads_behind(tmp_path):
    """FFmpeg would start some for the conversion of each picture, which end when Python happens to collect it."""
    path = str(tmp_path / "a.mp4")
    write_video(Path(path), np.zeros((40, 32, 48, 3), np.uint8), "mpeg4", "yuv420p")
    before = len(os.listdir("/proc/self/task"))
    for _ in read_frames(path):
        assert len(os.listdir("/proc/self/task")) <= before
