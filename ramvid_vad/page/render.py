"""One self-contained HTML file: template, style and script, the data as JSON inside it."""

import html
import json
import re
from importlib.resources import files


def render(data: dict, page: str, folder: str) -> str:
    """The page of ``page``.html and ``page``.js in ``page_files`` of the Python package ``folder``.

    data: plain JSON types, with a ``title``. What names come from outside in it, the script sets as text, and here no
    tag can open. No NaN or infinity: ValueError.
    """
    shared, own = files(__package__) / "files", files(folder) / "page_files"
    names = (shared / "head.html", own / f"{page}.html", shared / "foot.html", shared / "page.css")
    names += (shared / "elements.js", shared / "base.js", shared / "curve.js", own / f"{page}.js")
    head, body, foot, css, *scripts = (name.read_text(encoding="utf-8") for name in names)
    text = json.dumps(data, sort_keys=True, allow_nan=False)  # ASCII: U+2028 and the like are escaped already
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    values = {"TITLE": html.escape(data["title"]), "CSS": css, "JS": "".join(scripts), "DATA": text}
    # in one pass: nothing that is put in is taken for a placeholder
    return re.sub(f"@({'|'.join(values)})@", lambda mark: values[mark[1]], head + body + foot)
