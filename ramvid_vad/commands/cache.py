"""``ramvid-vad cache``: what the decoded frames take, and making room."""

import time

from ramvid_vad.loading import cache_folder
from ramvid_vad.options import RunOptions
from ramvid_vad.runtime.text import one_line
from ramvid_vad.video.cache_folder import entries, remove

GB = 1e9


def cache(parsed: RunOptions) -> None:
    """List the entries, or remove all of them or those above the limit, and say how much is left."""
    options = parsed.cache
    folder = cache_folder(options.cache_dir)
    if options.action == "list":
        for entry in entries(folder):
            used = time.strftime("%Y-%m-%d", time.localtime(entry.used))
            name = one_line(entry.path.rsplit("/", 1)[-1].rsplit("-", 1)[0])
            print(f"{entry.size / GB:10.3f} GB  last used {used}  {name}")
    else:
        gone = remove(folder, options.limit * GB if options.action == "prune" else 0)
        print(f"removed {len(gone)} entries, {sum(entry.size for entry in gone) / GB:.3f} GB")
    left = entries(folder)
    print(f"{len(left)} entries, {sum(entry.size for entry in left) / GB:.3f} GB in {folder}")
