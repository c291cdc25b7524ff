"""Frame metrics against scikit-learn, brute force, figures published by others, and their own invariances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn import metrics as sk

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation import frame_metrics
from ramvid_vad.scoring.curves import normalise_per_video, smooth


def random_set(seed, videos=6, ties=True):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 200, videos)
    labels = [(rng.random(n) < rng.random()).astype(np.uint8) for n in lengths]
    scores = [rng.standard_normal(n) + 0.7 * y for n, y in zip(lengths, labels, strict=True)]
    return [np.round(s, 1) if ties else s for s in scores], labels


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ties", [True, False])
def test_equals_scikit_learn(seed, ties):
    scores, labels = random_set(seed, ties=ties)
    s, y = np.concatenate(scores), np.concatenate(labels)
    result = frame_metrics(scores, labels)
    assert result["micro_auc"] == pytest.approx(sk.roc_auc_score(y, s), abs=1e-12)
    assert result["ap"] == pytest.approx(sk.average_precision_score(y, s), abs=1e-12)
    both = [(a, b) for a, b in zip(labels, scores, strict=True) if 0 < a.sum() < len(a)]
    assert result["macro_auc"] == pytest.approx(np.mean([sk.roc_auc_score(a, b) for a, b in both]), abs=1e-12)
    padded = [
        sk.roc_auc_score(np.concatenate([[0], a, [1]]), np.concatenate([[b.min() - 1], b, [b.max() + 1]]))
        for a, b in zip(labels, scores, strict=True)
    ]
    assert result["macro_auc_padded"] == pytest.approx(np.mean(padded), abs=1e-12)
    fpr, tpr, _ = sk.roc_curve(y, s, drop_intermediate=False)
    assert result["eer"] == pytest.approx(brentq(lambda v: 1 - v - interp1d(fpr, tpr)(v), 0, 1, xtol=1e-13), abs=1e-10)
    precision, recall, _ = sk.precision_recall_curve(y, s)
    assert result["best_f1"] == pytest.approx(
        np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)), abs=1e-12
    )


@pytest.mark.parametrize("seed", range(4))
def test_oracle_accuracies_equal_brute_force(seed):
    scores, labels = random_set(seed)

    def best(s, y):
        return max(((s >= cut) == y).mean() for cut in [*np.unique(s), np.inf])

    result = frame_metrics(scores, labels)
    assert result["oracle_accuracy"] == pytest.approx(best(np.concatenate(scores), np.concatenate(labels)), abs=1e-12)
    assert result["oracle_accuracy_per_video"] == pytest.approx(
        np.mean([best(s, y) for s, y in zip(scores, labels, strict=True)]), abs=1e-12
    )
    assert result["accuracy_all_abnormal"] == pytest.approx(np.concatenate(labels).mean())
    assert result["accuracy_all_normal"] == pytest.approx(1 - np.concatenate(labels).mean())
    assert result["oracle_accuracy"] >= max(result["accuracy_all_normal"], result["accuracy_all_abnormal"])
    assert result["accuracy_best_constant_per_video"] == pytest.approx(
        np.mean([max(y.mean(), 1 - y.mean()) for y in labels])
    )


def test_by_hand():
    # scores 4 3 3 1 of labels 1 0 1 0: pairs (4,3) (4,1) (3,1) right, (3,3) tied: AUC 3.5 / 4
    result = frame_metrics([np.array([4, 3, 3, 1])], [np.array([1, 0, 1, 0])])
    assert result["micro_auc"] == 0.875
    assert result["macro_auc_padded"] == (3.5 + 2 + 2 + 1) / 9
    assert result["ap"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert result["best_f1"] == pytest.approx(0.8)  # cut at 3: precision 2/3, recall 1
    assert result["oracle_accuracy"] == 0.75
    assert result["eer"] == 0.25  # on the line from (0, 1/2) to (1/2, 1): fpr = x, fnr = 1/2 - x
    assert (result["videos"], result["frames"], result["abnormal_frames"]) == (1, 4, 2)


def test_eer_by_hand_crosses_between_points():
    # ROC (0,0) (0,.5) (1,1): on the last line tpr = .5 + fpr / 2, and fpr = 1 - tpr at 1/3
    assert frame_metrics([np.array([2, 1, 1])], [np.array([1, 1, 0])])["eer"] == pytest.approx(1 / 3)


def test_micro_macro_and_scene_auc_differ_where_they_must():
    """Each video is in perfect order on its own scale; scene A's three share a scale, scene B's are far above."""
    scores = [np.array([1, 2])] * 3 + [np.array([11, 12]), np.array([20, 21])]
    labels = [np.array([0, 1])] * 4 + [np.array([0, 0])]
    result = frame_metrics(scores, labels, scenes=["A", "A", "A", "B", "B"])
    assert result["macro_auc"] == 1.0  # mean of four perfect videos
    assert result["one_class_videos"] == 1
    # positives 2, 2, 2, 12 against negatives 1, 1, 1, 11, 20, 21: 3 + 3 + 3 + 4 of 24 pairs
    assert result["micro_auc"] == pytest.approx(13 / 24)
    assert result["scene_auc"] == pytest.approx((1 + 1 / 3) / 2)
    assert result["macro_auc_padded"] == 1.0
    assert frame_metrics(scores, labels)["scene_auc"] is None


def test_skipped_and_padded_macro_differ():
    scores, labels = [np.array([1, 2, 3.0]), np.array([1.0, 2])], [np.array([1, 0, 0]), np.array([1, 1])]
    result = frame_metrics(scores, labels)
    assert result["macro_auc"] == 0.0
    assert result["macro_auc_padded"] == pytest.approx(((0 + 1 + 2 + 1) / 6 + 1) / 2)


finite = st.floats(-1e6, 1e6, width=32)
video = st.lists(st.tuples(finite, st.integers(0, 1)), min_size=1, max_size=12)
INVARIANT = ["micro_auc", "macro_auc", "macro_auc_padded", "ap", "eer", "best_f1", "oracle_accuracy"]


def split(videos):
    return [np.array([s for s, _ in v]) for v in videos], [np.array([y for _, y in v]) for v in videos]


@given(st.lists(video, min_size=1, max_size=5), st.sampled_from(["shift", "scale", "cube", "rank"]))
def test_strictly_increasing_maps_change_nothing(videos, name):
    scores, labels = split(videos)
    ranks = np.unique(np.concatenate(scores))
    mapping = {
        "shift": lambda s: s + 1,
        "scale": lambda s: s * 3,
        "cube": lambda s: np.sign(s) * np.abs(s) ** 3,
        "rank": lambda s: np.searchsorted(ranks, s).astype(float),
    }[name]
    mapped = [mapping(s) for s in scores]
    if len(np.unique(np.concatenate(mapped))) < len(ranks):
        return  # rounding made the map not strictly increasing
    before, after = frame_metrics(scores, labels), frame_metrics(mapped, labels)
    assert {k: before[k] for k in INVARIANT} == {k: after[k] for k in INVARIANT}


@given(st.lists(video, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_permuting_videos_changes_nothing(videos, random):
    shuffled = list(videos)
    random.shuffle(shuffled)
    before, after = frame_metrics(*split(videos)), frame_metrics(*split(shuffled))
    for key, value in before.items():
        assert after[key] == (value if value is None else pytest.approx(value, abs=1e-12)), key


@given(st.lists(video, min_size=1, max_size=5))
def test_ranges_and_reversal(videos):
    scores, labels = split(videos)
    result = frame_metrics(scores, labels)
    pooled = np.concatenate(labels)
    if pooled.min() == pooled.max():
        assert all(result[key] is None for key in [*INVARIANT, "oracle_accuracy_per_video"])
        return
    assert all(0 <= result[key] <= 1 for key in INVARIANT if result[key] is not None)
    reverse = frame_metrics([-s for s in scores], labels)
    assert result["micro_auc"] + reverse["micro_auc"] == pytest.approx(1, abs=1e-12)
    assert result["eer"] + reverse["eer"] == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1, -35.2])
@pytest.mark.parametrize("sigma", [0, 3, 20])
def test_a_constant_score_gives_exactly_one_half(value, sigma):
    rng = np.random.default_rng(0)
    labels = [(rng.random(n) < 0.4).astype(int) for n in (3, 40, 77, 500)]
    result = frame_metrics([smooth(np.full(len(y), value), sigma) for y in labels], labels)
    assert result["micro_auc"] == 0.5
    assert result["macro_auc"] == 0.5


def test_smoothing_never_crosses_a_border():
    """A burst at the end of one video leaves the next one's first frames untouched: per video, not concatenated."""
    burst, quiet = np.zeros(40), np.zeros(40)
    burst[-1] = 1
    labels = [(np.arange(40) >= 37).astype(int), np.zeros(40, int)]
    per_video = [smooth(burst, 4), smooth(quiet, 4)]
    across = np.split(smooth(np.concatenate([burst, quiet]), 4), 2)
    assert np.all(per_video[1] == 0) and across[1][0] > 0.05
    assert frame_metrics(per_video, labels)["micro_auc"] == 1.0
    assert frame_metrics(across, labels)["micro_auc"] < 1.0


