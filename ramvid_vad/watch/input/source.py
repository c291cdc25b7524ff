"""A webcam, a stream or a file by FFmpeg: one connection to it, picture by picture, with time limits."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.text import hide, one_line, plain_name
from ramvid_vad.video.decoding.damage import MAX_PIXELS, errors_said, reason
from ramvid_vad.video.reader import rgb_and_luma
from ramvid_vad.watch.counters import Counters

_NETWORK = {  # scheme -> FFmpeg's options: what it may open for it, and nothing else (a playlist may not name files)
    "rtsp": {"rtsp_transport": "tcp", "protocol_whitelist": "rtp,tcp,udp"},
    "rtsps": {"rtsp_transport": "tcp", "protocol_whitelist": "rtp,tcp,udp,tls"},
    "http": {"protocol_whitelist": "http,https,tcp,tls,crypto"},
    "https": {"protocol_whitelist": "https,tcp,tls,crypto"},
}


class Lost(Exception):
    """The source cannot be opened, or has broken off. Its text holds no password."""


@dataclass(frozen=True)
class Source:
    """address: what FFmpeg opens.  shown: what people are told.  name: a short one.  kind: "webcam", "stream" or
    "file".  options: FFmpeg's."""

    address: str = field(repr=False)
    shown: str
    name: str
    kind: str
    options: dict[str, str]


def find_source(text: str) -> Source:
    """What stands on the command line. InputError: no such file, another kind of address."""
    if re.fullmatch(r"\d{1,3}", text):
        return Source(f"/dev/video{text}", f"webcam {text}", f"webcam{text}", "webcam", {})
    scheme, colon, _ = text.partition("://")
    if colon:
        shown = one_line(hide(text, text))
        if scheme.lower() not in _NETWORK:
            raise InputError(f"{shown}: cannot be watched: give a webcam's number, rtsp://, http:// or a file")
        try:
            host = urlsplit(shown).hostname
        except ValueError:
            host = None
        if not host:
            raise InputError(f"{shown}: no host in this address")
        return Source(text, shown, host, "stream", dict(_NETWORK[scheme.lower()]))
    if not os.path.isfile(text):
        raise InputError(f"{text}: no such file; give a webcam's number, rtsp://, http:// or a file")
    name = plain_name(os.path.splitext(os.path.basename(text))[0])
    return Source(os.path.abspath(text), plain_name(text), name, "file", {"protocol_whitelist": "file"})


class Connection:
    """A source while it is open.

    lasts: it has an end and comes as fast as it is read (a file, a video on a web server), and is to be played at its
    rate; else it is live.  segments: it is live and comes some seconds at once (HLS), which are to be played at their
    rate too.  Lost: it cannot be opened within ``timeout`` seconds.
    """

    def __init__(self, source: Source, timeout: float, counters: Counters) -> None:
        import av

        self._source, self._counters = source, counters
        counters.connections += 1
        with errors_said() as said:
            try:
                self._container, failure = (
                    av.open(
                        source.address,
                        format="v4l2" if source.kind == "webcam" else None,
                        options=source.options,
                        timeout=(timeout, timeout),
                        metadata_errors="replace",
                    ),
                    None,
                )
            except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
                failure = error
        if failure:
            told = said[-1][1] if said else reason(failure)
            raise self._lost(f"cannot be opened: {told}")
        try:
            if not self._container.streams.video:
                raise self._lost("no video in it")
            self._stream = self._container.streams.video[0]
            codec = self._stream.codec_context
            if codec is None:
                raise self._lost("its video codec is not supported")
            codec.options = {"max_pixels": str(MAX_PIXELS)}
            codec.thread_count = 1  # what FFmpeg says of a packet is heard on this thread
        except Lost:
            self._container.close()
            raise
        # RTSP is paced by its server; some tell a length of what is live
        on_the_web = source.address[:4].lower() == "http" and self._container.duration is not None
        self.lasts = source.kind == "file" or (source.kind == "stream" and on_the_web)
        self.segments = not self.lasts and self._container.format.name == "hls"

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()

    def pictures(self) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
        """Seconds since the first picture by the source's own clock, RGB, uint8 (H, W, 3), and luma, uint8 (H, W, 1),
        until the source's end.

        A packet that gives no picture, or one that FFmpeg marks as corrupt, is counted as lost. Lost: it broke off.
        """
        counters, received, read = self._counters, 0, 0
        first, rate = None, float(self._stream.average_rate or 0) or 25.0
        try:
            for packet in self._packets():
                if packet is not None and packet.size:
                    received += 1
                    counters.received += 1
                for picture in self._decoded(packet):
                    if picture.is_corrupt:
                        continue
                    rgb, luma = rgb_and_luma(picture)
                    if rgb.dtype != np.uint8:
                        raise InputError(f"{self._source.shown}: its samples have 16 bits; watch takes 8")
                    time = read / rate if picture.time is None else picture.time
                    first = time if first is None else first
                    read += 1
                    counters.read += 1
                    yield time - first, rgb, luma
        finally:
            counters.lost += max(received - read, 0)
            counters.received += max(read - received, 0)  # several pictures in one packet

    def _packets(self) -> Iterator:
        """Packets of the stream, then None, for which the decoder gives what it holds; then Lost if it broke off."""
        import av

        packets = self._container.demux(self._stream)
        while True:
            with errors_said() as said:
                try:
                    packet, failure = next(packets, None), None
                except (av.FFmpegError, OSError) as error:
                    failure = error
            if failure:
                yield None
                raise self._lost(said[-1][1] if said else reason(failure))
            if packet is None:
                return  # the demuxer's own last packet is empty
            yield packet

    def _decoded(self, packet) -> list:
        """The pictures that come out when a packet goes in; none from a damaged one."""
        import av

        with errors_said():
            try:
                return self._stream.codec_context.decode(packet)
            except (av.FFmpegError, OSError, EOFError):
                return []

    def _lost(self, why: str) -> Lost:
        return Lost(hide(one_line(why), self._source.address))
