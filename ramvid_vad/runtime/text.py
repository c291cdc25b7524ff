"""Text that others wrote or will read: file content, names, addresses, lines on a terminal, cells of a table."""

import codecs
import re
import unicodedata
import zlib
from urllib.parse import unquote

# control characters, line and paragraph separators, overrides of the writing direction, bytes that are no UTF-8
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = re.compile("'*[=+@-]")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_USER = re.compile(r"([a-z][a-z0-9+.-]*://)\S*@", re.IGNORECASE)
_QUERY = re.compile(r"([a-z][a-z0-9+.-]*://[^\s?]*\?)[^\s'\"]+", re.IGNORECASE)
_NAMED = re.compile(r"((?:pass|pwd|token|secret|auth|key)[a-z]*=)[^&\s/'\"]+", re.IGNORECASE)
SHORTEST = 4  # characters of a password that is sought in any text: a shorter one is in half of all words
LONGEST_NAME = 240  # bytes of one part of a path that leave room for an ending


def decode_text(content: bytes) -> str:
    """UTF-8 with or without a byte order mark, or UTF-16 with one (PowerShell's ``>``). UnicodeDecodeError."""
    return content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig")


def one_line(text: str) -> str:
    """``text`` with line ends and control characters written as escapes, so that it is one line on any terminal."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def plain_name(name: str) -> str:
    """A file's name as text for tables, logs and new files: composed (NFC); what cannot be shown is %XX of its bytes.

    A part of the path that grew too long for a file by this ends in a checksum.
    """
    if not _UNSAFE.search(name):
        return unicodedata.normalize("NFC", name)
    return "/".join(map(_escaped, unicodedata.normalize("NFC", name).split("/")))


def _escaped(part: str) -> str:
    safe = _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in _bytes(found[0])), part)
    if safe == part or len(safe.encode()) <= LONGEST_NAME:
        return safe
    checksum = zlib.crc32(b"".join(map(_bytes, part)))
    return f"{safe.encode()[: LONGEST_NAME - 10].decode(errors='ignore')}~{checksum:08x}"


def _bytes(character: str) -> bytes:
    kind = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return character.encode("utf-8", kind)


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


def csv_cell(text: str) -> str:
    """``text`` for a spreadsheet, which would compute a cell that begins with = + - or @: with an apostrophe before."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_csv_cell(cell: str) -> str:
    """What :func:`csv_cell` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def is_prose(content: bytes) -> bool:
    """Whether a text file is words, as a README, and no table of numbers: most of its words are no numbers."""
    try:
        words = decode_text(content).replace(",", " ").replace(";", " ").split()
    except UnicodeDecodeError:
        return False
    return 2 * sum(not is_number(word) for word in words) > len(words)


def is_number(word: str) -> bool:
    """Whether Python reads ``word`` as a number, nan and inf among them."""
    try:
        float(word)
    except ValueError:
        return False
    return True