@pytest.mark.parametrize("value", [0, 1])
def test_one_class_is_undefined_never_a_number(value):
    result = frame_metrics([np.arange(5.0), np.arange(3.0)], [np.full(5, value), np.full(3, value)])
    undefined = [*INVARIANT, "scene_auc", "oracle_accuracy_per_video"]
    assert all(result[key] is None for key in undefined)
    assert result["accuracy_all_normal"] == 1 - value and result["abnormal_frames"] == 8 * value


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([[1, 2], [1, np.nan]], [[0, 1], [0, 1]], "'02': the score of frame 1 is nan"),
        ([[1, 2], [np.inf, 1]], [[0, 1], [0, 1]], "'02': the score of frame 0 is inf"),
        ([[1, 2], [1, 2, 3]], [[0, 1], [0, 1]], "'02': 3 scores but 2 labels"),
        ([[1, 2], [1, 2]], [[0, 1], [0, 2]], "'02': labels must be 0"),
        ([[1, 2], [1, 2]], [[0, 1], [0, np.nan]], "'02': labels must be 0"),
        ([[1, 2], []], [[0, 1], []], "'02': no frame"),
        ([[1, 2], [[1, 2]]], [[0, 1], [[0, 1]]], "'02': scores and labels must be one-dimensional"),
        ([[1, 2]], [[0, 1], [0, 1]], "scores of 1 videos, labels of 2"),
        ([], [], "no video"),
    ],
)
def test_bad_input_is_named(scores, labels, message):
    with pytest.raises(InputError, match=message):
        frame_metrics([np.array(s) for s in scores], [np.array(y) for y in labels], names=["01", "02"])


