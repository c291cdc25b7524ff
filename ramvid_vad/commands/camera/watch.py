"""``ramvid-vad watch``: a stream and a fitted camera -> events as they happen."""

import os
import sys

from ramvid_vad.errors import InputError
from ramvid_vad.events.camera import Camera
from ramvid_vad.options import RunOptions
from ramvid_vad.runtime.progress import say, warn
from ramvid_vad.runtime.signals import finishing
from ramvid_vad.runtime.text import hide
from ramvid_vad.watch.folder import days_to_keep
from ramvid_vad.watch.input.source import find_source
from ramvid_vad.watch.loop import Settings, Watch
from ramvid_vad.watch.sinks import SINKS


def watch(run: RunOptions) -> None:
    """Watch until the source ends, or SIGINT or SIGTERM comes; then say what became of every frame.

    Events go to standard output, all else to standard error.
    """
    options = run.watch
    if run.dry_run:
        print(hide(run.as_yaml(), options.source, options.webhook, options.mqtt))
        return
    if not options.source:
        raise InputError("which source? ramvid-vad watch WEBCAM_NUMBER_OR_ADDRESS_OR_FILE --model camera/")
    if not options.model:
        raise InputError("--model: give the folder of a fitted detector (ramvid-vad fit ... --out camera/)")
    source = find_source(options.source)
    settings = Settings(
        name=options.name or source.name,
        out=options.out,
        keep=days_to_keep(options.keep),
        before=options.before,
        queue=options.queue,
        timeout=options.timeout,
        again=options.loop,
        sinks={name: getattr(options, name) for name in SINKS if getattr(options, name)},
    )
    watched = Watch(Camera.load(options.model), source, settings)
    page = None
    if options.page:
        from ramvid_vad.watch.page.server import Page

        page = Page(options.page, watched, os.path.abspath(options.model))
        say(f"page: {page.address}", sys.stderr)
    say(f"{source.shown}: watched as {settings.name!r}; events go to {options.out}", sys.stderr)
    try:
        with finishing(warn, "frame") as stop:
            watched.run(lambda: bool(stop))
    finally:
        if page:
            page.close()
        for line in watched.summary():
            say(line, sys.stderr)
