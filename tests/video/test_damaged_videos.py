"""Damaged videos: an InputError that names the file, never fewer frames without a word."""

import io
import os
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from clips import LENGTH, WHOLE, pictures, write_packets, write_video, write_whole
from PIL import Image

from ramvid_vad.errors import InputError
from ramvid_vad.video.reader import MAX_PIXELS, read_frames

DAMAGED = [name for name in WHOLE if name not in ("UPPER.MP4", "h264.m4v")]
# An unfinished stream without a length anywhere ends where it ends: only a cut inside a packet can be seen.
WITHOUT_LENGTH = ("live.mkv", "mpeg1.mpg", "mpeg2.mpg")
# Where in its first picture 40 zeros are concealed by FFmpeg's defaults.
HIDDEN_DAMAGE = [("xvid.avi", 0.5), ("mjpeg.avi", 0.7), ("ffv1.avi", 0.3), ("prores.mov", 0.5), ("animation.GIF", 0.5)]


def refused(path) -> str:
    """Reading must fail with one line that names the file."""
    with pytest.raises(InputError) as error:
        for _ in read_frames(str(path)):
            pass
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message and len(message) < 400 + len(str(path))
    return message


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return {name: write_whole(folder, name).read_bytes() for name in DAMAGED}


@pytest.mark.parametrize("name", [name for name in DAMAGED if name not in WITHOUT_LENGTH])
def test_cut_off_anywhere(tmp_path, whole, name):
    for share in (0.02, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        path = tmp_path / name
        path.write_bytes(whole[name][: int(len(whole[name]) * share)])
        refused(path)


def test_cut_off_between_two_pictures(tmp_path, whole):
    """The last packet is complete, so nothing but the count tells."""
    for name in ["faststart.mp4", "mjpeg.avi", "ffv1.mkv", "fragmented.mp4", "animation.GIF"]:
        path = tmp_path / name
        path.write_bytes(whole[name])
        refused_bytes(path, whole[name][: sum(packets(path)[LENGTH // 2])])


def test_without_its_index(tmp_path, whole):
    assert "moov" in refused_bytes(tmp_path / "a.mp4", whole["h264.mp4"][: whole["h264.mp4"].index(b"moov") - 4])


def refused_bytes(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return refused(path)


def packets(path: Path) -> list[tuple[int, int]]:
    """(position, size) of the pictures in a file."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("name", DAMAGED)
def test_overwritten_anywhere(tmp_path, whole, name):
    """200 bytes of zeros, or of noise, in each of 20 places: refused, or at least not one frame shorter."""
    path, noticed = tmp_path / name, 0
    for place in range(20):
        for filling in (bytes(200), np.random.default_rng(place).bytes(200)):
            data = bytearray(whole[name])
            start = int(len(data) * (0.1 + 0.045 * place))
            data[start : start + 200] = filling[: len(data) - start]
            path.write_bytes(data)
            try:
                assert sum(1 for _ in read_frames(str(path))) == LENGTH, (place, filling[:1])
            except InputError as error:
                assert str(path) in str(error) and "\n" not in str(error)
                noticed += 1
    assert noticed >= 10  # of 40; an arithmetic decoder makes a picture of almost anything


def test_overwritten_tables(tmp_path, whole, capsys):
    """An mp4's index has no checksum. Zeros or noise anywhere in it may change the timing, but lose no picture unsaid.

    FFmpeg skips samples without a size, or with times outside the film, as if an edit list had cut them away. Nobody
    can tell these from a trimmed clip, so a line says how many they are.
    """
    intact = whole["faststart.mp4"]
    edits = range(intact.index(b"edts") - 24, intact.index(b"mdia"))  # what it cuts away is the edit list's to say
    hidden = []
    for start in range(intact.index(b"moov") + 4, intact.index(b"mdat") - 8, 6):
        for length in (8, 40):
            for filling in (bytes(length), np.random.default_rng(start).bytes(length)):
                if set(range(start, start + length)) & set(edits):
                    continue
                path = tmp_path / f"{start}_{length}_{filling[0]}.mp4"
                path.write_bytes(intact[:start] + filling + intact[start + length :])
                try:
                    frames = sum(1 for _ in read_frames(str(path)))
                    said = f"{path}: {LENGTH - frames} of its {LENGTH} pictures" in capsys.readouterr().err
                    if frames != LENGTH and not said:
                        hidden.append((start, length, filling[0] == 0, frames))
                except InputError as error:
                    assert str(path) in str(error)
                path.unlink()
    assert not hidden, str(hidden)


@pytest.mark.parametrize("name", ["h264.mp4", "xvid.avi", "mjpeg.avi", "ffv1.avi", "ffv1.mkv", "h264.mkv", "vp9.webm"])
def test_a_zeroed_picture(tmp_path, whole, name):
    path = tmp_path / name
    path.write_bytes(whole[name])
    position, size = packets(path)[0]
    data = bytearray(whole[name])
    data[position : position + size] = bytes(size)
    refused_bytes(path, data)


@pytest.mark.parametrize(("name", "share"), HIDDEN_DAMAGE)
def test_ffmpeg_alone_hides_damage(tmp_path, whole, name, share):
    """The premise of the reader: by default a damaged picture is concealed and everything looks well."""
    path = tmp_path / name
    path.write_bytes(whole[name])
    position, size = packets(path)[0]
    data = bytearray(whole[name])
    start = position + int(size * share)
    data[start : start + 40] = bytes(40)
    path.write_bytes(data)
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == LENGTH
    refused(path)


def test_not_a_video(tmp_path):
    assert "0 bytes" in refused_bytes(tmp_path / "a.mp4", b"")
    assert "no such file" in refused(tmp_path / "none.mp4")
    assert "cannot be opened as a video" in refused_bytes(tmp_path / "b.mp4", b"just some words\n" * 100)
    picture = io.BytesIO()
    Image.new("RGB", (32, 32)).save(picture, "png")
    assert "no known video container" in refused_bytes(tmp_path / "c.avi", picture.getvalue())
    refused_bytes(tmp_path / "d.gif", b"GIF89a")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "neither a file nor a folder" in refused(tmp_path / "pipe.mp4")


def test_sound_only(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        for _ in range(5):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert "no video stream in it, only audio" in refused(tmp_path / "a.mp4")
    with wave.open(str(tmp_path / "b.avi"), "wb") as sound:
        sound.setnchannels(1), sound.setsampwidth(2), sound.setframerate(8000)
        sound.writeframes(bytes(2000))
    refused(tmp_path / "b.avi")


def test_a_playlist_opens_nothing_else(tmp_path):
    write_whole(tmp_path, "h264.mp4")
    for text in ("ffconcat version 1.0\nfile h264.mp4\n", "#EXTM3U\n#EXTINF:1,\nh264.mp4\n#EXT-X-ENDLIST\n"):
        (tmp_path / "list.mp4").write_text(text)
        assert "cannot be opened as a video" in refused(tmp_path / "list.mp4")


@pytest.mark.parametrize(
    ("side", "message"),
    [(10**6, "no valid picture size in its header"), (10_000, f"claims 10000x10000, above the limit of {MAX_PIXELS}")],
)
def test_a_header_that_claims_huge_frames(tmp_path, side, message):
    path = write_video(tmp_path / "a.avi", pictures(3), "rawvideo", "bgr24")
    data = bytearray(path.read_bytes())
    header = data.index(b"strf") + 8
    assert int.from_bytes(data[header + 4 : header + 8], "little") == 64
    data[header + 4 : header + 12] = side.to_bytes(4, "little") * 2
    main = data.index(b"avih") + 8
    data[main + 32 : main + 40] = side.to_bytes(4, "little") * 2
    path.write_bytes(data)
    assert side * side > MAX_PIXELS and message in refused(path)


def test_the_limit_also_holds_for_what_the_decoder_finds(tmp_path, monkeypatch):
    """The sizes in the container's header may be smaller than those of the pictures."""
    path = write_whole(tmp_path, "mjpeg.avi")
    monkeypatch.setattr("ramvid_vad.video.decoding.videos.MAX_PIXELS", 64 * 48 - 1)
    assert "64x48, above the limit" in refused(path)


def test_size_change_in_mid_stream(tmp_path):
    small = write_video(tmp_path / "small.mpg", pictures(8), "mpeg2video", "yuv420p").read_bytes()
    large = write_video(tmp_path / "large.mpg", pictures(8, 64, 96), "mpeg2video", "yuv420p").read_bytes()
    assert "is 96x64, the first one 64x48" in refused_bytes(tmp_path / "a.mpg", small + large)


def test_pictures_that_a_decoder_drops_in_silence_are_missed(tmp_path):
    """Without a key picture in the middle FFmpeg passes over all that leans on it, and reports no error."""
    whole = write_video(tmp_path / "a.mkv", pictures(), "libx264", "yuv420p", codec_options={"g": "10", "bf": "0"})
    path = write_packets(whole, tmp_path / "b.mkv", lambda number, packet: number != 20)
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) < LENGTH - 1
    assert "8 of its 30 pictures do not decode" in refused(path)