def test_scenes_must_be_one_per_video():
    with pytest.raises(InputError, match="2 scenes for 1 videos"):
        frame_metrics([np.arange(2)], [np.arange(2)], scenes=["a", "b"])


@pytest.mark.parametrize(
    ("file", "folder", "per_video", "auc"),
    [
        ("memae_ped2", "ped2/labels", True, 0.9341),
        ("memae_ped2", "ped2/labels", False, 0.6958),
        ("memae_avenue", "avenue_part/labels_vollabel", True, 0.8099),
        ("memae_avenue", "avenue_part/labels_liu2018", True, 0.8052),
    ],
)
def test_reproduces_the_figures_in_other_authors_logs(shared, file, folder, per_video, auc):
    """MemAE: clips of 16 frames, score i of a video belongs to frame i + 8; per-video min-max; one ROC."""
    data = shared / "data"
    labels = [np.load(path)[8:-7] for path in sorted((data / folder).glob("*.npy"))]
    scores = np.load(data / "evaluator_checks" / f"{file}_recons_error.npy").astype(np.float64)
    videos = np.split(scores, np.cumsum([len(y) for y in labels])[:-1])
    if per_video:
        videos = [normalise_per_video(s) for s in videos]
    assert frame_metrics(videos, labels)["micro_auc"] == pytest.approx(auc, abs=1e-4)
