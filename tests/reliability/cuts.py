"""Videos cut without decoding, and damaged ones, read beside the ffmpeg command.

    python tests/reliability/cuts.py [--inputs 200] [--seed 0] [--ffmpeg PATH] [--out runs/benchmarks/cuts.json]

SOURCES are encoded on the spot and cut by `ffmpeg -ss -t -c copy`, with -ss before or after -i, or by its segment
muxer, from one container into another. Cut i is a pure function of (seed, i). Cuts of which ffmpeg itself shows
nothing (a transport stream whose headers stayed in another segment) are counted apart, and must be refused. Of the
others every picture, as it is stored, must equal ffmpeg's own. Each then gets a damaged sibling: bytes left out,
zeroed or exchanged, or the end cut off. One that comes out shorter must be refused or said to be shorter, unless
ffmpeg too reads it without an error.

ffmpeg: of the path, or of the package imageio-ffmpeg. It is asked to use one thread, as the reader does.
"""

import argparse
import collections
import hashlib
import importlib.util
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ramvid_vad.video.decoding.damage import Damage
from ramvid_vad.video.decoding.videos import pictures

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from measure import machine, print_table, write_report

X264 = ["-c:v", "libx264", "-preset", "veryfast", "-x264-params"]
X265 = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params"]
SOURCES = {  # codec: encodings of it
    "H.264": [
        [*X264, "keyint=25:bframes=2"],
        [*X264, "keyint=20:bframes=3:open-gop=1:b-pyramid=normal:ref=4:b-adapt=0:repeat-headers=1"],
        [*X264, "keyint=20:bframes=3:open-gop=1:direct=temporal:ref=6:weightp=2:me=umh:b-adapt=2:repeat-headers=1"],
        [*X264, "keyint=20:bframes=2:open-gop=1:interlaced=1:tff=1:repeat-headers=1"],
        [*X264, "keyint=20:bframes=0:intra-refresh=1:repeat-headers=1"],
    ],
    "HEVC": [
        [*X265, "log-level=none:keyint=20:min-keyint=20:open-gop=1:bframes=3"],
        [*X265, "log-level=none:keyint=20:min-keyint=20:open-gop=0:bframes=4:radl=2"],
        [*X265, "log-level=none:keyint=25:open-gop=1:bframes=6:b-adapt=2:b-pyramid=1"],
    ],
    "MPEG-2": [
        ["-c:v", "mpeg2video", "-g", "15", "-bf", "2", "-q:v", "4"],
        ["-c:v", "mpeg2video", "-g", "12", "-bf", "2", "-q:v", "4", "-flags", "+ildct+ilme"],
        ["-c:v", "mpeg2video", "-g", "15", "-bf", "2", "-q:v", "4", "-flags", "+cgop", "-sc_threshold", "1000000000"],
    ],
    "MPEG-4": [
        ["-c:v", "mpeg4", "-g", "20", "-bf", "2", "-q:v", "4"],
        ["-c:v", "mpeg4", "-g", "20", "-bf", "0", "-q:v", "4"],
        ["-c:v", "libxvid", "-g", "20", "-bf", "2", "-q:v", "4"],
    ],
    "VP9": [
        ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25", "-b:v", "300k"],
        [
            "-c:v",
            "libvpx-vp9",
            "-cpu-used",
            "5",
            "-g",
            "25",
            "-b:v",
            "300k",
            "-auto-alt-ref",
            "1",
            "-lag-in-frames",
            "16",
        ],
    ],
    "AV1": [
        ["-c:v", "libsvtav1", "-preset", "12", "-g", "25", "-svtav1-params", "hierarchical-levels=3"],
        ["-c:v", "libaom-av1", "-cpu-used", "8", "-g", "25", "-b:v", "300k", "-lag-in-frames", "10"],
    ],
}
CONTAINERS = {"mp4": "mp4", "mov": "mov", "mkv": "matroska", "ts": "mpegts", "avi": "avi"}
DAMAGE = ("left out", "zeroed", "exchanged", "end cut off")


def find_ffmpeg() -> str | None:
    """The ffmpeg command, if there is one."""
    if found := shutil.which("ffmpeg"):
        return found
    if importlib.util.find_spec("imageio_ffmpeg"):
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    return None


