"""A small part of fuzz.py: damaged files of every kind are read or refused in one line, nothing else."""

import mmap
import os
import time

import fuzz
import numpy as np


def test_damaged_files_are_read_or_refused(tmp_path):
    results = list(fuzz.run(fuzz.seeds(tmp_path), 1, 600, str(tmp_path)))
    assert [result["number"] for result in results] == list(range(600))
    assert {result["group"] for result in results} == set(fuzz.GROUPS)
    bad = [result for result in results if result["outcome"] not in ("read", "refused", "shorter")]
    assert bad == []
    counts = {outcome: sum(result["outcome"] == outcome for result in results) for outcome in ("read", "refused")}
    assert min(counts.values()) > 30, "the damage is neither harmless nor hopeless"


def test_what_must_not_happen_is_noticed(tmp_path, monkeypatch):
    def leave(path):
        os._exit(3)

    def many(path):
        # 120 MB of fresh pages: malloc might hand out some that were freed before, which add nothing
        np.frombuffer(mmap.mmap(-1, 120 * 10**6), np.uint8)[:] = 1

    def bug(path):
        raise KeyError("a bug")

    monkeypatch.setattr(fuzz, "SECONDS", 3.0)
    monkeypatch.setattr(fuzz, "MEMORY", 10**8)
    kinds = {"crash": leave, "hang": lambda path: time.sleep(60), "memory": many, "exception": bug}
    files = [("labels", f"{name}.txt", b"0 1 0 1", read) for name, read in kinds.items()]
    results = list(fuzz.run(files, 0, 4, str(tmp_path)))
    assert [result["outcome"] for result in results] == list(kinds)


def test_an_input_is_a_pure_function_of_its_number(tmp_path):
    files = fuzz.seeds(tmp_path)
    assert all(fuzz.make_input(files, 0, n)[1:] == fuzz.make_input(files, 0, n)[1:] for n in range(60))
    assert fuzz.make_input(files, 0, 5)[2] != fuzz.make_input(files, 1, 5)[2]
