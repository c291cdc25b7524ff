"""A camera that speaks RTSP: GStreamer's server sends the H.264 of one Matroska file at its own rate to who asks.

    /usr/bin/python3 tests/reliability/rtsp_server.py FILE.mkv

Needs Debian's python3-gi, gir1.2-gst-rtsp-server-1.0 and gstreamer1.0-plugins-base, -good and -bad, and with them the
system's own Python; prints its port, and then "open" or "shut" after each line of that word on standard input. Each
connection begins at the file's start; while it is shut none is taken, and those there are have ended.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)


def main() -> None:
    server = GstRtspServer.RTSPServer()
    server.set_service("0")
    server.set_address("127.0.0.1")
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f'( filesrc location="{sys.argv[1]}" ! matroskademux ! h264parse ! rtph264pay name=pay0 pt=96 )')
    points = server.get_mount_points()
    points.add_factory("/live", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)

    def told(stream, _):
        word = stream.readline().strip()
        if word == "shut":
            points.remove_factory("/live")
            server.client_filter(lambda *_: GstRtspServer.RTSPFilterResult.REMOVE)
        elif word == "open":
            points.add_factory("/live", factory)
        else:
            loop.quit()
            return False
        print(word, flush=True)
        return True

    loop = GLib.MainLoop()
    GLib.io_add_watch(sys.stdin, GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, told)
    loop.run()


if __name__ == "__main__":
    main()
