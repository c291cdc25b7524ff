"""Encoded videos on disk."""

import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import write_video
from stand_ins import PooledColours, texture

from ramvid_vad.errors import InputError
from ramvid_vad.spaces import features as features_module
from ramvid_vad.spaces.cache import EncodedVideos
from ramvid_vad.spaces.features import FeatureSpace
from ramvid_vad.spaces.stored import save_space
from ramvid_vad.video import row_files


@pytest.fixture
def video(tmp_path):
    return str(write_video(tmp_path / "01.mkv", texture(7, 40, 56)))


@pytest.fixture
def space(video, monkeypatch):
    monkeypatch.setattr(features_module, "load_backbone", lambda name, weights="": PooledColours())
    return FeatureSpace.fit([video], kept=3)


def test_maps_are_kept_as_float16_and_encoded_once(space, video, tmp_path, monkeypatch):
    cache = EncodedVideos(str(tmp_path / "cache"), space)
    maps = cache.frames(video)
    exact = np.stack(list(space.encode(texture(7, 40, 56))))
    assert maps.dtype == np.float16 and maps.shape == (7, 8, 5, 7) and not maps.flags.writeable
    np.testing.assert_array_equal(maps, exact.astype(np.float16))
    np.testing.assert_array_equal(np.load(cache.entry(video)), maps)  # a plain .npy
    assert os.listdir(tmp_path / "cache") == [os.path.basename(cache.entry(video))]
    monkeypatch.setattr(FeatureSpace, "encode", lambda *_: pytest.fail("encoded again"))
    np.testing.assert_array_equal(EncodedVideos(str(tmp_path / "cache"), space).frames(video), maps)


def test_another_space_or_another_video_has_another_entry(space, video, tmp_path):
    cache = EncodedVideos(str(tmp_path / "cache"), space)
    other = EncodedVideos(str(tmp_path / "cache"), FeatureSpace.fit([video], kept=4))
    before = cache.entry(video)
    assert before != other.entry(video)
    write_video(tmp_path / "01.mkv", texture(6, 40, 56))
    assert EncodedVideos(cache.cache_dir, space).entry(video) != before


def test_a_video_that_is_touched_stays_what_it_was_until_it_is_encoded(space, video, tmp_path, monkeypatch):
    cache = EncodedVideos(str(tmp_path / "cache"), space)
    entry = cache.entry(video)
    with monkeypatch.context() as patch:
        patch.setattr(FeatureSpace, "fingerprint", property(lambda _: pytest.fail("the space is hashed again")))
        assert len(cache.frames(video)) == 7 and cache.entry(video) == entry
        os.utime(video, (1, 1))
        patch.setattr(FeatureSpace, "encode", lambda *_: pytest.fail("encoded again"))
        assert len(cache.frames(video)) == 7 and cache.entry(video) == entry
    os.remove(entry)
    row_files._mapped.cache_clear()
    assert len(cache.frames(video)) == 7
    assert cache.entry(video) == EncodedVideos(cache.cache_dir, space).entry(video) != entry


def test_an_entry_that_is_not_what_was_written_is_made_again(space, video, tmp_path):
    cache = EncodedVideos(str(tmp_path / "cache"), space)
    cache.build(video)
    whole = Path(cache.entry(video)).read_bytes()
    flipped = bytearray(whole)
    flipped[500] ^= 1
    for damaged in (whole[:-100], bytes(flipped), whole.replace(b"(7, 8, 5, 7)", b"(7, 8, 7, 5)"), b""):
        assert damaged != whole
        Path(cache.entry(video)).write_bytes(damaged)
        row_files._mapped.cache_clear()
        assert len(EncodedVideos(cache.cache_dir, space).frames(video)) == 7
        assert Path(cache.entry(video)).read_bytes() == whole


def test_a_damaged_video_leaves_nothing_behind(space, video, tmp_path):
    content = Path(video).read_bytes()
    Path(video).write_bytes(content[: len(content) // 2])
    cache = EncodedVideos(str(tmp_path / "cache"), space)
    with pytest.raises(InputError, match=r"01\.mkv"):
        cache.frames(video)
    assert os.listdir(tmp_path / "cache") == []


def test_a_folder_that_cannot_be_made_is_named(space, video, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cache directory .*file/cache: cannot be written"):
        EncodedVideos(str(tmp_path / "file" / "cache"), space).frames(video)


def test_a_space_that_cannot_be_written_is_one_line(space, tmp_path):
    """A limit on file size stands for the full disk."""
    path = str(tmp_path / "space.safetensors")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        with pytest.raises(InputError, match=rf"{path}: cannot be written \(.*\); free or grant space there") as error:
            save_space(space, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value) and os.listdir(tmp_path) == ["01.mkv"]
    with pytest.raises(InputError, match=r"none/space\.safetensors: cannot be written"):
        save_space(space, str(tmp_path / "none" / "space.safetensors"))


def test_windows_become_the_models_input():
    window = np.arange(2 * 3 * 4 * 5 * 6, dtype=np.float16).reshape(2, 3, 4, 5, 6)  # (B, T, C, h, w)
    given = EncodedVideos.model_input(window)
    assert given.shape == (2, 4, 3, 5, 6) and given.dtype == torch.float32 and given.is_contiguous()
    for b, t, c in np.ndindex(2, 3, 4):
        np.testing.assert_array_equal(given[b, c, t], window[b, t, c])
