"""Watching a stream with a fitted camera."""

from dataclasses import dataclass

from ramvid_vad.options.option import option


@dataclass
class WatchOptions:
    """Watching a stream: events as they happen, on standard output and in a folder."""

    source: str = option(
        "", "webcam number, rtsp:// or http(s):// address, or a file; may stand first, without --source"
    )
    model: str = option("", "folder that ramvid-vad fit wrote")
    out: str = option("watch", "folder for events by day, their pictures and clips, and the state; one watch each")
    name: str = option("", "what events call the camera; empty: the host, the file's name or webcamN")
    loop: bool = option(False, "play a file over and over")
    keep: str = option("14d", "how many days of events, pictures and clips to keep, e.g. 14d; empty: all")
    before: float = option(5.0, "how much of a clip lies before its event", unit="seconds", at_least=0, at_most=30)
    queue: int = option(
        8,
        "frames that may wait for scoring; when more come, the oldest is dropped and counted",
        at_least=1,
        at_most=250,
    )
    timeout: float = option(
        10.0, "how long a source may take to open, and be silent, before it counts as lost", unit="seconds", above=0
    )
    page: str = option(
        "",
        "port of the local page on 127.0.0.1, or ADDRESS:PORT, which asks for a token; 0: a free port; empty: no page",
    )
    webhook: str = option("", "http(s):// address that gets each event by POST, as JSON")
    command: str = option(
        "", "program, with arguments, that is run for each event, with the JSON on its standard input"
    )
    mqtt: str = option("", "mqtt(s)://[USER:PASSWORD@]HOST[:PORT]/TOPIC that each event is published to")
