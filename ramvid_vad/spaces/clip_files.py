"""Clip features that another program has extracted: a folder of NAME.npy, or one HDF5 file with a dataset per video."""

import os

import numpy as np

from ramvid_vad.errors import InputError

ENDINGS = (".h5", ".hdf5")


def read_clip_features(path: str) -> dict[str, np.ndarray]:
    """Name of each video -> float32 (clips, D), in the order of time; names in natural sorting of the file.

    Several crops of a clip, (clips, crops, D), are averaged. InputError: nothing there, h5py is missing, numbers that
    are not finite, or videos whose vectors have different lengths.
    """
    found = _hdf5(path) if path.endswith(ENDINGS) else _folder(path)
    if not found:
        raise InputError(f"{path}: no features in it: give a folder of NAME.npy, or HDF5 with a dataset a video")
    clean = {}
    for name, array in sorted(found.items()):
        if array.dtype.kind not in "fiu" or array.ndim not in (2, 3) or 0 in array.shape:
            raise InputError(f"{path}: {name} is {array.dtype} {array.shape}: expected numbers (clips, D)")
        array = array.astype(np.float32)
        array = array.mean(axis=1) if array.ndim == 3 else array
        if not np.isfinite(array).all():
            raise InputError(f"{path}: {name} has values that are not finite: extract its features again")
        clean[name] = array
    widths = {array.shape[1] for array in clean.values()}
    if len(widths) > 1:
        raise InputError(f"{path}: vectors of {sorted(widths)} numbers: all must be of one network")
    return clean


def _folder(path: str) -> dict[str, np.ndarray]:
    if not os.path.isdir(path):
        raise InputError(f"{path}: no such folder of features; HDF5 files end in {' or '.join(ENDINGS)}")
    found = {}
    for name in sorted(os.listdir(path)):
        if name.endswith(".npy"):
            try:
                found[name[: -len(".npy")]] = np.load(os.path.join(path, name), allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise InputError(f"{os.path.join(path, name)}: cannot be read ({error}): extract it again") from None
    return found


def _hdf5(path: str) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError:
        raise InputError(f"{path}: HDF5 needs h5py: pip install h5py; or give a folder of NAME.npy") from None
    found = {}

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(note)
    except OSError as error:
        raise InputError(f"{path}: cannot be read as HDF5 ({error})") from None
    return found
