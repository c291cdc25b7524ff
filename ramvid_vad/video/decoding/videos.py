"""Video files -> decoded pictures, exactly those that FFmpeg shows, or a Damage.

What is damaged is FFmpeg's to say. It decodes as its command-line tool does, with one thread, so that what it says
belongs to the packet just given. An error that its demuxer or decoder reports, a packet or picture that it marks as
corrupt, fewer packets than the container's index lists, and fewer pictures than packets are damage. What a cut
between two pictures leaves behind is not: pictures before the first key picture, and those that come after it in the
file but are shown before it (the leading pictures of an open group), lean on what was cut away. FFmpeg shows them as
well as it can, or not at all; when the first picture comes out it has passed over all that it will pass over.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from ramvid_vad.video.decoding.containers import structural_damage
from ramvid_vad.video.decoding.damage import (
    HARMLESS,
    MAX_PIXELS,
    MISSING_REFERENCE,
    Damage,
    Message,
    errors_said,
    reason,
    too_large,
)

# Playlists and image patterns, which make FFmpeg open further files, are not among the formats.
FORMATS = (
    "mov,matroska,avi,gif,mpeg,mpegts,mpegvideo,m4v,asf,flv,ogg,dhav,mxf,ivf,obu,h264,hevc,mjpeg,mpjpeg,dv,nut,wtv,rm,"
    "yuv4mpegpipe"
)
CUT_ANYWHERE = frozenset(["mpegts", "mpeg", "mpegvideo", "h264", "hevc", "dhav"])
"""Formats whose recordings begin wherever the receiver was switched on, not at a key picture."""
HIDDEN_FRAMES = frozenset(["vp8"])
"""Codecs whose packets may hold only a reference picture that is never shown."""
EMPTY_PICTURES = {"mpeg4": 16, "msmpeg4v3": 16}
"""Codecs with placeholder packets for "same picture again", and their largest size in bytes."""


def pictures(local: str, note: Callable[[str], None], tick: Callable[[], object] = lambda: None) -> Iterator[Any]:
    """Decoded pictures (av.VideoFrame) of a local file; Damage where one is missing or damaged.

    note: is told, in a few words, what a healthy file holds that is not shown.  tick: called now and then while it is
    looked through before the first picture.
    """
    if not os.path.isfile(local):
        raise Damage("neither a file nor a folder" if os.path.exists(local) else "does not exist")
    if os.path.getsize(local) == 0:
        raise Damage("an empty file (0 bytes)")
    if wrong := structural_damage(local):
        raise Damage(wrong)
    container, said = open_video(local)
    with container:
        stream = container.streams[choose_stream(container, local, said, note, tick)]
        stream.codec_context.options = {"err_detect": "crccheck", "max_pixels": str(MAX_PIXELS)}
        stream.codec_context.thread_count = 1
        watch = _Watch(container, stream, said)
        for packet in _packets(container, stream, watch):
            for picture in _decoded(packet, watch):
                if picture.width * picture.height > MAX_PIXELS:
                    raise too_large(picture)
                watch.shown(picture)
                yield picture
        watch.ended()
        for line in watch.left_out():
            note(line)


def open_video(local: str) -> tuple[Any, list[Message]]:
    """The container of a local file, opened without following anything that it refers to, and the errors meanwhile.

    Damage: it cannot be opened.
    """
    import av

    with errors_said() as said:
        try:
            container = av.open(
                os.path.abspath(local),  # a bare name with a colon in it would be taken for a protocol
                format="mjpeg" if local.lower().endswith((".mjpeg", ".mjpg")) else None,  # or it is taken for a picture
                options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
                metadata_errors="replace",
            )
        except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
            failure = error
        else:
            failure = None
    if failure:
        told = said[0][1] if said else reason(failure)
        told = "its content is no known video container" if "whitelist" in told else told
        raise Damage(f"cannot be opened as a video ({told})") from failure
    return container, said


def choose_stream(
    container,
    local: str,
    said: list[Message],
    note: Callable[[str], None] = lambda line: None,
    tick: Callable[[], object] = lambda: None,
) -> int:
    """The index of the video stream to read: the largest picture among those with most packets, covers left out.

    said: the errors while it was opened.  Where there are several the whole file is read for it, and tick called for
    each packet.  Damage: there is none.
    """
    from av.stream import Disposition

    found = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not found:
        kinds = sorted({"a cover" if s.type == "video" else s.type for s in container.streams}) or ["nothing"]
        raise Damage(f"no video stream in it, only {', '.join(kinds)}")
    known = [stream for stream in found if stream.codec_context is not None]
    if not known:
        raise Damage("its video codec is not supported")
    sized = [stream for stream in known if stream.codec_context.width * stream.codec_context.height]
    if not sized:
        raise Damage(f"no valid picture size in its header ({said[0][1] if said else 'none given'})")
    best = sized[0]
    if len(sized) > 1:
        packets = _count_packets(local, [stream.index for stream in sized], tick)
        enough = [stream for stream in sized if 2 * packets[stream.index] >= max(packets.values(), default=0)]
        best = max(enough, key=lambda s: (s.codec_context.width * s.codec_context.height, packets[s.index], -s.index))
        others = ", ".join(_describe(stream, packets) for stream in sized if stream is not best)
        note(f"of {len(sized)} video streams {_describe(best, packets)} is read, not {others}")
    if best.codec_context.width * best.codec_context.height > MAX_PIXELS:
        raise too_large(best.codec_context)
    if best.metadata.get("alpha_mode", best.metadata.get("ALPHA_MODE")) == "1" and best.codec_context.name[:2] == "vp":
        note("its transparency is not read and the colours are taken as they are: FFmpeg's decoder passes over it")
    return best.index


def _count_packets(local: str, streams: list[int], tick: Callable[[], object]) -> Counter:
    """Packets of each of the streams; what is damaged shows when they are decoded."""
    import av

    counted = Counter()
    with errors_said(), open_video(local)[0] as container:
        try:
            for packet in container.demux([container.streams[index] for index in streams]):
                counted[packet.stream_index] += packet.size > 0
                tick()
        except av.FFmpegError:
            pass
    return counted


def _describe(stream, packets: Counter) -> str:
    codec = stream.codec_context
    return f"number {stream.index} ({codec.width}x{codec.height}, {packets[stream.index]} pictures)"


def _packets(container, stream, watch: "_Watch") -> Iterator[Any]:
    import av

    packets = container.demux(stream)
    while True:
        with errors_said() as said:
            try:
                packet, failure = next(packets, None), None
            except av.FFmpegError as error:
                failure = error
        if failure:
            raise Damage(f"cannot be read after frame {watch.frames} ({said[0][1] if said else reason(failure)})")
        if packet is None:
            return
        watch.read(packet, said)
        yield packet


def _decoded(packet, watch: "_Watch") -> list[Any]:
    """The pictures that come out when a packet goes in."""
    import av

    with errors_said() as said:
        try:
            found, failure = packet.decode(), None
        except av.FFmpegError as error:
            found, failure = [], error
    texts = [text for _, text in said if not text.startswith(HARMLESS)]
    if failure and not said:
        texts = [reason(failure)]
    if texts:
        watch.error(packet, min(texts, key=lambda text: text.startswith(MISSING_REFERENCE)))
    return found


class _Watch:
    """What was read and shown, and whether an error is damage."""

    def __init__(self, container, stream, said: list[Message]):
        """said: the errors while the container was opened."""
        self.container, self.stream, self.codec = container, stream, stream.codec_context.name
        self.others = {s.codec_context.name for s in container.streams if s.codec_context} - {self.codec}
        self.packets = self.frames = 0
        self.outside = 0  # packets that an edit list cuts away
        self.missing = 0  # packets that should give a picture, less the pictures that came
        self.delay = 0  # the same when the first picture came: those cut off from their reference, and those in work
        self.keys = 0
        self.first_key: int | None = None  # presentation time
        self.trailing = False  # a packet that is shown after the first key picture was read
        self.tolerated = ""  # the first error in the head
        self.without_reference = 0  # packets before the first picture that lack one they lean on
        self.doubtful: int | None = None  # packets since one that is marked corrupt
        self.fields = False  # interlaced: two packets may be one picture
        by_container = [text for who, text in said if who == container.format.name]
        if by_container and not self._is_mp4():
            raise Damage(f"damaged ({by_container[0]})")
        # Not the header's count: an edit list may leave out samples of an mp4, and an avi counts repeats without data.
        # But mp4 tables that are odd and harmless are reported like damaged ones: these are held to the header.
        listed = sum(entry.size > 0 for entry in stream.index_entries)
        self.promised = stream.frames if by_container else listed

    def _is_mp4(self) -> bool:
        return self.container.format.name.startswith("mov")

    def _in_head(self, time: int | None) -> bool:
        """Whether what is shown then may lean on what was cut away; in Matroska leading pictures may have no time."""
        if not self.keys:
            return self.container.format.name in CUT_ANYWHERE
        if self.keys > 1 or self.first_key is None:
            return False
        return not self.trailing if time is None else time < self.first_key

    def read(self, packet, said: list[Message]) -> None:
        if packet.size and packet.is_keyframe:
            self.first_key = packet.pts if not self.keys else self.first_key
            self.keys += 1
        elif packet.size and self.first_key is not None and packet.pts is not None:
            self.trailing = self.trailing or packet.pts > self.first_key
        for who, text in said:
            if who == self.container.format.name:
                raise Damage(f"damaged after frame {self.frames} ({text})")
            if who not in self.others and not text.startswith(HARMLESS):  # the decoder's parser
                self.error(packet, text)
        if not packet.size:
            return
        self._check_joints(packet)
        self.packets += 1
        if packet.is_discard:
            self.outside += 1
        elif packet.size > EMPTY_PICTURES.get(self.codec, 0):
            self.missing += 1

    def _check_joints(self, packet) -> None:
        """MPEG-TS parts joined end to end jump in their packet counters: the last pictures before are marked corrupt.

        Where the decoder finds nothing wrong with them and a key picture follows, nothing was lost.
        """
        if self.doubtful is not None:
            self.doubtful += 1
            if packet.is_keyframe:
                self.doubtful = None
            elif self.doubtful > 2:
                raise Damage(f"damaged at frame {self.frames} (corrupt packet)")
        if packet.is_corrupt and not self._in_head(packet.pts):
            self.doubtful = 0

    def error(self, packet, text: str) -> None:
        """Refuse an error of the decoder that no cut explains. text: the worst of what it said of this packet."""
        if packet.size and self._in_head(packet.pts):
            self.tolerated = self.tolerated or text
        elif packet.size and not self.frames and text.startswith(MISSING_REFERENCE):
            self.without_reference += 1
        else:
            raise Damage(f"damaged at frame {self.frames} ({text})")

    def shown(self, picture) -> None:
        if picture.is_corrupt and not self._in_head(picture.pts):
            raise Damage(f"damaged at frame {self.frames} (corrupt picture)")
        self.missing -= 1
        self.delay = self.delay if self.frames else self.missing
        self.frames += 1
        self.fields = self.fields or picture.interlaced_frame

    def ended(self) -> None:
        if self.packets < self.promised:
            raise Damage(f"truncated: it should hold {self.promised} pictures, {self.packets} can be read")
        if self.doubtful is not None:
            raise Damage(f"damaged at frame {self.frames} (corrupt packet)")
        if self.tolerated and not (self.keys and self.frames):
            raise Damage(f"none of its {self.packets} pictures can be decoded ({self.tolerated})")
        if self.without_reference > max(self.missing, 0):  # what comes up slowly after a cut is not shown; this was
            raise Damage("damaged at frame 0 (missing reference picture)")
        if self.fields or self.codec in HIDDEN_FRAMES:
            self.missing = 0
        if self.missing > self.delay:
            raise Damage(f"{self.missing} of its {self.packets} pictures do not decode")

    def left_out(self) -> Iterator[str]:
        """What is healthy and not shown, in a few words each."""
        if self.missing > 0:
            yield f"{self.missing} of its {self.packets} pictures lean on others that were cut away and are not shown"
        listed = self.stream.frames if self._is_mp4() else 0
        if outside := max(listed - self.packets, 0) + self.outside:
            yield f"{outside} of its {max(listed, self.packets)} pictures lie outside its edit list and are not shown"
