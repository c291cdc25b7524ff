"""Small servers on this machine: a camera that sends motion JPEG, a receiver of webhooks."""

import contextlib
import io
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


def jpegs(values) -> list[bytes]:
    """A grey picture of each value, 64 x 48."""
    found = []
    for value in values:
        file = io.BytesIO()
        Image.fromarray(np.full((48, 64, 3), value, np.uint8)).save(file, "jpeg")
        found.append(file.getvalue())
    return found


@contextlib.contextmanager
def served(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def motion_jpeg(connections: list[list[bytes]], rate: float = 100.0):
    """Each connection gets the next list of pictures at ``rate`` a second, then it is cut. server.sent: whole pictures;
    server.asked: requests. After the last list every connection is refused."""

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self):
            number, self.server.asked = self.server.asked, self.server.asked + 1
            if number >= len(connections):
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for content in connections[number]:
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
                try:
                    self.wfile.write(head.encode() + content + b"\r\n")
                except OSError:  # the watch has gone
                    return
                self.server.sent += 1
                time.sleep(1 / rate)

        def log_message(self, *_):
            pass

    with served(Camera) as server:
        server.sent = server.asked = 0
        server.address = f"127.0.0.1:{server.server_address[1]}"
        yield server
