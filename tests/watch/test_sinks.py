"""Receivers: what arrives, and that a dead or slow one never holds up the watch."""

import base64
import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest
from servers import served
from stand_in import BRIGHT, DARK, accounted, watch

from ramvid_vad.errors import InputError
from ramvid_vad.video.writer import write_video
from ramvid_vad.watch.sinks import LISTED, SINKS, TRIES, Delivery

RECORD = {"change": "new", "id": 7, "camera": "dör; rm -rf $(x)"}


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), json.loads(body)))
        answer = self.server.answers.pop(0) if self.server.answers else 204
        if answer == "silence":
            self.server.release.wait(20)
            return
        self.send_response(answer)
        if 300 <= answer < 400:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    with served(Receiver) as server:
        server.got, server.answers, server.release = [], [], threading.Event()
        server.place = f"127.0.0.1:{server.server_address[1]}"
        yield server
        server.release.set()


def test_a_webhook_gets_the_event_and_the_password(receiver):
    delivery = Delivery("webhook", f"http://me:p%40ss@{receiver.place}/in?x=1")
    delivery.send(RECORD)
    delivery.end(10)
    ((path, headers, body),) = receiver.got
    assert path == "/in?x=1" and body == RECORD and headers["Content-Type"] == "application/json"
    assert base64.b64decode(headers["Authorization"].split()[1]) == b"me:p@ss"
    assert delivery.figures() == {"title": "webhook", "sent": 1, "failed": 0, "dropped": 0}


@pytest.mark.parametrize(
    ("answers", "tries", "sent"), [([500, 503], 3, 1), ([500] * 9, TRIES, 0), ([404], 1, 0), ([302], 1, 0)]
)
def test_a_webhook_is_tried_again_where_that_is_of_use(receiver, answers, tries, sent):
    receiver.answers = list(answers)
    delivery = Delivery("webhook", f"http://{receiver.place}/")
    delivery.send(RECORD)
    delivery.end(10)
    assert len(receiver.got) == tries and delivery.figures()["sent"] == sent == 1 - delivery.figures()["failed"]
    assert {path for path, *_ in receiver.got} == {"/"}  # a redirection is not followed


def test_a_silent_receiver_holds_up_nothing(receiver, tmp_path):
    frames = np.tile(np.repeat([DARK, BRIGHT], 2), 15)
    film = tmp_path / "a.mp4"
    write_video(str(film), np.broadcast_to(frames[:, None, None, None], (60, 48, 64, 3)).astype(np.uint8), 60)
    receiver.answers = ["silence"] * 99
    watched = watch(str(film), tmp_path / "out", sinks={"webhook": f"http://{receiver.place}/"})
    latest = []
    real, watched.latency.add = watched.latency.add, lambda seconds: (latest.append(seconds), real(seconds))
    ended = []
    threading.Timer(3.0, receiver.release.set).start()
    watched.run(lambda: ended.append(len(receiver.got)) or False)
    assert watched.counters.scored == 60 and watched.counters.dropped == 0 and len(latest) == 60
    assert ended[-2] == 1  # all frames were through while the first event still waited for its answer
    accounted(watched.counters)


def test_what_waits_for_a_receiver_is_bounded(receiver):
    receiver.answers = ["silence"]
    delivery = Delivery("webhook", f"http://{receiver.place}/")
    for number in range(LISTED + 50):
        delivery.send({"id": number})
        while not receiver.got:
            time.sleep(0.01)
    assert delivery.figures()["dropped"] == 49
    receiver.release.set()
    delivery.end(20)
    assert [body["id"] for *_, body in receiver.got[-2:]] == [148, 149]


def test_a_command_gets_json_and_no_shell(tmp_path, capfd):
    out = tmp_path / "it has.json"
    code = f"import sys; open({str(out)!r}, 'w').write(sys.stdin.read() + repr(sys.argv[1:])); print('noise')"
    delivery = Delivery("command", f'{sys.executable} -c "{code}" "$HOME; echo x" \'a b\'')
    delivery.send(RECORD)
    delivery.end(30)
    text = out.read_text()
    assert json.loads(text[: text.index("}") + 1]) == RECORD and text.endswith("['$HOME; echo x', 'a b']")
    assert delivery.figures()["sent"] == 1 and "noise" not in capfd.readouterr().out


@pytest.mark.parametrize("line", ["/no/such/program", f"{sys.executable} -c 'raise SystemExit(3)'"])
def test_a_command_that_fails_is_counted_and_said(line, capsys):
    delivery = Delivery("command", line)
    delivery.send(RECORD)
    delivery.end(30)
    assert delivery.figures()["failed"] == 1 and "WARNING: command:" in capsys.readouterr().err


class Broker(threading.Thread):
    """One MQTT 3.1.1 client: CONNECT, PUBLISH with quality of service 1, DISCONNECT."""

    def __init__(self):
        super().__init__(daemon=True)
        self.door = socket.create_server(("127.0.0.1", 0))
        self.port, self.got, self.connect = self.door.getsockname()[1], [], b""

    def run(self):
        link, _ = self.door.accept()
        with link, link.makefile("rb") as stream:
            while head := stream.read(1):
                length = shift = 0
                while True:
                    byte = stream.read(1)[0]
                    length, shift = length + ((byte & 127) << shift), shift + 7
                    if byte < 128:
                        break
                body, kind = stream.read(length), head[0] >> 4
                if kind == 1:
                    self.connect = body
                    link.sendall(b"\x20\x02\x00\x00")
                elif kind == 3:
                    end = 2 + int.from_bytes(body[:2], "big")
                    self.got.append((body[2:end].decode(), json.loads(body[end + 2 :]), head[0] >> 1 & 3))
                    link.sendall(b"\x40\x02" + body[end : end + 2])


def test_an_event_is_published():
    pytest.importorskip("paho.mqtt", reason="no paho-mqtt here (pip install '.[mqtt]')")
    broker = Broker()
    broker.start()
    delivery = Delivery("mqtt", f"mqtt://me:p%40ss@127.0.0.1:{broker.port}/cameras/door")
    end = time.monotonic() + 20
    while not broker.connect and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.2)  # its answer
    delivery.send(RECORD)
    delivery.end(20)
    broker.join(10)
    assert broker.got == [("cameras/door", RECORD, 1)]
    assert b"p@ss" in broker.connect and b"me" in broker.connect
    assert delivery.figures()["sent"] == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("webhook", "file:///etc/passwd"),
        ("webhook", "http://"),
        ("webhook", "http://me:secret-word@host:port/"),
        ("command", "  "),
        ("command", "echo 'open"),
        ("mqtt", "mqtt://host"),
        ("mqtt", "mqtt://host/a/+"),
        ("mqtt", "mqtt://host/a/#"),
        ("mqtt", "http://host/a"),
    ],
)
def test_what_is_no_receiver_is_said(name, text):
    with pytest.raises(InputError, match=f"--{name}") as caught:
        SINKS[name].make(text)
    assert "secret-word" not in str(caught.value)
