"""A file at its rate, a stream that is cut, a slow scorer: every frame is accounted for."""

import io
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler

import av
import numpy as np
import pytest
from PIL import Image
from servers import jpegs, motion_jpeg, served
from stand_in import BRIGHT, DARK, Brightness, accounted, watch

from ramvid_vad.errors import InputError
from ramvid_vad.video.reader import read_frames
from ramvid_vad.video.writer import write_video
from ramvid_vad.watch.counters import Counters
from ramvid_vad.watch.input.queue import Before, Frame, FrameQueue
from ramvid_vad.watch.input.reader import WAITS, Reader
from ramvid_vad.watch.input.source import Connection, find_source


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """60 grey frames of 10 a second; 20 to 39 are bright."""
    path = tmp_path_factory.mktemp("film") / "door.mp4"
    frames = np.full((60, 48, 64, 3), DARK, np.uint8)
    frames[20:40] = BRIGHT
    write_video(str(path), frames, fps=10)
    return str(path)


class Clock(threading.Event):
    """Time that passes only while the reader waits."""

    now = 0.0

    def __call__(self):
        return self.now

    def wait(self, timeout=None):
        self.now += timeout
        return self.is_set()


def test_a_file_is_played_at_its_rate(film):
    clock, counters = Clock(), Counters()
    queue = FrameQueue(100, counters)
    Reader(find_source(film), queue, counters, clock, clock).read()
    frames = [queue.get(0) for _ in range(60)]
    assert [frame.before for frame in frames] == [Before.CLOSED] + 59 * [Before.NOTHING]
    times = [frame.seconds for frame in frames]
    assert times == pytest.approx([n / 10 for n in range(60)])
    assert len(queue) == 0 and counters == Counters(received=60, read=60, connections=1)


def test_a_loop_plays_it_again_until_it_is_ended(film):
    clock, counters = Clock(), Counters()

    class Third(FrameQueue):
        def put(self, frame):
            super().put(frame)
            if counters.connections == 3:
                clock.set()

    queue = Third(500, counters)
    Reader(find_source(film), queue, counters, clock, clock, again=True).read()
    assert len(queue) == 121 and counters.read == 122 and counters.dropped == 1
    assert counters.received == counters.read + counters.lost  # these were in the decoder


@pytest.mark.parametrize(("address", "lasts"), [("rtsp://camera/live", False), ("http://web/film.mp4", True)])
def test_a_length_is_an_end_on_the_web_alone(film, monkeypatch, address, lasts):
    opened = av.open
    monkeypatch.setattr(av, "open", lambda asked, **_: opened(film))
    with Connection(find_source(address), 5.0, Counters()) as connection:
        assert connection.lasts == lasts


def test_the_queue_drops_the_oldest_and_counts_it():
    counters, dark = Counters(), np.zeros((8, 8, 3), np.uint8)

    def got(first: Before) -> list[tuple[float, Before]]:
        for number in range(10):
            queue.put(Frame(number, dark, dark[..., :1], Before.NOTHING if number else first))
        found = [queue.get(0) for _ in range(4)]
        assert found.pop() is None
        return [(frame.seconds, frame.before) for frame in found]

    queue = FrameQueue(3, counters)
    assert got(Before.NOTHING) == [(7, Before.MISSED), (8, Before.NOTHING), (9, Before.NOTHING)]
    assert got(Before.CLOSED)[0] == (7, Before.CLOSED)  # the first frame of a connection was among the dropped
    assert counters.dropped == 14


class Clockwork:
    """A source whose own clock goes on, and a reader that is kept waiting now and then."""

    lasts = segments = False

    def __init__(self, times, arrivals, clock):
        self.times, self.arrivals, self.clock = times, arrivals, clock

    def pictures(self):
        for seconds, now in zip(self.times, self.arrivals, strict=True):
            self.clock.now = now
            yield seconds, np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 1), np.uint8)


def test_what_is_read_late_is_told_from_a_source_that_paused():
    clock, counters = Clock(), Counters()
    queue = FrameQueue(10, counters)
    reader = Reader(find_source("http://192.0.2.1/"), queue, counters, clock, clock)
    times = [0.0, 0.1, 0.2, 0.3, 0.4, 3.4, 3.5]
    arrivals = [5.0, 5.1, 5.2, 7.3, 7.3, 10.4, 10.5]  # the fourth comes 2 s late; before the sixth nothing was sent
    reader._play(Clockwork(times, arrivals, clock))
    before = [queue.get(0).before for _ in times]
    assert before == [Before.CLOSED, 0, 0, Before.MISSED, 0, 0, 0]


