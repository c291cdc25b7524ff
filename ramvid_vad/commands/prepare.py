"""``prepare_data.py``: a data set as its authors offer it -> checked, and in the one standard layout."""

from ramvid_vad.errors import InputError
from ramvid_vad.options import PrepareOptions, RunOptions
from ramvid_vad.video.benchmarks import BENCHMARKS, check, find, write_standard
from ramvid_vad.video.benchmarks.standard import free_place


def prepare(parsed: RunOptions) -> None:
    """Find, decode, count and compare; then write, unless ``--out`` is empty."""
    options: PrepareOptions = parsed.prepare
    if not options.name:
        raise InputError(f"which data set? Give one of {', '.join(BENCHMARKS)}")
    if not options.source:
        raise InputError("--source: give the folder into which the data set was unpacked")
    benchmark = BENCHMARKS[options.name]
    try:
        found = find(benchmark, options.source)
        print(f"{benchmark.title} in {options.source}: {found.layout} layout")
        if options.out:
            free_place(options.out)  # before all videos are decoded, which may take hours
        checked = check(benchmark, found, options.partial)
    except OSError as error:
        raise InputError(
            f"{error.filename}: cannot be read ({error.strerror}); give access to it, repair the link or take it away"
        ) from error
    if options.out:
        write_standard(benchmark, found, checked, options.source, options.out, link=options.place == "link")
    for note in checked.notes:
        print(f"note: {note}")
    print(f"written: {options.out}" if options.out else "all checked; nothing written (give --out)")
    if benchmark.citation:
        print(f"cite: {benchmark.citation}")
