"""Every option of every command with values at the edge of what can be written: taken, or refused in one line."""

import time
from dataclasses import fields

import pytest

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.errors import InputError
from ramvid_vad.options import GROUPS

NUMBERS = (
    "0",
    "-1",
    "1",
    "-0.0",
    "1e308",
    "-1e308",
    "1e309",
    "5e-324",
    "nan",
    "inf",
    "-inf",
    "2147483648",
    "-2147483649",
)
NUMBERS += (
    "9223372036854775807",
    "9223372036854775808",
    "1" + "0" * 5000,
    "0x10",
    "1_0",
    "٣",
    "1,2",
    "1e3",
    "",
    " ",
    "1 2",
)
TEXTS = ("", "-", "\0", "a\nb", "../..", "%s%n{0}${HOME}", "=1+1", "x" * 100_000, "\udcff", "9" * 5000, "1x1x1", "nan")
OPTIONS = [
    (command, spec) for command, sections in COMMAND_SECTIONS.items() for s in sections for spec in fields(GROUPS[s])
]


def look(command, flags):
    """What a dry run does with a command line: the options that it prints, or the one line that it ends with."""
    try:
        return parse_command(command, COMMAND_SECTIONS[command], [*flags, "--dry_run"]).as_yaml()
    except InputError as error:
        return error


@pytest.mark.parametrize("command", COMMAND_SECTIONS)
def test_a_value_at_the_edge_is_taken_or_refused_in_one_line(command):
    count = {True: 0, False: 0}
    for _, spec in (pair for pair in OPTIONS if pair[0] == command):
        for value in TEXTS if spec.type is str else NUMBERS:
            found = look(command, [f"--{spec.name}={value}"])
            refused = isinstance(found, InputError)
            count[refused] += 1
            if refused:
                line = str(found)
                assert f"--{spec.name} " in line and "\n" not in line and len(line) < 600, (spec.name, value[:40], line)
                assert line.isprintable(), (spec.name, value[:40])
    free_text = all(spec.type is str and not spec.metadata["choices"] for pair, spec in OPTIONS if pair == command)
    assert count[False] and (count[True] or free_text)


def test_what_is_taken_for_a_number_is_one_and_in_its_range():
    for command, spec in OPTIONS:
        for value in NUMBERS if spec.type in (int, float) else ():
            found = look(command, [f"--{spec.name}={value}"])
            if not isinstance(found, InputError):
                assert float(value) == float(value) and abs(float(value)) < 2e308, (spec.name, value)
                if spec.type is int:
                    assert abs(int(value)) < 2**63, (spec.name, value)


HOSTILE_YAML = {
    "alias bomb": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)),
    "alias bomb in an option": "train:\n  lr: &a [1, 2]\n  seed: [*a, *a]\n",
    "merge bomb": "x: &x {k: v}\n" + "train:\n" + "  <<: *x\n" * 3,
    "an alias to itself": "train: &t\n  lr: *t\n",
    "nested tables": "train: " + "{a: " * 2000 + "1" + "}" * 2000,
    "nested lists": "train:\n  lr: " + "[" * 5000 + "]" * 5000,
    "a table as a key": "? {a: b}\n: c\n",
    "a table as an option": "train:\n  lr: {a: {b: {c: d}}}\n",
    "an odd date": "train:\n  seed: 2024-99-99\n",
    "a date": "train:\n  lr: 2024-01-02\n",
    "a date with a huge zone": "train:\n  lr: 2024-01-02T00:00:00+99:99\n",
    "hours": "train:\n  seed: 190:20:30\n",
    "a binary": "train:\n  seed: !!binary aGVsbG8=\n",
    "python": "train: !!python/object/apply:os.system ['touch mark']\n",
    "digits": "train:\n  seed: " + "9" * 100_000 + "\n",
    "a number with points": "train:\n  lr: 1.2.3\n",
    "an empty hexadecimal": "train:\n  seed: 0x\n",
    "null bytes": "train:\n  seed: \0\n",
    "two documents": "train:\n  seed: 1\n---\ntrain:\n  seed: 2\n",
    "a list": "- train\n",
    "a text": "train",
    "a list as a section": "train: [1]\n",
    "a long key": "train:\n  " + "k" * 900 + ": 1\n",
    "too long": "# " + "x" * 2_000_000,
}


@pytest.mark.parametrize("name", HOSTILE_YAML)
def test_hostile_yaml_is_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(HOSTILE_YAML[name])
    began = time.process_time()
    found = look("video_train", ["--config", "a.yaml"])
    assert time.process_time() - began < 30, "thousands of times what a recipe takes"
    assert isinstance(found, InputError) and str(found).startswith("--config a.yaml: ")
    assert str(found).isprintable() and len(str(found)) < 600
    assert not (tmp_path / "mark").exists()


def test_yaml_says_what_a_flag_would(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "model:\n  image_size: 128x192\n  rgb: no\nvideo:\n"
        "train:\n  lr: 1.0e-4\n  seed: 3\n  ema_rate: 0.999\n  log_dir: ~\n"
    )
    as_file = look("video_train", ["--config", str(tmp_path / "a.yaml")])
    flags = ["--image_size", "128x192", "--rgb", "no", "--lr", "1.0e-4", "--seed", "3", "--ema_rate", "0.999"]
    assert as_file == look("video_train", [*flags, "--log_dir", ""])
    (tmp_path / "b.yaml").write_text(as_file)
    assert look("video_train", ["--config", str(tmp_path / "b.yaml")]) == as_file, "what a dry run prints is read again"