def test_a_live_list_whose_clock_jumps_goes_on():
    """An encoder that begins anew: neither a wait of hours nor a rush."""
    clock, counters = Clock(), Counters()
    times = [0.0, 0.04, 36000.0, 36000.04, 0.0, 0.04]
    source = Clockwork(times, times, clock)
    source.segments = True
    source.pictures = lambda: ((t, np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 1), np.uint8)) for t in times)
    queue = FrameQueue(10, counters)
    Reader(find_source("rtsp://cam/"), queue, counters, clock, clock)._play(source)
    assert len(queue) == 6 and clock.now == pytest.approx(0.12)


def test_a_stream_cut_three_times_is_opened_again(tmp_path, capsys):
    pictures = jpegs([DARK] * 10 + [BRIGHT] * 10 + [DARK] * 5)
    with motion_jpeg([pictures] * 4) as server:
        watched = watch(f"http://{server.address}/", tmp_path)
        watched.run(lambda: server.asked == 5 and watched.counters.read == 100 and not len(watched.queue))
        assert server.sent == 100
    assert watched.counters.connections >= 5 and watched.counters.scored == 100
    accounted(watched.counters)
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    faults = [line for line in lines if line["kind"] == "health"]
    assert {line["fault"] for line in faults} == {"lost"}
    assert [line["change"] for line in faults] == ["new", "end"] * 4  # the last one is the end of the test
    assert all(line["start"] <= line["end"] for line in faults if line["change"] == "end")
    assert sum(line["kind"] == "anomaly" and line["change"] == "new" for line in lines) == 4
    assert said.err.count(": lost (") == 4 and said.err.count(": back after") == 3


def test_an_event_ends_where_the_stream_is_lost(tmp_path, capsys):
    """Its clip does not wait for frames that may come in weeks."""
    with motion_jpeg([jpegs([DARK] * 10 + [BRIGHT] * 10)]) as server:
        watched, seen = watch(f"http://{server.address}/", tmp_path), []

        def away() -> bool:
            seen.append(server.asked > 2 and watched.board.event(1)["change"])
            return bool(seen[-1])

        watched.run(away)
    assert next(filter(None, seen)) == "end"  # before the watch was told to stop
    accounted(watched.counters)
    ended = [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if line["change"] == "end"]
    assert [line["kind"] for line in ended] == ["anomaly", "health"]
    assert ended[0]["end_frame"] == 19 and "stopped" not in ended[0] and (tmp_path / ended[0]["clip"]).exists()
    assert ended[1]["fault"] == "lost" and ended[1]["stopped"]


def test_a_stream_that_falls_silent_is_lost(tmp_path, capsys):
    with motion_jpeg([jpegs([DARK] * 30)], rate=1.0) as server:  # one picture a second, and half of one to wait for it
        watched = watch(f"http://{server.address}/", tmp_path, timeout=0.5)
        watched.run(lambda: watched.counters.connections >= 2)
    accounted(watched.counters)
    assert '"fault": "lost"' in capsys.readouterr().out


def test_an_outage_is_told_though_frames_from_before_it_were_waiting(tmp_path, capsys):
    """Scoring takes longer than the outage, so that the queue is never empty when the stream is away."""
    with motion_jpeg([jpegs([DARK] * 25)] * 3) as server:
        watched = watch(f"http://{server.address}/", tmp_path, Brightness(delay=0.05))
        watched.run(lambda: watched.counters.read == 75 and not len(watched.queue))
    accounted(watched.counters)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    ended = [line for line in lines if line["change"] == "end"][:2]
    assert [(line["fault"], line["start_frame"], line["end_frame"]) for line in ended] == [
        ("lost", 25, 25),
        ("lost", 50, 50),
    ]
    assert all(line["start"] <= line["end"] for line in ended)


def test_a_slow_scorer_drops_frames_and_every_one_is_accounted_for(tmp_path):
    with motion_jpeg([jpegs([DARK] * 100)], rate=400.0) as server:
        watched = watch(f"http://{server.address}/", tmp_path, Brightness(delay=0.01), queue=4)
        watched.run(lambda: server.asked > 1 and watched.counters.read == 100 and not len(watched.queue))
    assert watched.counters.read == 100 and watched.counters.dropped > 20 and watched.counters.scored > 4
    accounted(watched.counters)


