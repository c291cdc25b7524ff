"""Generations of checkpoints: exact, valid or passed over loudly, and nobody else's files touched."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ramvid_vad.errors import InputError
from ramvid_vad.training.checkpoints import find_latest, load_checkpoint, save_checkpoint
from ramvid_vad.training.optimizer_state import restore_optimizer

VERSION_0_1 = Path(__file__).resolve().parents[1] / "data" / "version_0_1"
CONFIG = {"model": {"num_channels": 32}}
FILES = ["model000100.safetensors", "ema_0.9_000100.safetensors", "opt000100.safetensors", "checkpoint000100.json"]


def training(steps=3):
    """A small model after some steps, its optimizer and an average."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 4))
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=1e-2)
    for number in range(steps):
        advance(model, optimizer, number)
    return model, optimizer, {"0.9": {name: value + 1 for name, value in model.state_dict().items()}}


def advance(model, optimizer, number):
    optimizer.zero_grad()
    model(torch.randn(5, 8, generator=torch.Generator().manual_seed(number))).square().mean().backward()
    optimizer.step()


def save(folder, step, keep=0, extra=None, steps=3):
    model, optimizer, ema = training(steps)
    save_checkpoint(str(folder), step, model.state_dict(), ema, optimizer, extra or {"scale": 17.5}, CONFIG, keep)
    return model, optimizer, ema


def equal(a, b):
    return a.keys() == b.keys() and all(a[k].numpy().tobytes() == b[k].numpy().tobytes() for k in a)


def rewrite_manifest(path, change):
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_names_and_exact_round_trip(tmp_path):
    extra = {"scale": 2**0.5, "counts": (1, 2), "by_number": {9: 0.1 + 0.2, 10: 1}, "none": None}
    model, optimizer, ema = save(tmp_path, 100, extra=extra)
    assert sorted(os.listdir(tmp_path)) == sorted(FILES)
    manifest = json.loads((tmp_path / FILES[3]).read_text())
    for name in FILES[:3]:
        content = (tmp_path / name).read_bytes()
        expected = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        assert manifest["files"][name] == expected

    lines = []
    latest = find_latest(str(tmp_path), lines.append)
    for source in (latest, str(tmp_path / FILES[0])):
        loaded = load_checkpoint(source, ["0.9"], lines.append)
        assert loaded.step == 100 and loaded.config == CONFIG
        assert loaded.extra == {"scale": 2**0.5, "counts": [1, 2], "by_number": {"9": 0.1 + 0.2, "10": 1}, "none": None}
        assert equal(loaded.model, dict(model.state_dict()))
        assert equal(loaded.ema["0.9"], ema["0.9"])
        other = torch.optim.AdamW(model.named_parameters())
        restore_optimizer(other, loaded.optimizer)
        for parameter in model.parameters():
            assert equal(dict(other.state[parameter]), dict(optimizer.state[parameter]))
    assert lines == []


def test_newest_by_number_not_by_name(tmp_path):
    for step in (999_999, 1_000_000, 20):
        save(tmp_path, step)
    assert find_latest(str(tmp_path)).step == 1_000_000
    assert find_latest(str(tmp_path / "none")) is None


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def delete(path):
    path.unlink()


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [truncate, flip, empty, delete, replace_by_folder])
def test_any_damage_to_the_newest_falls_back_loudly(tmp_path, name, damage):
    save(tmp_path, 50)
    save(tmp_path, 100)
    damage(tmp_path / name)
    lines = []
    assert find_latest(str(tmp_path), lines.append).step == 50
    assert len(lines) == 1 and name in lines[0] and "step 100" in lines[0]
    assert ("bytes instead of" in lines[0]) == (damage in (truncate, empty, replace_by_folder) and name != FILES[3])
    if name == FILES[3] and damage is delete:
        return  # without a manifest the files are loaded as RaMViD's are
    with pytest.raises(InputError, match=name):
        load_checkpoint(str(tmp_path / FILES[0]), report=lines.append)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(step=99),
        lambda manifest: manifest.update(files=list(manifest["files"])),
        lambda manifest: manifest["files"].update({FILES[0]: 7}),
        lambda manifest: manifest["files"][FILES[0]].update(size="7"),
        lambda manifest: manifest["files"][FILES[0]].pop("sha256"),
        lambda manifest: manifest.update(versions={"torch": 2}),
        lambda manifest: manifest.pop("versions"),
        lambda manifest: manifest.update(extra=[1]),
    ],
)
def test_a_manifest_of_another_shape_is_passed_over(tmp_path, change):
    save(tmp_path, 50)
    save(tmp_path, 100)
    rewrite_manifest(tmp_path / FILES[3], change)
    lines = []
    assert find_latest(str(tmp_path), lines.append).step == 50
    assert len(lines) == 1 and "step 100" in lines[0]


