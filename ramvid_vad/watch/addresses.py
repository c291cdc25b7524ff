"""What may be said of an address: all but its passwords."""

import re
from urllib.parse import unquote

_USER = re.compile(r"([a-z][a-z0-9+.-]*://)\S*@", re.IGNORECASE)
_QUERY = re.compile(r"([a-z][a-z0-9+.-]*://[^\s?]*\?)[^\s'\"]+", re.IGNORECASE)
_NAMED = re.compile(r"((?:pass|pwd|token|secret|auth|key)[a-z]*=)[^&\s/'\"]+", re.IGNORECASE)
SHORTEST = 4  # characters of a password that is sought in any text: a shorter one is in half of all words


def hide(text: str, *addresses: str) -> str:
    """``text`` without user names, passwords and queries of the addresses in it.

    Everything up to the last @ of an address goes (a password may hold any sign), everything after its first ?, and
    the values of ``password=`` and the like, which some cameras have in their paths. addresses: those whose passwords
    are sought in all of the text, as they stand and decoded.
    """
    for address in addresses:
        for password in _passwords(address):
            text = text.replace(password, "***")
    text = _USER.sub(r"\1***@", text)
    return _NAMED.sub(r"\1***", _QUERY.sub(r"\1***", text))


def _passwords(address: str) -> list[str]:
    """Passwords of SHORTEST characters or more, as written and decoded, the longest first."""
    user, at, _ = address.rpartition("@")
    found = {user.partition("://")[2].partition(":")[2]} if at else set()
    found |= {match[0].partition("=")[2] for match in _NAMED.finditer(address)}
    return sorted((p for p in found | set(map(unquote, found)) if len(p) >= SHORTEST), key=len, reverse=True)