class Campaign:
    """Whole videos in ``folder``, and what is made of them."""

    def __init__(self, ffmpeg: str, folder: Path, seed: int, codecs: tuple[str, ...] = tuple(SOURCES)):
        self.ffmpeg, self.folder, self.seed = ffmpeg, folder, seed
        self.whole: dict[str, list[list[Path]]] = {}  # codec -> encodings -> containers
        for codec in codecs:
            made = [self._encode(f"{codec}_{i}", options) for i, options in enumerate(SOURCES[codec])]
            self.whole[codec] = [files for files in made if files]

    def _run(self, *arguments: str) -> subprocess.CompletedProcess:
        command = [self.ffmpeg, "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *arguments]
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)

    def _encode(self, name: str, options: list[str]) -> list[Path]:
        """100 pictures in every container that takes them; an encoder that is not there gives none."""
        scene = "testsrc2=size=96x64:rate=25:duration=4,noise=alls=6:allf=t"
        first = self.folder / f"{name}.mkv"
        self._run("-f", "lavfi", "-i", scene, "-pix_fmt", "yuv420p", *options, str(first))
        if not self.shown(first)[0]:
            return []
        files = [first]
        for ending in ("ts", "mp4"):
            path = self.folder / f"{name}.{ending}"
            self._run("-i", str(first), "-c", "copy", str(path))
            if len(self.shown(path)[0]) == 100:
                files.append(path)
        return files

    def shown(self, path: Path) -> tuple[list[str], str]:
        """Checksum of each picture that ffmpeg shows, and what it calls errors."""
        streams = ("-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framemd5", "-")
        done = self._run("-threads", "1", "-noautorotate", "-i", str(path), *streams)
        sums = [line.split(",")[-1].strip() for line in done.stdout.splitlines() if not line.startswith("#")]
        return sums, done.stderr.strip()

    def cut(self, number: int) -> tuple[dict[str, str], Path | None]:
        """Cut ``number``: what it is, and the file; None where ffmpeg does not write it."""
        choose = random.Random(f"{self.seed} {number}")
        codecs, endings = list(self.whole), list(CONTAINERS)
        codec, ending = codecs[number % len(codecs)], endings[number // len(codecs) % len(endings)]
        source = str(choose.choice(choose.choice(self.whole[codec])))
        start, length = f"{choose.uniform(0.1, 3.0):.2f}", f"{choose.uniform(0.4, 1.6):.2f}"
        way = choose.choice(("-ss before -i", "-ss after -i", "segment"))
        path = self.folder / f"cut_{number}.{ending}"
        about = {"codec": codec, "container": ending, "way": way, "source": Path(source).name}
        if way == "segment":
            reset = choose.choice("01")
            pieces = self.folder / f"piece_{number}_%d.{ending}"
            form = ["-segment_format", CONTAINERS[ending], "-segment_time", "0.9", "-reset_timestamps", reset]
            self._run("-i", source, "-c", "copy", "-f", "segment", *form, str(pieces))
            written = sorted(self.folder.glob(f"piece_{number}_*"))
            if len(written) > 1:
                choose.choice(written[1:]).rename(path)
            for piece in self.folder.glob(f"piece_{number}_*"):
                piece.unlink()
        elif way == "-ss before -i":
            self._run("-ss", start, "-t", length, "-i", source, "-c", "copy", str(path))
        else:
            self._run("-i", source, "-ss", start, "-t", length, "-c", "copy", str(path))
        return about, path if path.exists() else None

    def damaged(self, number: int, path: Path) -> tuple[str, Path]:
        """The damaged sibling of a cut: how it was damaged, and the file."""
        choose = random.Random(f"{self.seed} {number} damage")
        data = bytearray(path.read_bytes())
        how = DAMAGE[number % len(DAMAGE)]
        size = choose.choice((8, 40, 200))
        start, other = (choose.randrange(len(data) // 20, max(len(data) - size, len(data) // 20 + 1)) for _ in "ab")
        if how == "left out":
            del data[start : start + size]
        elif how == "zeroed":
            data[start : start + size] = bytes(len(data[start : start + size]))
        elif how == "exchanged":
            size = min(size, abs(other - start))
            data[start : start + size], data[other : other + size] = (
                data[other : other + size],
                data[start : start + size],
            )
        else:
            del data[start:]
        sibling = path.with_name(f"damaged_{path.name}")
        sibling.write_bytes(data)
        return how, sibling


def read(path: Path) -> tuple[list[str] | None, str]:
    """Checksum of each picture and what is said; None and the reason for a file that is refused."""
    import av

    said: list[str] = []
    try:
        sums = [hashlib.md5(p.to_ndarray().tobytes()).hexdigest() for p in pictures(str(path), said.append)]
    except (Damage, av.FFmpegError, ValueError, OSError) as error:
        return None, str(error)
    return sums or None, "; ".join(said) or "" if sums else "no frame in it"


def results(campaign: Campaign, inputs: int) -> Iterator[dict]:
    """What became of each cut and of its damaged sibling, until ``inputs`` cuts of which ffmpeg shows something."""
    number = usable = 0
    while usable < inputs:
        about, path = campaign.cut(number)
        number += 1
        if path is None:
            continue
        expected, _ = campaign.shown(path)
        sums, said = read(path)
        row = {"number": number - 1, **about, "pictures": len(expected), "said": said}
        if not expected:
            yield {**row, "outcome": "nothing to show" if sums is None else "shown where ffmpeg shows nothing"}
            path.unlink()
            continue
        usable += 1
        outcome = "refused" if sums is None else "equal" if sums == expected else "different"
        how, sibling = campaign.damaged(number - 1, path)
        sums, said = read(sibling)
        row |= {"outcome": outcome, "damage": how, "said_of_damage": said}
        if sums is None or len(sums) >= len(expected):
            row["sibling"] = "refused" if sums is None else "as long"
        elif said:
            row["sibling"] = "shorter and said"
        else:
            seen = campaign.shown(sibling)
            row["sibling"] = (
                "shorter, as ffmpeg shows it without an error" if seen == (sums, "") else "shorter in silence"
            )
        yield row
        path.unlink()
        sibling.unlink()


def summary(rows: list[dict]) -> list[dict[str, object]]:
    """One row per codec."""
    table = []
    for codec in [*dict.fromkeys(row["codec"] for row in rows), "all"]:
        part = [row for row in rows if codec in (row["codec"], "all") and "sibling" in row]
        cuts, siblings = (collections.Counter(row[kind] for row in part) for kind in ("outcome", "sibling"))
        table.append(
            {
                "codec": codec,
                "cuts": len(part),
                **{kind: cuts[kind] for kind in ("equal", "different", "refused")},
                "siblings refused": siblings["refused"],
                "as long": siblings["as long"],
                "shorter and said": siblings["shorter and said"],
                "as ffmpeg": siblings["shorter, as ffmpeg shows it without an error"],
                "in silence": siblings["shorter in silence"],
            }
        )
    return table


def wrong(rows: list[dict]) -> list[dict]:
    """Cuts that were not read as ffmpeg reads them, and damage that was passed over."""
    fine = ("equal", "nothing to show")
    return [row for row in rows if row["outcome"] not in fine or row.get("sibling") == "shorter in silence"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=200, help="how many cuts, and as many damaged siblings")
    parser.add_argument("--seed", type=int, default=0, help="of the cuts and the damage")
    parser.add_argument("--ffmpeg", default="", help="the command; by default the one on the path")
    parser.add_argument("--out", default="runs/benchmarks/cuts.json", help="where the figures go")
    arguments = parser.parse_args()
    ffmpeg = arguments.ffmpeg or find_ffmpeg()
    if not ffmpeg:
        raise SystemExit("no ffmpeg command: install it (Debian's ffmpeg, or the package imageio-ffmpeg)")
    version = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    with tempfile.TemporaryDirectory() as folder:
        rows = list(results(Campaign(ffmpeg, Path(folder), arguments.seed), arguments.inputs))
    table, bad = summary(rows), wrong(rows)
    print_table(f"{arguments.inputs} cuts and as many damaged siblings, seed {arguments.seed}", table)
    nothing = sum(row["outcome"] == "nothing to show" for row in rows)
    print(f"{nothing} cuts more, of which ffmpeg shows nothing, were refused")
    for row in bad:
        print(row)
    report = {
        "command": f"tests/reliability/cuts.py --inputs {arguments.inputs} --seed {arguments.seed}",
        "ffmpeg": " ".join(version.split()[:3]),
        **{key: value for key, value in machine().items() if key in ("cores", "threads")},
        "nothing to show": nothing,
        "rows": table,
        "wrong": bad,
    }
    write_report(arguments.out, report)
    if bad:
        raise SystemExit(f"{len(bad)} were read otherwise than ffmpeg reads them, or lost pictures in silence")


if __name__ == "__main__":
    main()
