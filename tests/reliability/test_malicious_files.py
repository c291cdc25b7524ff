"""Files from strangers execute nothing: a pickle that would leave a mark gets one clear line wherever it is given."""

import ast
import os
import pickle
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import ramvid_vad
from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.inputs.score_files import read_scores
from ramvid_vad.options.config_file import read_config
from ramvid_vad.reconstructions import load_reconstruction
from ramvid_vad.training.checkpoints import load_checkpoint
from ramvid_vad.training.weights import load_weights
from ramvid_vad.video.benchmarks.annotations import load_array, matlab_ranges
from ramvid_vad.video.truth.labels import parse_labels
from ramvid_vad.video.truth.masks import load_masks

PACKAGE = Path(ramvid_vad.__file__).parent


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.fixture
def mark(tmp_path):
    """Where the attack shows."""
    return tmp_path / "executed"


def test_the_attack_works_where_pickles_are_opened(mark):
    pickle.loads(pickle.dumps(Malicious(mark)))
    assert mark.is_dir()


def given(folder: Path, name: str, mark: Path) -> str:
    """A file with the attack in it, in the form that its ending asks for."""
    path, evil = folder / name, np.array([Malicious(mark)], object)
    if name.endswith(".npz"):
        arrays = ("reconstructions", "frame", "window", "index", "starts", "anchors", "num_frames", "settings", "masks")
        np.savez(path, **dict.fromkeys((*arrays, "shape", "01"), evil))
    elif name.endswith(".npy"):
        np.save(path, evil, allow_pickle=True)
    elif name.startswith("torch"):
        torch.save({"a": Malicious(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(Malicious(mark)))
    return str(path)


def parse(path):
    return parse_labels(Path(path).read_bytes(), path)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("torch.pt", load_weights),
        ("plain.pt", load_weights),
        ("plain.safetensors", load_weights),
        ("a.npz", load_reconstruction),
        ("plain.npz", load_reconstruction),
        ("a.npy", parse),
        ("a.npy", load_array),
        ("a.npz", load_masks),
        ("a.npy", read_scores),
        ("a.npz", read_scores),
        ("plain.txt", parse),
        ("plain.csv", read_scores),
        ("plain.mat", matlab_ranges),
        ("plain.yaml", read_config),
    ],
)
def test_a_malicious_pickle_executes_nothing(tmp_path, mark, name, read):
    path = given(tmp_path, name, mark)
    with pytest.raises(InputError) as error:
        read(path)
    assert path in str(error.value) and "\n" not in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize("evil", ["ema_0.9_000002.pt", "opt000002.pt"])
def test_malicious_averages_and_optimizer(tmp_path, mark, evil):
    torch.save({"a": torch.zeros(2)}, tmp_path / "model000002.pt")
    torch.save({"a": Malicious(mark)}, tmp_path / evil)
    with pytest.raises(InputError, match=evil):
        load_checkpoint(str(tmp_path / "model000002.pt"), ["0.9"])
    assert not mark.exists()


def test_a_yaml_tag_executes_nothing(tmp_path, mark):
    path = tmp_path / "a.yaml"
    path.write_text(f"train: !!python/object/apply:os.mkdir [{mark}]\n")
    with pytest.raises(InputError, match="expected sections") as error:
        read_config(str(path))
    assert "\n" not in str(error.value) and not mark.exists()


def dangers(source: str, trusted: tuple[str, ...] = ()) -> list[str]:
    """Calls that could execute what a file or a path says, outside the functions named."""
    found = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef) and node.name in trusted:
            return
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {word.arg: ast.unparse(word.value) for word in node.keywords}
            unsafe = (
                name in ("eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "yaml.unsafe_load")
                or options.get("shell", "False") != "False"
                or (name == "yaml.load" and "Safe" not in ast.unparse(node))
                or (name in ("np.load", "numpy.load") and options.get("allow_pickle") != "False")
                or (name == "torch.load" and options.get("weights_only") != "True")
            )
            if unsafe:
                found.append(f"line {node.lineno}: {name}")
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return found


@pytest.mark.parametrize(
    "snippet",
    [
        "eval(x)", "exec(x)", "os.system(x)", "subprocess.run(x, shell=True)", "yaml.load(x)", "np.load(x)",
        "np.load(x, allow_pickle=True)", "torch.load(x)", "torch.load(x, weights_only=False)", "pickle.load(x)",
    ],
)  # fmt: skip
def test_the_scan_finds(snippet):
    assert dangers(f"def f():\n    return {snippet}")


def test_the_scan_lets_pass():
    safe = "model.eval(); np.load(x, allow_pickle=False); torch.load(x, weights_only=True); subprocess.run([x])"
    assert dangers(safe) == []


def test_nothing_in_the_package_executes_what_it_reads():
    files = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "scripts").glob("*.py")]
    assert len(files) > 80
    trusted = {"weights.py": ("convert_untrusted",)}
    found = {path.name: dangers(path.read_text(encoding="utf-8"), trusted.get(path.name, ())) for path in files}
    assert {name: calls for name, calls in found.items() if calls} == {}


def test_a_reconstruction_whose_tables_are_a_bomb_is_refused_before_they_are_unpacked(tmp_path):
    """10 GB of zeros are 10 MB in an npz; so are the claims of an array's header, which NumPy believes."""

    def header(shape, dtype):
        text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()

    def write(name, claimed, real):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("reconstructions.npy", header((2, 8, 8, 3), "|u1") + bytes(384))
            for table in ("frame", "window", "index", "starts"):
                with archive.open(f"{table}.npy", "w") as member:
                    member.write(header((claimed,), "<i8"))
                    for _ in range(real // 10**6):
                        member.write(bytes(8 * 10**6))
        return str(tmp_path / name)

    for path in (write("zeros.npz", 10**7, 10**7), write("claims.npz", 10**15, 0)):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(InputError, match=r"not a reconstruction written by video_sample\.py") as error:
            load_reconstruction(path)
        assert "\n" not in str(error.value)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000, "kB"
