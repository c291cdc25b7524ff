"""The run's folder and its log."""

import io
import json
import os
import subprocess
import sys
import threading

import pytest
import torch
from tqdm import tqdm

from ramvid_vad.errors import InputError
from ramvid_vad.runtime import logger as module
from ramvid_vad.runtime.logger import Logger, result_dir


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    """No settings from outside, and a folder of its own for runs/."""
    monkeypatch.delenv("OPENAI_LOGDIR", raising=False)
    monkeypatch.chdir(tmp_path)


def records(log):
    with open(os.path.join(log.dir, "progress.jsonl"), encoding="utf-8") as file:
        return [json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")) for line in file]


def test_folder_is_the_chosen_one_or_the_variable_or_a_new_dated_one(tmp_path, monkeypatch, capsys):
    first, second = result_dir(), result_dir()
    assert first != second and os.path.dirname(first) == os.path.dirname(second) == "runs"
    monkeypatch.setenv("OPENAI_LOGDIR", str(tmp_path / "from" / "variable"))
    assert Logger().dir == str(tmp_path / "from" / "variable")
    assert capsys.readouterr().out == f"logs and checkpoints go to {tmp_path}/from/variable\n"
    assert Logger(str(tmp_path / "chosen")).dir == str(tmp_path / "chosen")
    assert (tmp_path / "chosen").is_dir()


@pytest.mark.parametrize("bad", ["file", "file/below", "/proc/none", "gs://bucket/run"])
def test_folder_that_cannot_be_written_is_one_clear_error(tmp_path, monkeypatch, bad):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"--log_dir / --out_dir {bad}: "):
        Logger(bad)
    monkeypatch.setenv("OPENAI_LOGDIR", bad)
    for make in (True, False):
        with pytest.raises(InputError, match=f"OPENAI_LOGDIR {bad}: "):
            result_dir(make=make)


def test_a_folder_that_is_only_looked_at_is_not_made(tmp_path):
    result_dir("a/b", make=False)
    result_dir(make=False)
    assert list(tmp_path.iterdir()) == []
    result_dir("a/b")
    assert (tmp_path / "a" / "b").is_dir()


def test_means_last_values_and_a_clean_slate_after_each_line():
    log = Logger("run")
    for loss in (1.0, 2.0, 6.0):
        log.logkv_mean("loss", loss)
        log.logkv("lr", loss)
    log.logkv("step", 10)
    log.dumpkvs(10)
    log.logkv_mean("loss", torch.tensor(0.5))
    log.logkv("count", torch.tensor(3))
    log.dumpkvs(20)
    assert records(log) == [{"step": 10, "loss": 3.0, "lr": 6.0}, {"step": 20, "loss": 0.5, "count": 3}]


def test_one_readable_aligned_line_on_terminal_and_file(capsys):
    log = Logger("run")
    for step, loss in ((10, 0.123456), (20, 12345.678)):
        log.logkv("loss", loss)
        log.logkv("grad_norm", 1.5)
        log.dumpkvs(step)
    lines = capsys.readouterr().out.splitlines()[1:]
    assert lines[0].split() == ["step", "10", "loss", "0.1235", "grad_norm", "1.5"]
    assert len({line.index("grad_norm") for line in lines}) == 1
    with open("run/log.txt", encoding="utf-8") as file:
        assert file.read().splitlines()[1:] == lines


def test_numbers_that_are_not_finite_stay_legal_json():
    log = Logger("run")
    for key, value in (("a", float("nan")), ("b", float("inf")), ("c", torch.tensor(-float("inf"))), ("d", 1.5)):
        log.logkv(key, value)
    log.logkv_mean("e", float("nan"))
    log.dumpkvs(1)
    assert records(log) == [{"step": 1, "a": None, "b": None, "c": None, "d": 1.5, "e": None}]


def test_resuming_forgets_what_came_after_and_what_a_kill_cut_off():
    log = Logger("run")
    for step in (10, 20, 30, 40):
        log.logkv("loss", step)
        log.dumpkvs(step)
    with open("run/progress.jsonl", "a", encoding="utf-8") as file:
        file.write('[1]\n{"loss": 1}\n{"step": 20, "lo')
    log = Logger("run")
    log.start({"train": {"lr": 0.1}}, resumed_step=20)
    log.logkv("loss", -30)
    log.dumpkvs(30)
    assert records(log) == [{"step": 10, "loss": 10}, {"step": 20, "loss": 20}, {"step": 30, "loss": -30}]
    with open("run/progress.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 15}')  # whole but for its end of line
    log.start({"train": {"lr": 0.1}}, resumed_step=30)
    log.dumpkvs(40)
    assert [record["step"] for record in records(log)] == [10, 20, 30, 40]
    with open("run/options.json", encoding="utf-8") as file:
        assert json.load(file) == {"train": {"lr": 0.1}}
    assert sorted(os.listdir("run")) == ["log.txt", "options.json", "progress.jsonl"]


def test_warnings_go_to_stderr_and_the_file(capsys):
    log = Logger("run")
    log.warn("disk nearly full")
    printed = capsys.readouterr()
    assert printed.err == "WARNING: disk nearly full\n" and "nearly" not in printed.out
    with open("run/log.txt", encoding="utf-8") as file:
        assert file.read().endswith("WARNING: disk nearly full\n")


def test_lines_do_not_tear_a_progress_bar(capsys):
    log = Logger("run")
    with tqdm(total=2, file=sys.stdout, ascii=True) as bar:
        bar.update()
        log.log("a line")
        bar.update()
    shown = capsys.readouterr().out
    assert any(line.split("\r")[-1] == "a line" for line in shown.split("\n")), "on a line of its own"


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left on device")])
def test_a_terminal_that_cannot_be_written_never_stops_the_run(monkeypatch, error):
    class Broken(io.StringIO):
        def write(self, text):
            raise error

        flush = write

    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Broken())
    log = Logger("run")
    log.warn("a warning")
    log.dumpkvs(1)
    with open("run/log.txt", encoding="utf-8") as file:
        assert file.read().count("\n") == 3
    assert records(log) == [{"step": 1}]


