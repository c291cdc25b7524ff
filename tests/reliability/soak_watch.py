"""Minutes or hours of `ramvid-vad watch` on a looped video, cut three times and restarted once: does anything grow?

    python tests/reliability/soak_watch.py --model camera/ --video clip.mp4 [--minutes 30] [--rate 10] [--server rtsp]
        [--out FILE.json]

A server on this machine sends the video frames over and over, --rate frames a second: http as motion JPEG, rtsp as
H.264 (rtsp_server.py beside this file says what it needs). At 1/5, 2/5 and 4/5 of the time it cuts the connection and
refuses new ones for 5 s; at 3/5 the watch is ended by SIGTERM and started again. Recorded every 5 s are resident
memory, open files and threads of the watch; at the end every frame sent must be accounted for: received = read + lost,
read = dropped + scored. Frames that were sent and not received were on the way when the line was cut; the rtsp server
does not tell how many it sent.
"""

import argparse
import json
import math
import signal
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
from soak import change, look
from victims import ROOT, without_launcher

from ramvid_vad.page.pictures import encoded
from ramvid_vad.video.reader import read_frames
from ramvid_vad.video.writer import write_video

sys.path.append(str(ROOT / "benchmarks"))
from measure import machine, write_report

OUTAGE = 5.0  # seconds
CUTS, RESTART = (0.2, 0.4, 0.8), 0.6  # shares of the time


class HttpServer(ThreadingHTTPServer):
    """A camera: pictures over and over at a rate. sent: whole pictures.  open: whether it takes connections."""

    daemon_threads = True

    def __init__(self, pictures: list[bytes], rate: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pictures, self.rate = pictures, rate
        self.sent, self.open = 0, True
        self.address = f"http://admin:pass-word@127.0.0.1:{self.server_address[1]}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def let_in(self, open: bool) -> None:
        self.open = open


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        if not server.open:
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        due, number = time.monotonic(), 0
        while server.open:
            content = server.pictures[number % len(server.pictures)]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + content + b"\r\n")
            except OSError:
                return
            server.sent += 1
            number, due = number + 1, due + 1 / server.rate
            time.sleep(max(due - time.monotonic(), 0))

    def log_message(self, *_: object) -> None:
        pass


class RtspServer:
    """The same by rtsp_server.py, of a file that is as long as the soak and more. sent: not known."""

    sent = None

    def __init__(self, frames: list[np.ndarray], rate: float, minutes: float, folder: Path) -> None:
        once, whole = folder / "once.mp4", folder / "whole.mkv"
        write_video(str(once), frames, fps=rate, crf=18)
        repeated(once, whole, math.ceil(60 * minutes * rate / len(frames)) + 1)
        command = ["/usr/bin/python3", str(Path(__file__).with_name("rtsp_server.py")), str(whole)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        port = self._process.stdout.readline().strip()
        if not port:
            raise SystemExit("the rtsp server has ended: rtsp_server.py says which packages it needs")
        self.address = f"rtsp://admin:pass-word@127.0.0.1:{port}/live"

    def let_in(self, open: bool) -> None:
        self._process.stdin.write("open\n" if open else "shut\n")
        self._process.stdin.flush()
        self._process.stdout.readline()


def repeated(source: Path, target: Path, times: int) -> None:
    """The video's packets over and over, without decoding them."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        packets = [packet for packet in given.demux(video=0) if packet.dts is not None]
        length = max(packet.pts + packet.duration for packet in packets) - min(packet.pts for packet in packets)
        for time_ in range(times):
            for packet in packets:
                copied = av.Packet(bytes(packet))
                copied.pts, copied.dts = packet.pts + time_ * length, packet.dts + time_ * length
                copied.time_base, copied.duration = packet.time_base, packet.duration
                copied.is_keyframe, copied.stream = packet.is_keyframe, stream
                made.mux(copied)


def start(server: HttpServer | RtspServer, arguments: argparse.Namespace, out: Path) -> subprocess.Popen:
    """The watch, in the same folder each time."""
    words = [sys.executable, "-m", "ramvid_vad", "watch", server.address, "--model", arguments.model, "--out", str(out)]
    with open(out.parent / "out.txt", "ab") as told, open(out.parent / "err.txt", "ab") as said:
        environment = without_launcher()
        del environment["OMP_NUM_THREADS"]  # as many threads as its user would get
        return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=told, stderr=said)


def end(process: subprocess.Popen) -> None:
    """By SIGTERM; its exit code must be 0."""
    process.send_signal(signal.SIGTERM)
    if code := process.wait(60):
        raise SystemExit(f"the watch ended with exit code {code}")


def soak(server: HttpServer | RtspServer, arguments: argparse.Namespace, top: Path) -> dict:
    """The time asked for; what was seen."""
    began, length = time.monotonic(), 60 * arguments.minutes
    cuts, restart = [share * length for share in CUTS], RESTART * length
    rows, watch = [], start(server, arguments, top / "events")
    while (now := time.monotonic() - began) < length:
        if cuts and now > cuts[0]:
            cuts.pop(0)
            server.let_in(False)
            time.sleep(OUTAGE)
            server.let_in(True)
        if restart and now > restart:
            restart = 0
            end(watch)
            watch = start(server, arguments, top / "events")
        if watch.poll() is not None:
            raise SystemExit(f"the watch has ended:\n{(top / 'err.txt').read_text()}")
        if seen := look(watch.pid):
            rows.append({"second": round(now), "restarted": not restart, **seen})
        time.sleep(min(5.0, length / 20))
    end(watch)
    frames = json.loads((top / "events" / "state.json").read_text())["counters"]
    lines = [json.loads(line) for line in (top / "out.txt").read_text().splitlines()]
    runs = [[row for row in rows if row["restarted"] == after] for after in (False, True)]
    texts = [(top / name).read_text() for name in ("out.txt", "err.txt")]
    return {
        "sent": server.sent,
        "frames": frames,
        "on_the_way": server.sent - frames["received"] if server.sent is not None else None,
        "accounted": frames["received"] == frames["read"] + frames["lost"]
        and frames["read"] == frames["dropped"] + frames["scored"],
        "events": {
            kind: sum(e["kind"] == kind and e["change"] == "new" for e in lines) for kind in ("anomaly", "health")
        },
        "growth": [{key: change([row[key] for row in run]) for key in ("rss_mb", "files", "threads")} for run in runs],
        "said": [line for line in texts[1].splitlines() if "latency" in line or "ms in the median" in line],
        "password_seen": any("pass-word" in text for text in texts),
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--video", required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=10)
    parser.add_argument("--server", choices=("http", "rtsp"), default="http")
    parser.add_argument("--out", default="runs/benchmarks/soak_watch.json")
    arguments = parser.parse_args()
    arguments.model = str(Path(arguments.model).resolve())
    frames = list(read_frames(arguments.video))
    with tempfile.TemporaryDirectory() as folder:
        if arguments.server == "rtsp":
            server = RtspServer(frames, arguments.rate, arguments.minutes, Path(folder))
        else:
            server = HttpServer([encoded(frame, quality=95) for frame in frames], arguments.rate)
        report = soak(server, arguments, Path(folder))
    for name, value in report.items():
        if name != "rows":
            print(f"{name}: {value}")
    write_report(
        arguments.out,
        machine() | {"minutes": arguments.minutes, "rate": arguments.rate, "server": arguments.server} | report,
    )


if __name__ == "__main__":
    main()
