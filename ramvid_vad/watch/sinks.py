"""Where events go besides standard output and the folder: each receiver behind a thread of its own, with time limits.

A receiver that is dead or slow never holds up scoring: LISTED events wait for it, then the oldest is dropped and
counted; each is tried TRIES times.
"""

import base64
import http.client
import json
import shlex
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.text import hide, one_line
from ramvid_vad.watch.worker import Worker

TRIES, FIRST_WAIT = 3, 1.0
"""How often an event is sent at most; seconds before the second time, doubled before the third."""
SILENCE = 5.0  # seconds that a web server or broker may be silent
RUNTIME = 30.0  # seconds that a command may run
LISTED = 100  # events that wait for one receiver


class Refused(Exception):
    """It is of no use to send it again."""


class Sink(Protocol):
    """Takes one event. OSError: it did not arrive."""

    def send(self, record: dict[str, Any]) -> None: ...

    def close(self) -> None:
        """Nothing is held open."""


class Webhook(Sink):
    """POST of the JSON; user and password in the address become a Basic authorization."""

    def __init__(self, address: str) -> None:
        parts = _parts(address, "webhook", ("http", "https"))
        self._headers = {"Content-Type": "application/json", "User-Agent": "ramvid_vad"}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers["Authorization"] = "Basic " + base64.b64encode(login).decode()
        self._address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        opener = urllib.request.OpenerDirector()  # without redirections: where events go is not the server's to say
        for name in ("Proxy", "HTTP", "HTTPS", "HTTPDefaultError"):
            opener.add_handler(getattr(urllib.request, f"{name}Handler")())
        opener.add_handler(urllib.request.HTTPErrorProcessor())
        self._open = opener.open

    def send(self, record: dict[str, Any]) -> None:
        request = urllib.request.Request(self._address, json.dumps(record).encode(), self._headers, method="POST")
        try:
            with self._open(request, timeout=SILENCE):
                pass
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500:
                raise Refused(f"answers {error.code}") from None
            raise OSError(f"answers {error.code}") from None
        except http.client.HTTPException as error:
            raise OSError(f"answers no HTTP ({type(error).__name__})") from None


class Command(Sink):
    """A program without a shell, the JSON on its standard input; what it prints is thrown away."""

    def __init__(self, line: str) -> None:
        try:
            self._words = shlex.split(line)
        except ValueError as error:
            raise InputError(f"--command: {error}; quote it as for a shell") from None
        if not self._words:
            raise InputError("--command: give a program")

    def send(self, record: dict[str, Any]) -> None:
        given = json.dumps(record).encode()
        where = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        try:
            done = subprocess.run(self._words, input=given, timeout=RUNTIME, check=False, **where)
        except subprocess.TimeoutExpired:
            raise Refused(f"{self._words[0]} was ended after {RUNTIME:.0f} s") from None
        except OSError as error:
            raise Refused(f"{self._words[0]} cannot be run ({error.strerror})") from None
        if done.returncode:
            raise Refused(f"{self._words[0]} ended with exit code {done.returncode}")


class Mqtt(Sink):
    """Published to a topic, at least once (quality of service 1); needs paho-mqtt."""

    def __init__(self, address: str) -> None:
        parts = _parts(address, "mqtt", ("mqtt", "mqtts"))
        self._topic = unquote(parts.path[1:])
        if not self._topic or set("#+") & set(address.rpartition("@")[2]):
            raise InputError("--mqtt: give a topic to publish to, e.g. mqtt://broker/cameras/door")
        try:
            from paho.mqtt import client
        except ImportError:
            raise InputError("--mqtt needs paho-mqtt: pip install 'ramvid_vad[mqtt]'") from None
        self._client = client.Client(client.CallbackAPIVersion.VERSION2)
        self._client.max_queued_messages_set(LISTED)
        if parts.username is not None:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            self._client.tls_set()
        self._client.connect_async(parts.hostname, parts.port or (8883 if parts.scheme == "mqtts" else 1883))
        self._client.loop_start()  # connects, and again when the broker has gone

    def send(self, record: dict[str, Any]) -> None:
        sent = self._client.publish(self._topic, json.dumps(record).encode(), qos=1)
        try:
            sent.wait_for_publish(SILENCE)
        except RuntimeError as error:  # not connected: the client keeps it
            raise Refused(f"{error} The broker gets the event when it is back") from None
        if not sent.is_published():
            raise Refused("the broker does not answer; it gets the event when it does")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Entry(NamedTuple):
    """title: on the page and in messages.  make: from the option's text; InputError."""

    title: str
    make: Callable[[str], Sink]


SINKS = {  # name of its option -> how it is made
    "webhook": Entry("webhook", Webhook),
    "command": Entry("command", Command),
    "mqtt": Entry("MQTT", Mqtt),
}


class Delivery:
    """One receiver behind its thread."""

    def __init__(self, name: str, text: str) -> None:
        self._sink = SINKS[name].make(text)
        self._worker = Worker(SINKS[name].title, LISTED, lambda told: one_line(hide(told, text)))
        self._ending = threading.Event()

    def send(self, record: dict[str, Any]) -> None:
        """Never waits."""
        self._worker.add(lambda: self._deliver(record))

    def end(self, patience: float) -> None:
        """Give what waits at most ``patience`` seconds."""
        self._worker.end(patience)
        self._ending.set()
        self._sink.close()

    def figures(self) -> dict[str, Any]:
        """For the page and the summary."""
        worker = self._worker
        return {"title": worker.title, "sent": worker.done, "failed": worker.failed, "dropped": worker.dropped}

    def _deliver(self, record: dict[str, Any]) -> None:
        for left in reversed(range(TRIES)):
            try:
                return self._sink.send(record)
            except Refused:
                raise
            except OSError:
                if not left or self._ending.wait(FIRST_WAIT * 2 ** (TRIES - 1 - left)):
                    raise


def _parts(address: str, flag: str, schemes: tuple[str, ...]) -> Any:
    """InputError: not an address of these schemes."""
    try:
        parts = urlsplit(address)
        good = parts.scheme in schemes and parts.hostname and (parts.port or 1)
    except ValueError:
        good = False
    if not good:
        example = f"{schemes[0]}://host:port/path"
        raise InputError(f"--{flag} {hide(address, address)}: not an address like {example}")
    return parts
