"""One file of tensors: exact, whole or refused, and never executed."""

import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ramvid_vad.errors import InputError
from ramvid_vad.loading import load_state
from ramvid_vad.training.weights import convert_untrusted, load_weights, save_weights

ROOT = Path(__file__).resolve().parents[2]


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, "w")


def same(a, b):
    """Same names, types, shapes and bits."""
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape, name
        assert a[name].contiguous().numpy().tobytes() == b[name].contiguous().numpy().tobytes(), name


def test_round_trip_is_exact(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    state = {
        "strided": base.t(),
        "part": base[1:3],
        "shared": base,
        "special": torch.tensor([-0.0, 1e-45, 3.4e38]),
        "double": torch.tensor([1 / 3], dtype=torch.float64),
        "count": torch.tensor(2**40),
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
    }
    config = {"image_size": "64x96", "lr": 0.1 + 0.2, "name": "Zürich", "nested": {"a": [1, None]}}
    path = str(tmp_path / "w.safetensors")
    save_weights(path, state, config)
    loaded, read = load_weights(path)
    same(loaded, state)
    assert read == config
    save_weights(path, {"h": torch.tensor([1.5], dtype=torch.bfloat16)}, None)
    loaded, read = load_weights(path)
    assert loaded["h"].dtype == torch.bfloat16 and loaded["h"].item() == 1.5 and read is None
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_equal_content_gives_equal_files(tmp_path):
    state = {f"layer{i}.weight": torch.full((3,), float(i)) for i in range(20)}
    for name in "ab":
        save_weights(str(tmp_path / name), state, {"x": 1, "y": 2})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_ramvid_pt_loads(tmp_path):
    state = torch.nn.Conv3d(2, 3, 1).state_dict()
    torch.save(state, tmp_path / "model000100.pt")
    loaded, config = load_weights(str(tmp_path / "model000100.pt"))
    same(loaded, state)
    assert config is None


@pytest.mark.parametrize(
    ("save", "named"),
    [
        (torch.save, "GLOBAL io.open"),
        (lambda x, path: path.write_bytes(pickle.dumps(x, protocol=2)), "GLOBAL io.open"),
        (lambda x, path: path.write_bytes(pickle.dumps(x)), "Unsupported operand"),
    ],
    ids=["torch", "pickle2", "pickle"],
)
def test_unsafe_pickle_is_refused_and_executes_nothing(tmp_path, save, named):
    mark, path = tmp_path / "executed", tmp_path / "it's evil.pt"
    save({"x": Payload(mark), "w": torch.zeros(2)}, path)
    with pytest.raises(InputError) as error:
        load_weights(str(path))
    assert not mark.exists()
    assert "\n" not in str(error.value)
    assert "python scripts/convert_checkpoint.py --i_trust_this_file " in str(error.value)
    assert named in str(error.value)


def test_convert_script_executes_knowingly_and_its_result_is_safe(tmp_path):
    mark, path = tmp_path / "executed", tmp_path / "old.pt"
    torch.save({"state_dict": {"w": torch.arange(3.0)}, "junk": Payload(mark)}, path)
    command = [sys.executable, str(ROOT / "scripts" / "convert_checkpoint.py"), "--i_trust_this_file", str(path)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert mark.exists()
    same(load_weights(str(tmp_path / "old.safetensors"))[0], {"w": torch.arange(3.0)})
    torch.save([1, 2], path)
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "not a dict of tensors" in done.stderr


@pytest.mark.parametrize("held", [torch.nn.Linear(2, 2), {"model": torch.nn.Linear(2, 2).state_dict()}])
def test_convert_finds_the_weights(tmp_path, held):
    torch.save(held, tmp_path / "a.pt")
    assert convert_untrusted(str(tmp_path / "a.pt"), str(tmp_path / "a.safetensors")) == ["weight", "bias"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "holds a list"),
        ({}, "holds a dict"),
        ({"w": torch.zeros(2), "step": 3}, "entry 'step' is a int"),
        ({3: torch.zeros(2)}, "entry 3"),
        ({"state": {0: {}}, "param_groups": []}, "entry 'state' is a dict"),
        ({"w": torch.zeros(1).expand(10**9, 10**6)}, "without the data"),
        ({"w": torch.eye(3).to_sparse()}, "without the data"),
    ],
)
def test_pt_that_is_no_dict_of_tensors(tmp_path, content, message):
    path = tmp_path / "a.pt"
    torch.save(content, path)
    with pytest.raises(InputError, match=message) as error:
        load_weights(str(path))
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_anywhere_is_one_clear_error(tmp_path, ending, legacy):
    path = tmp_path / f"a.{ending}"
    state = {"w": torch.arange(500.0), "v": torch.ones(7)}
    if ending == "pt":
        torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    else:
        save_weights(str(path), state, {"a": 1})
    whole = path.read_bytes()
    for size in [0, 1, 7, 8, 9, *range(50, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(InputError) as error:
            load_weights(str(path))
        assert str(path) in str(error.value) and "\n" not in str(error.value), size


def test_missing_folder_and_foreign_files(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(InputError, match="no such file"):
            load_weights(str(path))
    (tmp_path / "page.pt").write_bytes(b"<html><body>404</body></html>")
    with pytest.raises(InputError, match=r"page\.pt"):
        load_weights(str(tmp_path / "page.pt"))


@pytest.mark.parametrize("text", ["{", "[1]", "3", "[" * 100_000])
def test_damaged_settings(tmp_path, text):
    path = str(tmp_path / "a.safetensors")
    save_file({"w": torch.zeros(1)}, path, metadata={"config": text})
    with pytest.raises(InputError, match="damaged settings"):
        load_weights(path)


def test_old_torch_is_refused_for_pt_only(tmp_path, monkeypatch):
    torch.save({"w": torch.zeros(1)}, tmp_path / "a.pt")
    save_weights(str(tmp_path / "a.safetensors"), {"w": torch.zeros(1)}, {})
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(InputError, match=r"torch >= 2\.6"):
        load_weights(str(tmp_path / "a.pt"))
    load_weights(str(tmp_path / "a.safetensors"))


def test_remote_file_is_fetched_first(tmp_path, monkeypatch):
    import blobfile as bf

    save_weights(str(tmp_path / "w.safetensors"), {"w": torch.ones(2)}, {"a": 1})
    copies = tmp_path / "copies"
    copies.mkdir()

    def blob_file(source, mode):
        return open(tmp_path / os.path.basename(source), mode)

    monkeypatch.setattr("tempfile.tempdir", str(copies))
    monkeypatch.setattr(bf, "BlobFile", blob_file)
    loaded, config = load_weights("gs://bucket/w.safetensors")
    assert loaded["w"].tolist() == [1, 1] and config == {"a": 1}
    assert os.listdir(copies) == [], "the temporary copy is removed"
    with pytest.raises(InputError, match=r"gs://bucket/nothing\.pt: cannot be reached"):
        load_weights("gs://bucket/nothing.pt")
    with pytest.raises(InputError, match="local folder"):
        save_weights("gs://bucket/w.safetensors", {"w": torch.ones(2)}, {})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_neither_written_nor_read(tmp_path, value, dtype):
    state = {"fine": torch.zeros(3), "bad": torch.tensor([0.0, value], dtype=dtype)}
    with pytest.raises(InputError, match=r"a\.safetensors: bad is not finite"):
        save_weights(str(tmp_path / "a.safetensors"), state, {})
    assert os.listdir(tmp_path) == []
    torch.save(state, tmp_path / "a.pt")
    save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        with pytest.raises(InputError, match=f"{name}: bad is not finite"):
            load_weights(str(tmp_path / name))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
def test_weights_of_another_type_are_not_taken_for_the_models(dtype):
    model = torch.nn.Linear(2, 3)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    load_state(model, state, "a.pt")
    with pytest.raises(InputError, match=rf"a\.pt: its bias is {str(dtype)[6:]} instead of float32"):
        load_state(model, state | {"bias": state["bias"].to(dtype)}, "a.pt")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_weights_of_eight_bits_are_refused(tmp_path, dtype):
    save_file({"w": torch.zeros(2).to(dtype)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"w is float8_\w+; float32 is needed"):
        load_weights(str(tmp_path / "a.safetensors"))


def test_the_umask_decides_who_may_read(tmp_path):
    before = os.umask(0o027)
    try:
        save_weights(str(tmp_path / "a.safetensors"), {"w": torch.zeros(1)}, {})
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o640


def test_settings_are_plain_json_in_the_metadata(tmp_path):
    from safetensors import safe_open

    save_weights(str(tmp_path / "a.safetensors"), {"w": torch.zeros(1)}, {"lr": 2e-5})
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["config"]) == {"lr": 2e-5}
