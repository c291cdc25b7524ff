"""What a folder of videos holds: everything that can be read is found, and what is passed over is said."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from clips import LENGTH, pictures, write_video
from PIL import Image

from ramvid_vad.errors import InputError
from ramvid_vad.video.finding import evenly_spread, find_videos, only_these
from ramvid_vad.video.names import video_name
from ramvid_vad.video.reader import read_frames

ROOT = Path(__file__).resolve().parents[2]


def make(top: Path, *names: str) -> Path:
    """Files of one byte; names that end in / are folders."""
    for name in names:
        path = os.path.join(os.fsencode(top), os.fsencode(name))
        os.makedirs(path if name.endswith("/") else os.path.dirname(path), exist_ok=True)
        if not name.endswith("/"):
            with open(path, "wb") as file:
                file.write(b"x")
    return top


def numbered(folder: str, number: int = 12, pattern: str = "{:03d}.jpg") -> list[str]:
    return [f"{folder}/" + pattern.format(i) for i in range(number)]


def found(top: Path, only: str = "") -> tuple[list[str], list[str]]:
    lines: list[str] = []
    names = [video_name(path, str(top)) for path in find_videos(str(top), only, lines.append)]
    return names, [line.replace(str(top), "TOP") for line in lines]


def test_thumbnails_below_frames_do_not_replace_them(golden, tmp_path):
    with tarfile.open(golden / "field" / "nested_thumbs.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    names, lines = found(tmp_path / "thumbs")
    assert names == ["01"] and lines == ["TOP: 1 videos; passed over: folders of pictures beside frames (01/thumbs)"]
    files = sorted((tmp_path / "thumbs" / "01").glob("*.jpg"))
    expected = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    assert np.array_equal(np.stack(list(read_frames(str(tmp_path / "thumbs" / "01")))), expected)


@pytest.mark.parametrize(
    ("present", "names", "said"),
    [
        ([*numbered("01"), *numbered("01/masks")], ["01"], "pictures beside frames (01/masks)"),
        ([*numbered("01"), *numbered("01/backup", 40)], ["01"], "pictures beside frames (01/backup)"),
        ([*numbered("01"), *numbered("01/lowres/x")], ["01"], "below frames (01/lowres/x)"),
        ([*numbered("01"), *numbered("01/@eaDir/000.jpg")], ["01"], "hidden or system folders and files (01/@eaDir"),
        ([*numbered("01"), *numbered("01/.trash")], ["01"], "hidden or system folders and files (01/.trash)"),
        ([*numbered("T001"), *numbered("T001_gt"), *numbered("T2")], ["T001", "T2"], "beside frames (T001_gt)"),
        ([*numbered("frames/01"), *numbered("masks/01")], ["frames/01"], "beside frames (masks/01)"),
        ([*numbered("masks/01")], ["masks/01"], ""),
        ([*numbered("01"), "02/", "03/a/"], ["01"], "empty folders (02, 03/a)"),
        (["cover.png", *numbered("01"), *numbered("02")], ["01", "02"], "1 pictures beside or above videos (.)"),
        (["a.mp4", "a.jpg", "b.mp4", "b-thumb.jpg"], ["a", "b"], "2 pictures beside or above videos (.)"),
        (["01.mp4", *numbered(".", 30, "01_{}.jpg")], ["01"], "30 pictures beside or above videos (.)"),
        (["1.mp4", "2.heic", "3", "4.mp4.part"], ["1"], "neither video nor picture (1 .heic, 1 3, without ending, 1"),
        (["1.mp4", "._1.mp4", ".DS_Store", "Thumbs.db", "desktop.ini"], ["1"], ""),
        ([f"{i}.TS" for i in (1, 2, 10)] + ["B.mp4", "a.mp4"], ["1", "2", "10", "a", "B"], ""),
    ],
)
def test_what_is_taken_and_what_is_said(tmp_path, present, names, said):
    assert found(make(tmp_path, *present))[0] == names
    lines = found(tmp_path)[1]
    assert (said in lines[0] and len(lines) == 1) if said else not lines


@pytest.mark.parametrize(
    ("present", "message"),
    [
        ([*numbered("01"), "01/preview.mp4"], "holds 12 pictures and also preview.mp4"),
        ([*numbered("01"), "01/clip/p.mp4"], "holds 12 pictures and also .*clip/p.mp4"),
        ([*numbered("01"), *numbered("01/x", 40)], "holds 12 pictures and also a folder of 40 below"),
        (["e\u0301.mp4", "\u00e9.avi"], "have the same name"),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path, present, message):
    with pytest.raises(InputError, match=message):
        find_videos(str(make(tmp_path, *present)))


def test_a_link_to_a_folder_is_a_video_of_its_own_whichever_comes_first(tmp_path):
    make(tmp_path, *numbered("b"))
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "round").symlink_to(tmp_path)
    assert found(tmp_path)[0] == ["a", "b"]


def test_some_videos_on_purpose(tmp_path):
    make(tmp_path, *[f"{i}.mp4" for i in range(12)], "a,b.mp4")
    assert found(tmp_path, "1*, 3")[0] == ["1", "3", "10", "11"]
    (tmp_path / "list.csv").write_text("\ufeffa,b\n7\n", encoding="utf-8")
    assert found(tmp_path, str(tmp_path / "list.csv"))[0] == ["7", "a,b"]
    with pytest.raises(InputError, match=r"--only 12: no such video in .* which has 0, 1, 2, 3, 4, \.\.\."):
        find_videos(str(tmp_path), "1,12")
    assert found(tmp_path / "7.mp4", "7")[0] == ["7"]
    with pytest.raises(InputError, match=r"--only 8: no such video in --data_dir .*7\.mp4, which has 7"):
        find_videos(str(tmp_path / "7.mp4"), "8")


def test_some_of_nothing_is_nothing():
    assert ["".join(evenly_spread(items, 3)) for items in ("", "ab", "abcde")] == ["", "ab", "ace"]


def test_names_that_no_terminal_can_show_become_text(tmp_path):
    undecodable = os.fsdecode(b"caf\xe9.mp4")
    make(tmp_path, undecodable, "a\nb.mp4", "\u202egpj.mp4", "x" * 250 + ".ts", os.fsdecode(b"\xff" * 200) + ".mp4")
    names = found(tmp_path)[0]
    assert {"caf%E9", "a%0Ab", "%E2%80%AEgpj", "x" * 250} < set(names)
    for name in names:
        assert name.isprintable() and len(f"{name}.npz".encode()) < 255
    with pytest.raises(InputError) as error:
        list(read_frames(str(tmp_path / "a\nb.mp4")))
    assert "a\\nb.mp4" in str(error.value) and str(error.value).isprintable()


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("rtsp://admin:secret@10.0.0.1/live", "camera or live stream; record it"),
        ("/dev/video0", "ffmpeg -f v4l2"),
        ("0", "camera or live stream"),
        ("https://example.org/a.mp4", "download it"),
        ("s3://bucket/videos", "s3:// is not read"),
        ("file:///data/videos", "give the path alone, /data/videos"),
    ],
)
def test_addresses_that_are_no_folder_get_advice(tmp_path, monkeypatch, address, advice):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        find_videos(address)
    assert advice in str(error.value) and "secret" not in str(error.value)


X264, FAST = {"qp": "20"}, {"b": "4000000"}


@pytest.mark.parametrize(
    ("name", "muxer", "codec", "options"),
    [
        ("a.ts", "mpegts", "libx264", X264),
        ("a.M2TS", "mpegts", "mpeg2video", FAST),
        ("a.wmv", "asf", "wmv2", FAST),
        ("a.asf", "asf", "msmpeg4", FAST),
        ("a.flv", "flv", "libx264", X264),
        ("a.3gp", "3gp", "libx264", X264),
        ("a.ogv", "ogg", "libvpx", {}),
        ("a.vob", "vob", "mpeg2video", FAST),
        ("a.divx", "avi", "mpeg4", FAST),
        ("a.mxf", "mxf", "mpeg2video", FAST),
        ("a.ivf", "ivf", "libvpx", {}),
        ("a.y4m", "yuv4mpegpipe", "wrapped_avframe", {}),
        ("a.h264", "h264", "libx264", X264),
        ("a.mjpeg", "mjpeg", "mjpeg", {}),
    ],
)
def test_all_endings_are_found_and_read(tmp_path, name, muxer, codec, options):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    write_video(tmp_path / name, pictures(), codec, pix_fmt, codec_options=options, muxer=muxer)
    (path,) = find_videos(str(tmp_path))
    frames = np.stack(list(read_frames(path)))
    assert len(frames) == LENGTH and np.abs(frames.astype(int) - pictures()).mean() < 12


def dahua(packets: list[bytes]) -> bytes:
    """H.264 access units as a recorder's .dav: DHAV, type, number, length, date, time, extension (codec 2), dhav."""
    parts = []
    for number, packet in enumerate(packets):
        extension = b"\x80\x00" + bytes([48 // 8, 64 // 8]) + b"\x81\x00\x02\x19"  # size in eights, codec and rate
        length = 24 + len(extension) + len(packet) + 8
        head = b"DHAV" + bytes([0xFC if number else 0xFD, 0, 0, 0]) + number.to_bytes(4, "little")
        head += length.to_bytes(4, "little") + (0x64210000).to_bytes(4, "little")
        head += (40 * number).to_bytes(2, "little") + bytes([len(extension)])
        head += bytes([sum(head) & 255])
        parts.append(head + extension + packet + b"dhav" + length.to_bytes(4, "little"))
    return b"".join(parts)


def test_recordings_of_dahua_are_read(tmp_path):
    import av

    write_video(tmp_path / "raw.h264", pictures(), "libx264", "yuv420p", codec_options=X264 | {"bf": "0"}, muxer="h264")
    expected = np.stack(list(read_frames(str(tmp_path / "raw.h264"))))
    with av.open(str(tmp_path / "raw.h264")) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "camera.dav").write_bytes(dahua(packets))
    (path,) = find_videos(str(tmp_path / "a"))
    assert np.array_equal(np.stack(list(read_frames(path))), expected)


def test_pictures_of_several_kinds_are_one_video(tmp_path):
    frames = pictures(8)
    endings = ["png", "webp", "bmp", "tif", "ppm", "jp2", "dib", "PNG"]
    for i, (frame, ending) in enumerate(zip(frames, endings, strict=True)):
        lossless = {"webp": {"lossless": True}, "jp2": {"irreversible": False}}.get(ending, {})
        Image.fromarray(frame).save(tmp_path / f"{i:03d}.{ending}", **lossless)
    assert np.array_equal(np.stack(list(read_frames(str(tmp_path)))), frames)


def test_the_commands_say_what_they_pass_over(tmp_path):
    """A process of its own: the line is on stderr, and it stands there once."""
    make(tmp_path, *numbered("01"), "notes.txt")
    code = f"from ramvid_vad.video.finding import find_videos as f; f({str(tmp_path)!r}); f({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=100)
    said = f"note: {tmp_path}: 1 videos; passed over: 1 files that are neither video nor picture (1 .txt)\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, "", said)


def test_a_list_of_names_in_utf_16_is_read_and_one_in_latin_1_refused(tmp_path):
    """PowerShell's ``>`` writes the first, an old editor the second."""
    path = tmp_path / "only.txt"
    path.write_text("cam\u00fc\r\n02\r\n", encoding="utf-16")
    assert only_these(str(path), ["01", "02", "cam\u00fc"], "there") == ["02", "cam\u00fc"]
    path.write_text("cam\u00fc\n", encoding="latin-1")
    with pytest.raises(InputError, match=f"--only {path}: is not text in UTF-8"):
        only_these(str(path), ["cam\u00fc"], "there")
