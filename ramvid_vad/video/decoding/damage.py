"""What reading files and pictures has in common: the limit, the error, and hearing what FFmpeg says."""

from collections.abc import Iterator
from contextlib import contextmanager

MAX_PIXELS = 2**26
"""Pixels per frame above which a video is refused before memory is allocated (8192 x 8192, 192 MiB as RGB)."""
REMEDY = "copy it again from its source, re-encode it, or take it out of the data"
HARMLESS = (
    "mmco: unref short failure",  # a reference picture that is no longer needed was cut away
    "low_delay flag set incorrectly",  # a wrong flag in the header, put right
    "unable to decode APP fields",  # notes beside the picture
    *(f"{what} EXIF" for what in ("error decoding", "invalid TIFF header in", "not enough bytes remaining in")),
    "Header packet passed to frame decoder",  # the headers of the next part of a chained Ogg file
)
"""How messages of FFmpeg begin that it calls errors although every picture is right."""
MISSING_REFERENCE = ("Missing reference picture", "reference picture missing", "Could not find ref with POC")
"""How messages begin after which the picture leans on one that is not there."""

Message = tuple[str, str]
"""An error that FFmpeg reported: who (a demuxer's or decoder's name), text."""


class Damage(Exception):
    """What is wrong, in a few words; the caller adds the file, the frame and the remedy."""


def too_large(picture) -> Damage:
    """The Damage of something with a width and a height above MAX_PIXELS."""
    return Damage(f"claims {picture.width}x{picture.height}, above the limit of {MAX_PIXELS} pixels per frame")


def reason(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())


@contextmanager
def errors_said() -> Iterator[list[Message]]:
    """Collects FFmpeg's error messages on this thread; the list is filled when the block is left."""
    from av import logging

    if logging.get_level() != logging.ERROR:
        logging.set_level(logging.ERROR)
        logging.set_skip_repeated(False)
    said: list[Message] = []
    with logging.Capture(local=True) as logs:
        yield said
    said += [(who, " ".join(text.split())) for _, who, text in logs]