def test_tensorboard(monkeypatch):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for steps, start in (((1, 2, 3), 0), ((3, 4), 2)):
        log = Logger("run", tensorboard=True)
        log.start({}, resumed_step=start)
        for step in steps:
            log.logkv("loss", step + start / 10)
            log.dumpkvs(step)
        log.close()
    events = EventAccumulator("run/tensorboard")
    events.Reload()
    assert [(e.step, round(e.value, 3)) for e in events.Scalars("loss")] == [(1, 1.0), (2, 2.0), (3, 3.2), (4, 4.2)]
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install"):
        Logger("run", tensorboard=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of TensorBoard's own thread
def test_tensorboard_files_that_cannot_be_written_are_given_up_with_one_warning(tmp_path, capsys):
    """Its writer keeps the first error and raises it at every call, the last one included."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    late = Logger("late", tensorboard=True)
    late.start({})
    log = Logger("run", tensorboard=True)
    log.start({})
    log.dumpkvs(1)
    for folder in ("late", "run"):
        os.rename(f"{folder}/tensorboard", f"{folder}/elsewhere")
        (tmp_path / folder / "tensorboard").write_text("a file where the folder was")
    late._events.add_scalar("loss", 1.0, 1)  # without a flush: the error comes with the end
    late.close()
    assert capsys.readouterr().err.count("WARNING: the log in late cannot be written") == 1
    for step in (2, 3, 4):
        log.logkv("loss", 1.0)
        log.dumpkvs(step)
    log.close()
    for thread in threading.enumerate():
        if type(thread).__name__ == "_AsyncWriterThread":
            thread.join(10)  # or its error would come during another test, which does not expect one
    assert capsys.readouterr().err.count("WARNING: the log in run cannot be written") == 1
    assert [record["step"] for record in records(log)] == [1, 2, 3, 4]


def test_tensorboard_is_not_imported_unless_asked_for():
    code = (
        "from ramvid_vad.runtime.logger import Logger; import sys\n"
        "Logger('run').start({}); print('tensorboard' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.endswith("False\n")


def test_a_log_that_cannot_be_written_warns_once_and_never_stops_the_run(capsys):
    log = Logger("run")
    log.dumpkvs(1)
    os.rename("run", "elsewhere")
    log.dumpkvs(2)
    assert records(log) == [{"step": 2}], "a removed folder is made again"
    os.rename("run", "elsewhere2")
    with open("run", "w", encoding="utf-8"):
        pass
    capsys.readouterr()
    for _ in range(2):
        for step in (3, 4):
            log.dumpkvs(step)
        assert capsys.readouterr().err.count("cannot be written") == 1
        os.remove("run")
        log.dumpkvs(5)
        assert records(log) == [{"step": 5}]
        assert capsys.readouterr().err == ""
        os.rename("run", f"elsewhere{os.getpid()}{len(os.listdir())}")
        with open("run", "w", encoding="utf-8"):
            pass


def test_a_line_that_fits_only_in_part_is_taken_back(monkeypatch, capsys):
    class FullDisk:
        """Writes at most ten bytes."""

        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            return self.file.write(data[:10])

    log = Logger("run")
    log.dumpkvs(1)
    real = open
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", lambda *a, **k: FullDisk(real(*a, **k)) if "ab" in a else real(*a, **k))
        log.dumpkvs(2)
    log.dumpkvs(3)
    assert [record["step"] for record in records(log)] == [1, 3]
    assert capsys.readouterr().err.count("no space left") == 1


def test_only_rank_0_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module.processes, "rank", lambda: 1)
    monkeypatch.setattr(module.processes, "broadcast_object", lambda value: str(tmp_path / "of_rank_0"))
    log = Logger()
    log.start({})
    log.log("line")
    log.warn("warning")
    log.logkv("loss", 1)
    log.dumpkvs(1)
    assert log.dir == str(tmp_path / "of_rank_0")
    assert os.listdir(tmp_path) == [] and capsys.readouterr() == ("", "")