def test_any_flipped_bit_of_a_manifest_is_noticed_or_changes_nothing(tmp_path):
    """What a run goes on from lies in the files that the manifest gives checksums of."""
    save(tmp_path, 100, extra={"scale": 12345.0})
    path = tmp_path / FILES[3]
    whole = path.read_bytes()
    noticed = 0
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        try:
            loaded = load_checkpoint(
                find_latest(str(tmp_path), lambda line: None) or "none", ["0.9"], lambda line: None
            )
        except InputError:
            noticed += 1
        else:
            assert loaded.step == 100 and loaded.extra == {"scale": 12345.0} and set(loaded.ema) == {"0.9"}
    assert noticed > len(whole) / 7 / 2


def test_all_damaged_is_an_error_but_an_unfinished_first_save_is_a_fresh_start(tmp_path):
    save(tmp_path, 100)
    (tmp_path / FILES[3]).rename(tmp_path / "aside")
    lines = []
    assert find_latest(str(tmp_path), lines.append) is None
    assert len(lines) == 1 and "checkpoint000100.json is missing" in lines[0]
    (tmp_path / "aside").rename(tmp_path / FILES[3])
    delete(tmp_path / FILES[2])
    with pytest.raises(InputError, match="all 1 checkpoints are damaged"):
        find_latest(str(tmp_path), lines.append)


@pytest.mark.parametrize("name", ["../secret.safetensors", "progress.jsonl", "{folder}/secret"])
def test_manifest_cannot_reach_outside_its_own_files(tmp_path, name):
    folder = tmp_path / "log"
    for step in (1, 2, 3, 4):
        save(folder, step)
    name = name.format(folder=tmp_path)
    (folder / name).write_text("keep me")
    record = {"size": 7, "sha256": hashlib.sha256(b"keep me").hexdigest()}
    for step in (1, 3):
        rewrite_manifest(
            folder / f"checkpoint00000{step}.json", lambda manifest: manifest["files"].update({name: record})
        )
    delete(folder / "opt000004.safetensors")
    lines = []
    assert find_latest(str(folder), lines.append).step == 2
    assert len(lines) == 2 and repr(name) in lines[1]
    for step in (5, 6, 7):
        save(folder, step, keep=2)
    assert (folder / name).read_text() == "keep me"


def steps_in(folder):
    return sorted(int(name[10:16]) for name in os.listdir(folder) if name.startswith("checkpoint0"))


def test_keep_deletes_only_listed_files_of_older_generations(tmp_path):
    others = ["model000001.pt", "model.safetensors", "notes.txt", "ema_0.9_000002.pt", "progress.jsonl"]
    for name in others:
        (tmp_path / name).write_text("mine")
    save(tmp_path, 99)
    for step in (1, 2, 3, 4):
        save(tmp_path, step, keep=3)
    assert steps_in(tmp_path) == [2, 3, 4, 99], "generations after this step are not counted and not touched"
    assert len(os.listdir(tmp_path)) == len(others) + 4 * len(FILES)
    assert all((tmp_path / name).read_text() == "mine" for name in others)
    save(tmp_path, 5, keep=1)
    assert steps_in(tmp_path) == [4, 5, 99], "never fewer than two"
    save(tmp_path, 6)
    assert steps_in(tmp_path) == [4, 5, 6, 99], "0 keeps all"