def test_damaged_pictures_are_counted_as_lost(tmp_path):
    pictures = jpegs([DARK] * 30)
    for number in (5, 11, 12):
        pictures[number] = pictures[number][:20] + os.urandom(200)
    with motion_jpeg([pictures]) as server:
        watched = watch(f"http://{server.address}/", tmp_path)
        watched.run(lambda: server.asked > 1 and not len(watched.queue))
    assert watched.counters.lost == 3 and watched.counters.read == 27
    accounted(watched.counters)


def test_another_size_in_the_middle_goes_on(tmp_path):
    pictures = jpegs([DARK] * 10)
    for value in [DARK] * 3 + [BRIGHT] * 7:
        file = io.BytesIO()
        Image.fromarray(np.full((96, 128, 3), value, np.uint8)).save(file, "jpeg")
        pictures.append(file.getvalue())
    with motion_jpeg([pictures]) as server:
        watched = watch(f"http://{server.address}/", tmp_path)
        watched.run(lambda: server.asked > 1 and not len(watched.queue))
    assert watched.counters.scored == 20
    accounted(watched.counters)
    (clip,) = tmp_path.glob("*/*.mp4")  # of the event, although it began while others would have been before it
    frames = list(read_frames(str(clip)))
    assert len(frames) == 10 and {frame.shape for frame in frames} == {(96, 128, 3)} and frames[-1].mean() > 128


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("missing.mp4", "no such file"),
        ("ftp://user:hidden-word@host/x", "cannot be watched"),
        ("http://", "no host"),
        ("concat:a|b", "no such file"),
    ],
)
def test_what_is_no_source_is_said(source, says):
    with pytest.raises(InputError, match=says) as caught:
        find_source(source)
    assert "hidden-word" not in str(caught.value)


def test_a_file_that_is_no_video_ends_the_watch(tmp_path):
    (tmp_path / "notes.mp4").write_text("no video")
    with pytest.raises(InputError, match="cannot be opened"):
        watch(str(tmp_path / "notes.mp4"), tmp_path / "out").run(lambda: False)


def test_a_playlist_from_the_net_opens_no_file(tmp_path, capsys):
    """An HLS playlist that names a file of this machine."""
    opened = tmp_path / "secret.ts"
    opened.write_bytes(b"G" * 188 * 100)

    class Playlist(BaseHTTPRequestHandler):
        def do_GET(self):
            text = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{opened}\n"
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.apple.mpegurl")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())
            self.server.asked += 1

        def log_message(self, *_):
            pass

    before = os.stat(opened).st_atime_ns
    with served(Playlist) as server:
        server.asked = 0
        watched = watch(f"http://127.0.0.1:{server.server_address[1]}/a.m3u8", tmp_path / "out", timeout=0.5)
        watched.run(lambda: watched.counters.connections >= 2)
        assert server.asked
    assert watched.counters.received == 0 and os.stat(opened).st_atime_ns == before
    assert "lost" in capsys.readouterr().err


def test_the_waits_are_bounded():
    assert list(WAITS) == sorted(WAITS) and max(WAITS) <= 60


def test_a_live_playlist_is_played_at_its_rate(tmp_path, monkeypatch):
    """HLS brings a second of frames at once; a new segment stands in the list every second."""
    monkeypatch.chdir(tmp_path)
    with av.open("all.m3u8", "w", format="hls", options={"hls_time": "1", "hls_list_size": "0"}) as made:
        stream = made.add_stream("libx264", rate=25, options={"g": "25"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for value in range(250):
            picture = np.full((48, 64, 3), value % 100 + 50, np.uint8)
            made.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        made.mux(stream.encode())
    began = time.monotonic()

    class Live(BaseHTTPRequestHandler):
        def do_GET(self):
            name = os.path.basename(self.path)
            if name == "live.m3u8":
                first = int(time.monotonic() - began)
                head = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n"
                there = range(first, min(first + 4, 10))
                content = (head + "".join(f"#EXTINF:1.0,\nall{number}.ts\n" for number in there)).encode()
            else:
                content = (tmp_path / name).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    counters, ending = Counters(), threading.Event()
    queue = FrameQueue(250, counters)
    with served(Live) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/live.m3u8"
        reader = Reader(find_source(address), queue, counters, ending, time.monotonic, timeout=5.0)
        reader.start()
        time.sleep(5)
        ending.set()
        reader.join(10)
    frames = [queue.get(0) for _ in range(len(queue))]
    steps = np.diff([frame.seconds for frame in frames])
    assert len(frames) > 50 and steps.max() < 0.5 and np.median(steps) == pytest.approx(0.04, abs=0.01)
    assert {frame.before for frame in frames[1:]} == {Before.NOTHING}
