"""Healthy parts of videos: cut without decoding, as recorders and editors write them, or joined end to end."""

import hashlib
from pathlib import Path

import av
import numpy as np
import pytest
from clips import X264, pictures, write_tail, write_video

from ramvid_vad.errors import InputError
from ramvid_vad.video.decoding import videos as decoding
from ramvid_vad.video.decoding.frame_rate import about_how_many, frame_rate
from ramvid_vad.video.reader import read_frames

DATA = Path(__file__).resolve().parent.parent / "data" / "field_inputs"
OPEN = {  # codec: options that give groups of ten pictures, open where the codec has such, with leading pictures
    "libx264": {"g": "10", "bf": "3", "x264-params": "open-gop=1:b-adapt=0:scenecut=0:ref=4:qp=20:repeat-headers=1"},
    "libx265": {"x265-params": "log-level=none:keyint=10:min-keyint=10:open-gop=1:bframes=3:b-adapt=0:scenecut=0"},
    "mpeg2video": {"g": "10", "bf": "2", "b": "4000000"},
    "mpeg1video": {"g": "10", "bf": "2", "b": "4000000"},
    "mpeg4": {"g": "10", "bf": "2", "b": "4000000"},
    "libvpx-vp9": {"g": "10", "deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
    "libsvtav1": {"g": "10", "preset": "12", "svtav1-params": "lookahead=0"},
}
CONTAINERS = ("mp4", "mov", "mkv", "ts", "avi", "mpg")
# What FFmpeg's muxers do not write so that its demuxers can read it.
IMPOSSIBLE = {
    *(("libx264", kind) for kind in ("avi", "mpg")),
    *(("libx265", kind) for kind in ("avi", "mpg")),
    *(("libvpx-vp9", kind) for kind in ("mov", "ts", "mpg")),
    *(("libsvtav1", kind) for kind in ("mov", "ts", "mpg")),
    *(("mpeg4", kind) for kind in ("ts", "mpg")),  # the headers stay in the mkv that is cut
    *(("mpeg1video", kind) for kind in ("mp4", "mov")),  # one picture more is lost, in FFmpeg itself
}
# Of each picture as it is stored: ffmpeg -noautorotate -i FILE -fps_mode passthrough -f framemd5 -
FFMPEG = {
    "mirrored_hflip.mp4": (40, "4d4d9164e5ff6f3361652361f3d01703247bb2da3bedeb6ce12767e8eebbaa3a"),
    "segment_open_gop.mp4": (9, "a69adfa10bc13341f45aa786fd8bb877bdfc337b63a17b530e1669111ef5e452"),
    "trimmed_bframes.mov": (17, "3a56684cc5b0c3988e1e3f8f07a13a9f872c2cdbb887570c9cacbdeef14ecaa2"),
    "trimmed_hevc.mkv": (10, "b1c2511f4d2b656f470dbea5cabd9298e0fe314f69a578a866d62411dffe565e"),
    "two_video_streams.mkv": (40, "4d4d9164e5ff6f3361652361f3d01703247bb2da3bedeb6ce12767e8eebbaa3a"),
}


@pytest.fixture(autouse=True)
def nothing_said_before(monkeypatch):
    monkeypatch.setattr("ramvid_vad.video.reader._noted", set())


def read(path) -> np.ndarray:
    return np.stack(list(read_frames(str(path))))


def as_ffmpeg(path) -> np.ndarray:
    """What FFmpeg's decoder shows when nobody looks for damage."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return np.stack([picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)])


@pytest.mark.parametrize("name", FFMPEG)
def test_every_picture_is_that_of_ffmpeg(name):
    sums = [hashlib.md5(p.to_ndarray().tobytes()).hexdigest() for p in decoding.pictures(str(DATA / name), print)]
    joined = hashlib.sha256("".join(line + "\n" for line in sums).encode()).hexdigest()
    assert (len(sums), joined) == FFMPEG[name]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open")
    return {
        codec: write_video(folder / f"{codec}.mkv", pictures(), codec, "yuv420p", {}, OPEN[codec]) for codec in OPEN
    }


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("codec", OPEN)
def test_cut_at_each_key_picture(tmp_path, sources, codec, container):
    """From the key picture on, every picture is that of the whole video; of those that lean on what was cut away,
    what FFmpeg shows."""
    if (codec, container) in IMPOSSIBLE:
        pytest.skip("no such file")
    whole = as_ffmpeg(sources[codec])
    with av.open(str(sources[codec])) as opened:
        packets = [packet for packet in opened.demux(video=0) if packet.size]
    keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    assert len(keys) >= 3
    for key in keys[1:3]:
        path = write_tail(sources[codec], tmp_path / f"{key}.{container}", key)
        frames, shown = read(path), sum(packet.pts >= packets[key].pts for packet in packets[key:])
        assert np.array_equal(frames, as_ffmpeg(path))
        assert 0 <= len(frames) - shown <= len(packets) - key - shown
        assert np.array_equal(frames[-shown:], whole[-shown:])


@pytest.mark.parametrize("name", ["cut.mkv", "cut.ts"])
def test_what_a_cut_left_without_its_reference_is_said(tmp_path, sources, name, capsys):
    with av.open(str(sources["libx265"])) as opened:
        packets = [packet for packet in opened.demux(video=0) if packet.size]
    key = [packet.is_keyframe for packet in packets].index(True, 1)
    leading = sum(packet.pts < packets[key].pts for packet in packets[key:])
    path = write_tail(sources["libx265"], tmp_path / name, key)
    assert leading > 0 and len(read(path)) == len(packets) - key - leading
    line = f"{path}: {leading} of its {len(packets) - key} pictures lean on others that were cut away and are not shown"
    assert capsys.readouterr().err == f"note: {line}\n"
    read(path)
    assert not capsys.readouterr().err  # once is enough


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.mp4"])
def test_a_recording_may_begin_between_two_key_pictures(tmp_path, name):
    whole = write_video(tmp_path / "whole.mkv", pictures(), "libx264", "yuv420p", {}, X264 | {"g": "10", "bf": "0"})
    path = write_tail(whole, tmp_path / name, 5)
    assert np.array_equal(read(path), as_ffmpeg(whole)[10:])


def test_damage_after_the_cut_is_still_seen(tmp_path, sources):
    """The pictures that a cut makes undecodable are no cover for others."""
    for codec in ("libx264", "libx265", "mpeg2video"):
        path = write_tail(sources[codec], tmp_path / f"{codec}.mkv", 10)
        data = bytearray(path.read_bytes())
        with av.open(str(path)) as opened:
            packets = [packet for packet in opened.demux(video=0) if packet.size]
        for packet in packets[6:]:
            if packet.size < 60:
                continue
            start = packet.pos + packet.size // 3
            path.write_bytes(data[:start] + bytes(packet.size // 3) + data[start + packet.size // 3 :])
            with pytest.raises(InputError, match="damaged"):
                read(path)
            break


# --- end to end


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.ts", "libx264"),
        ("a.ts", "libx265"),
        ("a.ts", "mpeg2video"),
        ("a.m2ts", "libx264"),
        ("a.mpg", "mpeg2video"),
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx-vp9"),
        ("a.avi", "mpeg4"),
        ("a.gif", "gif"),
        ("a.ogv", "libvpx"),
        ("a.h264", "libx264"),
        ("a.mjpeg", "mjpeg"),
        ("a.mp4", "libx264"),
        ("a.mov", "libx264"),
        ("a.3gp", "libx264"),
        ("fragmented.mp4", "libx264"),
        ("a.flv", "flv"),
        ("a.wmv", "wmv2"),
    ],
)
def test_joined_end_to_end(tmp_path, name, codec):
    """`cat a.ts b.ts`: every picture of both, or a refusal; never the first part alone."""
    pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
    options = {"movflags": "frag_keyframe+empty_moov"} if "fragmented" in name else {}
    both = []
    for part in ("1", "2"):
        path = tmp_path / part / name
        path.parent.mkdir()
        frames = pictures(20 if part == "1" else 12)[:, :: 1 if part == "1" else -1]
        write_video(path, frames, codec, pix_fmt, options, {"g": "6"})
        both.append(path)
    joined = tmp_path / name
    joined.write_bytes(b"".join(path.read_bytes() for path in both))
    expected = np.concatenate([read(path) for path in both])
    assert len(expected) == 32
    if name[-3:] in ("mp4", "mov", "3gp", "flv", "wmv", "ogv"):
        with pytest.raises(InputError, match="damaged" if name == "a.ogv" else "several videos end to end"):
            read(joined)
    else:
        assert np.abs(read(joined).astype(int) - expected).mean() < (0.1 if codec != "gif" else 2)


def test_a_lost_piece_of_a_transport_stream_is_damage(tmp_path):
    """In the middle of a group: a jump of the packet counters that no key picture follows."""
    path = write_video(tmp_path / "a.ts", pictures(), "libx264", "yuv420p", {}, X264 | {"g": "100", "bf": "0"})
    data = path.read_bytes()
    middle = len(data) // 2 // 188 * 188
    path.write_bytes(data[:middle] + data[middle + 188 :])
    with pytest.raises(InputError, match="damaged"):
        read(path)


# --- several video streams


def write_streams(path, *streams: tuple[int, int, int], cover: int | None = None):
    """Video streams of (width, height, pictures) in one file; the one numbered ``cover`` is marked as a cover."""
    with av.open(str(path), "w") as container:
        made = []
        for width, height, _ in streams:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            made.append(stream)
        if cover is not None:
            made[cover].disposition = av.stream.Disposition.attached_pic
        for stream, (width, height, length) in zip(made, streams, strict=True):
            for array in pictures(length, height, width):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts", "a.avi"])
@pytest.mark.parametrize(
    ("streams", "chosen"),
    [
        ([(48, 32, 20), (96, 64, 20)], 1),
        ([(96, 64, 20), (48, 32, 20)], 0),
        ([(320, 240, 1), (96, 64, 20)], 1),  # a cover that nobody marked
        ([(96, 64, 20), (320, 240, 1)], 0),
        ([(48, 32, 20), (96, 64, 12)], 1),
        ([(48, 32, 20), (64, 48, 20), (96, 64, 3)], 1),
        ([(96, 64, 12), (96, 64, 20)], 1),
    ],
)
def test_the_largest_of_the_long_streams_is_read_and_named(tmp_path, name, streams, chosen, capsys):
    path = write_streams(tmp_path / name, *streams)
    width, height, length = streams[chosen]
    assert read(path).shape == (length, height, width, 3)
    said = capsys.readouterr().err
    if name == "a.mp4":  # its header counts the pictures of each stream
        assert about_how_many(str(path)) == length and frame_rate(str(path)) == 25
    assert said.count("\n") == 1
    assert f"{path}: of {len(streams)} video streams number {chosen} ({width}x{height}, {length} pictures)" in said


def test_looking_for_the_stream_gives_signs_of_life(tmp_path):
    ticks = []
    next(read_frames(str(write_streams(tmp_path / "a.mkv", (48, 32, 20), (96, 64, 20))), tick=lambda: ticks.append(1)))
    assert len(ticks) >= 40


def test_a_title_that_is_no_text_does_not_hide_the_rate(tmp_path):
    """As old cameras write it; the reader takes such a file."""
    path = write_streams(tmp_path / "a.mp4", (48, 32, 20))
    path.write_bytes(path.read_bytes().replace(b"Lavf", b"L\xe1vf"))
    assert len(read(path)) == about_how_many(str(path)) == 20 and frame_rate(str(path)) == 25


def test_the_stream_of_the_field(capsys):
    """48x32 stands first, 96x64 second: as a whole it is the video that the mirrored one was made of."""
    frames = read(DATA / "two_video_streams.mkv")
    assert "number 1 (96x64, 40 pictures) is read, not number 0 (48x32, 40 pictures)" in capsys.readouterr().err
    assert np.array_equal(frames[:, :, ::-1], read(DATA / "mirrored_hflip.mp4"))