def test_keep_counts_only_valid_generations(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    flip(tmp_path / "ema_0.9_000003.safetensors")
    save(tmp_path, 4, keep=2)
    assert steps_in(tmp_path) == [2, 3, 4], "3 is damaged: 2 and 4 are the two valid ones"


def test_saving_again_over_a_generation(tmp_path):
    save(tmp_path, 100)
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    save(tmp_path, 100)
    assert before == {name: (tmp_path / name).read_bytes() for name in FILES}, "equal content, equal files"
    model, _, _ = save(tmp_path, 100, steps=4)
    assert equal(load_checkpoint(find_latest(str(tmp_path)), ["0.9"]).model, dict(model.state_dict()))


def test_ramvid_files_beside_the_model_are_found(tmp_path):
    model, optimizer, ema = training()
    plain = torch.optim.AdamW(model.parameters())
    plain.load_state_dict(
        {"state": optimizer.state_dict()["state"], "param_groups": plain.state_dict()["param_groups"]}
    )
    torch.save(model.state_dict(), tmp_path / "model012000.pt")
    lines = []
    loaded = load_checkpoint(str(tmp_path / "model012000.pt"), ["0.9"], lines.append)
    assert loaded.step == 12000 and loaded.config is None and loaded.ema == {} and loaded.optimizer is None
    assert len(lines) == 2 and "no average of rate 0.9" in lines[0] and "optimizer starts afresh" in lines[1]

    torch.save(ema["0.9"], tmp_path / "ema_0.9_012000.pt")
    torch.save(ema["0.9"], tmp_path / "ema_0.9_011000.pt")
    torch.save(plain.state_dict(), tmp_path / "opt012000.pt")
    lines.clear()
    loaded = load_checkpoint(str(tmp_path / "model012000.pt"), ["0.9"], lines.append)
    assert lines == [] and equal(loaded.ema["0.9"], ema["0.9"])
    resumed = torch.optim.AdamW(model.named_parameters())
    restore_optimizer(resumed, loaded.optimizer)
    for parameter in model.parameters():
        assert torch.equal(resumed.state[parameter]["exp_avg_sq"], optimizer.state[parameter]["exp_avg_sq"])
    assert find_latest(str(tmp_path), lines.append) is None and lines == []

    torch.save(model.state_dict(), tmp_path / "pretrained.pt")
    loaded = load_checkpoint(str(tmp_path / "pretrained.pt"), None, lines.append)
    assert loaded.step == 0 and equal(loaded.model, dict(model.state_dict()))
    assert "no averaged (EMA) weights" in lines[0]


class Payload:
    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, "w")


@pytest.mark.parametrize("name", ["model000001.pt", "ema_0.9_000001.pt", "opt000001.pt"])
def test_malicious_pickles_beside_each_other_execute_nothing(tmp_path, name):
    mark = tmp_path / "executed"
    torch.save({"w": torch.zeros(1)}, tmp_path / "model000001.pt")
    torch.save(Payload(mark), tmp_path / name)
    with pytest.raises(InputError, match="refused"):
        load_checkpoint(str(tmp_path / "model000001.pt"), ["0.9"])
    assert not mark.exists()


def test_remote_model_and_what_lies_beside_it(tmp_path, monkeypatch):
    import blobfile as bf

    model, _, ema = save(tmp_path, 100)
    fetched = []

    def blob_file(source, mode):
        fetched.append(os.path.basename(source))
        return open(tmp_path / os.path.basename(source), mode)

    monkeypatch.setattr(bf, "BlobFile", blob_file)
    monkeypatch.setattr(bf, "listdir", lambda folder: os.listdir(tmp_path))
    loaded = load_checkpoint("gs://bucket/run/model000100.safetensors", ["0.9"])
    assert loaded.step == 100 and equal(loaded.model, dict(model.state_dict())) and equal(loaded.ema["0.9"], ema["0.9"])
    assert sorted(fetched) == sorted(FILES[:3]) and set(loaded.optimizer) == set(model.state_dict())


def test_a_checkpoint_of_version_0_1_goes_on_as_if_it_were_of_today():
    """Written by version 0.1 (torch 2.13.0, x86) after the three steps of ``training``."""
    lines = []
    loaded = load_checkpoint(find_latest(str(VERSION_0_1)), ["0.9"], lines.append)
    assert loaded.step == 100 and loaded.config == CONFIG and [line for line in lines if "torch" not in line] == []
    assert loaded.extra == {"loss_scale_exponent": 17.5, "timestep_sampler": [[0.1, 0.2], []], "global_batch": 2}
    assert equal(loaded.model, load_file(VERSION_0_1 / FILES[0]))
    assert equal(loaded.ema["0.9"], load_file(VERSION_0_1 / FILES[1]))
    model, _, _ = training(0)
    model.load_state_dict(loaded.model)
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=1e-2)
    restore_optimizer(optimizer, loaded.optimizer)
    for number in (3, 4):
        advance(model, optimizer, number)
    for now, expected in zip(model.parameters(), training(5)[0].parameters(), strict=True):
        torch.testing.assert_close(now, expected, rtol=1e-5, atol=1e-7)  # other processors round otherwise


def test_another_torch_is_mentioned(tmp_path):
    save(tmp_path, 100)
    rewrite_manifest(tmp_path / FILES[3], lambda manifest: manifest["versions"].update(torch="2.6.0"))
    lines = []
    load_checkpoint(find_latest(str(tmp_path)), ["0.9"], lines.append)
    assert len(lines) == 1 and "torch 2.6.0" in lines[0]


def test_what_json_cannot_hold_shows_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError):
        save(tmp_path, 1, extra={"tensor": torch.zeros(1)})
    assert os.listdir(tmp_path) == []
