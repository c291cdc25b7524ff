"""Videos: where they are, how they are read, and public data sets brought into one layout."""

from dataclasses import dataclass

from ramvid_vad.options.option import MOST_FRAMES, option


@dataclass
class VideoOptions:
    """Where the videos are and how they are read."""

    data_dir: str = option("", "folder of videos (mp4 avi mkv gif ...) or of folders of frames; local or remote")
    only: str = option("", "a part of the videos, by name: 01,cam2/*, or a text file with a name per line; empty: all")
    seq_len: int = option(30, "frames of one window (T)", unit="frames", at_least=1, at_most=MOST_FRAMES)
    keep_aspect: bool = option(False, "keep the aspect ratio and crop the centre; False: squeeze to --image_size")
    cache_dir: str = option("", "decoded frames; empty: $XDG_CACHE_HOME or ~/.cache, ramvid_vad/frames")
    cache_limit: float = option(
        100.0,
        "above this, decoded frames that no run used for a day are removed, the longest unused first; 0: never",
        unit="GB",
        at_least=0,
    )
    num_workers: int = option(
        0, "processes that decode, threads that prepare batches; 0: all cores, and none", at_least=0, at_most=1024
    )
    decode_timeout: float = option(
        120.0,
        "a decoder that gives no new frame for this long is cut off, its video is damaged",
        unit="seconds",
        above=0,
        at_most=1e6,
    )


@dataclass
class CacheOptions:
    """The folder of decoded frames."""

    action: str = option(
        "list",
        "list: what is there; prune: remove the longest unused down to --limit; clear: remove all",
        choices=("list", "prune", "clear"),
    )
    cache_dir: str = option("", "the folder; empty: $XDG_CACHE_HOME or ~/.cache, ramvid_vad/frames")
    limit: float = option(100.0, "prune: what may stay", unit="GB", at_least=0)


@dataclass
class PrepareOptions:
    """Bringing a public data set, or one's own, into the standard layout."""

    name: str = option(
        "",
        "the data set; may stand first, without --name",
        choices=("", "ped1", "ped2", "avenue", "shanghaitech", "ubnormal", "own"),
    )
    source: str = option("", "folder with the unpacked files, as the authors offer them or converted")
    out: str = option("", "folder to write; empty: only check")
    place: str = option("link", "how the videos get there", choices=("link", "copy"))
    partial: bool = option(
        False, "accept missing videos and totals that are not the published ones; dataset.json then says so"
    )
