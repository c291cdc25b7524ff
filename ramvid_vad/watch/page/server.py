"""The local page of a watch: picture, rolling score, events, health, figures, and the button "this is normal"."""

import ipaddress
import os
import re
import secrets
import shutil
import socket
import threading
from importlib.resources import files
from typing import Any

from ramvid_vad import page as pages
from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import replacing, sha256_of
from ramvid_vad.watch.loop import Watch
from ramvid_vad.watch.page.guard import Guard

OWN, SHARED = files(__package__) / "page_files", files(pages) / "files"
PARTS = {  # name: where it lies, what it is
    "page.html": (OWN, "text/html"),
    "page.css": (OWN, "text/css"),
    "elements.js": (SHARED, "text/javascript"),
    "page.js": (OWN, "text/javascript"),
}
MOST_SENT = 1024  # bytes of what the button sends
NORMAL = "normal_added"  # folder in the camera's one: what ramvid-vad fit --add takes


class Page:
    """Serves until :meth:`close`, on a thread of its own.

    place: PORT (on 127.0.0.1) or ADDRESS:PORT.  camera: the folder that fit wrote, where normal clips go.
    address: for a browser, with the token if it needs one.
    InputError: the address is not one, is taken, or starlette and uvicorn are missing.
    """

    def __init__(self, place: str, watch: Watch, camera: str) -> None:
        host, port = _place(place)
        try:
            import uvicorn
            from starlette.applications import Starlette
        except ImportError:
            raise InputError("--page needs starlette and uvicorn: pip install 'ramvid_vad[watch]'") from None
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(f"--page {place}: cannot listen there ({why}); give another port") from None
        port = self._socket.getsockname()[1]
        token = "" if ipaddress.ip_address(host).is_loopback else secrets.token_urlsafe(32)
        self._watch, self._camera = watch, camera
        app = Guard(Starlette(routes=self._routes()), port, token)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", ws="none", server_header=False, limit_concurrency=64
        )
        self._server = uvicorn.Server(config)
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it; a request under way may finish."""
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(5.0)
        self._socket.close()

    def _routes(self) -> list[Any]:
        from starlette.routing import Route

        found = [Route("/", self._part), Route("/{name}", self._part)]
        found[:0] = [
            Route("/live.jpg", self._picture),
            Route("/status.json", self._status),
            Route("/events/{name}", self._event_file),
            Route("/normal", self._normal, methods=["POST"]),
        ]
        return found

    def _part(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse, Response

        name = request.path_params.get("name", "page.html")
        if name not in PARTS:
            return PlainTextResponse("no such page\n", 404)
        folder, kind = PARTS[name]
        return Response((folder / name).read_bytes(), media_type=kind)

    def _picture(self, request: Any) -> Any:
        from starlette.responses import Response

        picture = self._watch.board.picture()
        return Response(picture or b"", 200 if picture else 404, media_type="image/jpeg")

    def _status(self, request: Any) -> Any:
        from starlette.responses import JSONResponse

        return JSONResponse(self._watch.board.status())

    def _event_file(self, request: Any) -> Any:
        """Picture or clip of one of the shown events, by its number: no part of a path comes from outside."""
        from starlette.responses import FileResponse, PlainTextResponse

        asked = re.fullmatch(r"(\d{1,12})\.(jpg|normal\.jpg|mp4)", request.path_params["name"])
        event = self._watch.board.event(int(asked[1])) if asked else None
        path = self._watch.folder.existing(event, asked[2]) if event else ""
        return FileResponse(path) if path else PlainTextResponse("not there (yet)\n", 404)

    async def _normal(self, request: Any) -> Any:
        """{"id": 12}: copy the clip of event 12 to where ramvid-vad fit --add finds it."""
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import JSONResponse, PlainTextResponse

        if request.headers.get("content-type") != "application/json":
            return PlainTextResponse("JSON, please\n", 415)
        content = b""
        async for block in request.stream():
            content += block
            if len(content) > MOST_SENT:
                return PlainTextResponse("too long\n", 413)
        asked = re.fullmatch(rb'\s*\{\s*"id"\s*:\s*(\d{1,12})\s*\}\s*', content)
        if not asked:
            return PlainTextResponse('expected {"id": NUMBER}\n', 400)
        status, said = await run_in_threadpool(self._keep_as_normal, int(asked[1]))
        return JSONResponse({"said": said}, status)

    def _keep_as_normal(self, number: int) -> tuple[int, str]:
        """Status and a sentence for people."""
        event = self._watch.board.event(number)
        clip = self._watch.folder.existing(event, "mp4") if event and event["kind"] == "anomaly" else ""
        if not clip:
            return 404, "This event has no clip (yet)."
        folder = os.path.join(self._camera, NORMAL)
        try:
            # watches of several folders may share a camera: their events have the same numbers
            name = f"{event['start'][:10]}_{number:06d}_{sha256_of([clip])[:8]}.mp4"
            os.makedirs(folder, exist_ok=True)
            with replacing(os.path.join(folder, name)) as temporary:
                shutil.copyfile(clip, temporary)
            self._watch.call_normal(event, name)
        except OSError as error:
            return 500, f"It could not be stored ({error.strerror})."
        return 200, f"Stored as {NORMAL}/{name}. It counts once you run: ramvid-vad fit --add"


def _place(text: str) -> tuple[str, int]:
    """PORT or ADDRESS:PORT; an IPv6 address in brackets. InputError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    host = "127.0.0.1" if host == "localhost" else host
    try:
        ipaddress.ip_address(host)
        if not (port.isdecimal() and int(port) < 65536):
            raise ValueError
    except ValueError:
        raise InputError(f"--page {text}: give a port, e.g. 8642, or ADDRESS:PORT, e.g. 0.0.0.0:8642") from None
    return host, int(port)
