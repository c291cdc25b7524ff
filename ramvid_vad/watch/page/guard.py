"""Who may ask the local page for anything: nobody from another site, and elsewhere than on this machine only who knows
the token."""

import hmac
import ipaddress
import socket
from typing import Any
from urllib.parse import parse_qs

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI: passes on what may pass, and answers the rest with 400, 401 or 403.

    port: of the page.  token: "" asks for none.

    A request is refused whose Host is a name (DNS rebinding: another site whose name leads here) other than localhost
    or this machine's own, whose Origin is not the page itself, or of which the browser says that another site sent it
    (Sec-Fetch-Site). A POST must say its Origin.
    """

    def __init__(self, app: Any, port: int, token: str) -> None:
        self._app, self._token = app, token
        self._names = {"localhost", socket.gethostname().lower()} if token else {"localhost"}
        self._cookie = f"ramvid_vad_{port}"

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        from starlette.responses import PlainTextResponse, RedirectResponse

        if scope["type"] != "http":
            return
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        status, why = self._refusal(scope["method"], headers)
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0] if self._token else ""
        app = self._app
        if status:
            app = PlainTextResponse(f"{why}\n", status)
        elif given and scope["method"] == "GET" and scope["path"] == "/" and self._same(given):
            app = RedirectResponse("/", 303)  # so that the token does not stay in the address
            app.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
        elif self._token and not self._same(_cookie(headers.get("cookie", ""), self._cookie)):
            app = PlainTextResponse("open the address that ramvid-vad watch printed, with its token\n", 401)

        async def send_with_headers(message: dict) -> None:
            if message["type"] == "http.response.start":
                own = {key.lower().encode(): value.encode() for key, value in HEADERS.items()}
                message["headers"] = [pair for pair in message["headers"] if pair[0] not in own] + list(own.items())
            await send(message)

        await app(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: dict[str, str]) -> tuple[int, str]:
        """(0, ""): none."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_here(host):
            return 400, "this page answers to its address only"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return 403, "this page takes no request from another site"
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return 403, "this page takes no request from another site"
        if method not in ("GET", "HEAD") and origin is None:
            return 403, "a request that changes something must say where it comes from (Origin)"
        return 0, ""

    def _is_here(self, host: str) -> bool:
        """Whether a Host header names an IP address (no other site can have one of its own lead here) or this machine;
        without a token, an address of this machine alone."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        try:
            address = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return name.lower() in self._names
        return bool(self._token) or address.is_loopback

    def _same(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())


def _cookie(header: str, name: str) -> str:
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return next((value for key, _, value in pairs if key == name), "")
