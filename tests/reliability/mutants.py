"""Faults put into the code on purpose, one at a time: each must make the test named beside it fail.

    python tests/reliability/mutants.py [--only WORD] [--out docs/results/reliability/mutants.json]

Each fault is one replacement in a copy of the project. The test must pass on the untouched copy and fail on the
mutated one, with a failed assertion or an error; a text that is no longer there ends the run, so that the list cannot
go stale in silence. About ten seconds a fault.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from measure import machine, print_table, write_report

ROOT = Path(__file__).resolve().parents[2]


class Mutant(NamedTuple):
    """What is wrong; the file below ramvid_vad/; what stands there and what is put in its place; who must see it."""

    fault: str
    file: str
    old: str
    new: str
    test: str


_LOOP, _WIRES, _RANKS = "tests/training/test_loop.py", "tests/training/test_wires.py", "tests/reliability/test_ranks.py"
_SAMPLING = "tests/test_inference.py::test_every_sampling_option_changes_the_windows"
_RELATIVE = "tests/detectors/test_relative_residuals.py"
_RESIDUALS, _NO_LEAK = "tests/detectors/test_residual_maps.py", "tests/diffusion/test_no_leak.py"
MUTANTS = (
    Mutant("resample_steps ignored", "inference.py", "resample_steps=sampling.resample_steps,", "", _SAMPLING),
    Mutant(
        "clip_denoised ignored",
        "inference.py",
        "clip_denoised=sampling.clip_denoised,",
        "clip_denoised=True,",
        _SAMPLING,
    ),
    Mutant("eta ignored", "inference.py", "            eta=sampling.eta,\n", "", _SAMPLING),
    Mutant(
        "dropout stays on while sampling",
        "infill_videos.py",
        "model.eval()",
        "model.train()",
        "tests/test_inference.py::test_dropout_is_off_while_sampling",
    ),
    Mutant(
        "one noise for all samples of a step",
        "runtime/randomness.py",
        '"noise", step, sample)',
        '"noise", step, 0)',
        f"{_WIRES}::test_noise_belongs_to_the_sample",
    ),
    Mutant(
        "the same dropout on every rank",
        "training/loop.py",
        '"dropout", step, processes.rank())',
        '"dropout", step)',
        f"{_WIRES}::test_dropout_is_another_on_each_rank_and_step",
    ),
    Mutant(
        "importance weights ignored",
        "training/loop.py",
        '(terms["loss"] * there["w"][part]).sum()',
        'terms["loss"].sum()',
        f"{_WIRES}::test_the_loss_is_weighted_by_the_sampler",
    ),
    Mutant(
        "the schedule's rate ignored",
        "training/loop.py",
        'group["lr"] = rate',
        'group["lr"] = options.lr',
        f"{_WIRES}::test_each_step_is_made_with_the_schedules_rate",
    ),
    Mutant(
        "class labels not cut into microbatches",
        "training/loop.py",
        'cond["y"][part]',
        'cond["y"][: len(clean)]',
        f"{_WIRES}::test_class_labels_are_cut_as_the_windows_are",
    ),
    Mutant(
        "exclude_conditional ignored",
        "training/loop.py",
        "exclude_conditional=self.exclude_conditional,",
        "exclude_conditional=True,",
        f"{_WIRES}::test_exclude_conditional_reaches_the_loss",
    ),
    Mutant(
        "loss scale not restored",
        "training/loop.py",
        'resumed.extra.get("loss_scale_exponent") or self.scale.exponent',
        "self.scale.exponent",
        _LOOP,
    ),
    Mutant(
        "scenes of ShanghaiTech not passed on",
        "evaluation/rows.py",
        "frame_metrics(scores, labels, scenes=scenes)",
        "frame_metrics(scores, labels)",
        "tests/evaluation/test_from_scores.py::test_every_row_has_the_scene_auc_of_shanghaitech",
    ),
    Mutant(
        "no DDP",
        "training/loop.py",
        "if processes.world_size() > 1:",
        "if processes.world_size() > 99:",
        f"{_RANKS}::test_two_ranks_make_the_step_of_one_with_both_windows",
    ),
    Mutant(
        "each rank judges for itself whether a step is finite",
        "training/loop.py",
        "not processes.any_true(not all(map(math.isfinite, [norm, *losses])))",
        "all(map(math.isfinite, [norm, *losses]))",
        f"{_RANKS}::test_an_infinite_gradient_on_one_rank_is_skipped_by_both_and_the_scale_recovers",
    ),
    Mutant(
        "ranks with other options start",
        "runtime/processes.py",
        "if theirs[name] != ours:",
        "if False:",
        f"{_RANKS}::test_ranks_with_other_options_do_not_start",
    ),
    Mutant(
        "every rank generates all samples",
        "inference.py",
        "if number % world_size == rank]",
        "]",
        "tests/test_inference.py::test_generated_samples_do_not_depend_on_ranks",
    ),
    Mutant(
        "every rank infills all windows",
        "commands/sample.py",
        "mine = pending[processes.rank() :: processes.world_size()]",
        "mine = pending",
        "tests/commands/test_sample.py",
    ),
    Mutant(
        "loss in the network's precision",
        "training/loop.py",
        "terms = self.diffusion.training_losses(",
        'terms = torch.autocast("cpu", torch.bfloat16)(self.diffusion.training_losses)(',
        f"{_WIRES}::test_the_loss_is_computed_in_float32_whatever_the_networks_precision",
    ),
    Mutant(
        "norm before unscaling",
        "training/loop.py",
        "norm /= self.scale.value",
        "norm /= 1",
        f"{_WIRES}::test_the_norm_that_is_logged_and_clipped_is_that_of_the_unscaled_gradient",
    ),
    Mutant(
        "microbatches averaged, not added up",
        "training/loop.py",
        ".sum() / len(samples)",
        ".mean()",
        f"{_LOOP}::test_microbatches_add_up_to_the_batch",
    ),
    Mutant(
        "warm-up a step late",
        "training/schedules.py",
        "lr *= (step + 1) / options.lr_warmup",
        "lr *= step / options.lr_warmup",
        f"{_WIRES}::test_each_step_is_made_with_the_schedules_rate",
    ),
    Mutant(
        "weight decay ignored",
        "training/loop.py",
        "weight_decay=options.weight_decay,",
        "weight_decay=0.0,",
        f"{_WIRES}::test_weights_decay_where_nothing_pulls_at_them",
    ),
    Mutant(
        "timestep sampler not restored",
        "training/loop.py",
        'self.timesteps.load_state(resumed.extra["timestep_sampler"])',
        "pass",
        f"{_LOOP}::test_a_resumed_run_equals_an_unbroken_one_bit_for_bit",
    ),
    Mutant(
        "keep_aspect not adopted from the checkpoint",
        "loading.py",
        '("seq_len", "keep_aspect")',
        '("seq_len",)',
        "tests/test_script_util.py::test_keep_aspect_comes_from_the_checkpoint",
    ),
    Mutant(
        "use_checkpoint ignored",
        "models/unet.py",
        "if self.use_checkpoint and torch.is_grad_enabled():",
        "if False:",
        f"{_WIRES}::test_gradient_checkpointing_computes_the_blocks_twice",
    ),
    Mutant(
        "averages do not warm up",
        "training/loop.py",
        "step if options.ema_warmup else None",
        "None",
        "tests/test_option_wires.py::test_an_option_of_training_arrives[ema_warmup]",
    ),
    Mutant(
        "skipped steps are saved",
        "training/loop.py",
        "                if not self.skipped:\n                    self._keep()",
        "                self._keep()",
        f"{_LOOP}::test_a_save_that_comes_while_skipping_is_of_the_last_good_step",
    ),
    Mutant(
        "weights that are not finite are saved",
        "training/checkpoints.py",
        "        check_finite(tensors, name)\n    versions",
        "        pass\n    versions",
        f"{_LOOP}::test_a_state_that_is_not_finite_is_never_saved",
    ),
    Mutant(
        "the mask of a group hides the other group",
        "diffusion/anchors.py",
        "group == given for group in groups",
        "group != given for group in groups",
        "tests/diffusion/test_anchors.py",
    ),
    Mutant(
        "groups of channels in another order",
        "detectors/residual_maps.py",
        "slice(first_of[i], first_of[i + 1]) for i, name in enumerate(groups)",
        "slice(first_of[i], first_of[i + 1]) for i, name in enumerate(reversed(list(groups)))",
        _RESIDUALS,
    ),
    Mutant(
        "what is hidden is shown",
        "diffusion/samplers.py",
        "return noise(0), diffusion.num_timesteps - 1",
        "return noise(0) + 0.01 * clean, diffusion.num_timesteps - 1",
        _NO_LEAK,
    ),
    Mutant("starting level ignored", "detectors/residual_maps.py", "start_level=level,", "", _RESIDUALS),
    Mutant(
        "u keeps its sign in the mirror",
        "spaces/features.py",
        "= -maps[..., u, :, :, :]",
        "= maps[..., u, :, :, :]",
        "tests/spaces/test_features.py::test_seen_in_a_mirror_u_changes_its_sign",
    ),
    Mutant(
        "not calibrated",
        "detectors/fusion.py",
        "sum(scale(scores[part]) for part, scale in scales.items())",
        "sum(scores[part] for part in scales)",
        "tests/detectors/test_infilling.py",
    ),
    Mutant(
        "every part is compared with the residual of one",
        "detectors/free_parts.py",
        "zip(made[name], speeds, strict=True)",
        "zip(made[names[-1]], speeds, strict=True)",
        f"{_RELATIVE}::test_the_usual_residual_is_sought_in_few_pieces_evenly_spread",
    ),
    Mutant(
        "an earlier step is compared with what is usual at the last",
        "detectors/infilling.py",
        "found.compare_with([maps.frames(clip) for clip in learning], self.usual, progress=True)",
        "found.usual = self.usual",
        f"{_RELATIVE}::test_an_earlier_step_is_compared_with_residuals_of_its_own",
    ),
)


def passes(folder: str, *tests: str) -> bool:
    """Whether tests pass in the copy; SystemExit where one is not found."""
    environment = os.environ | {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{tests}: pytest ended with {done.returncode}\n{done.stdout[-2000:]}")
    if not done.returncode and " passed" not in done.stdout:
        raise SystemExit(f"{tests}: nothing was run\n{done.stdout[-2000:]}")
    return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="faults whose description has this in it")
    parser.add_argument("--out", default="runs/benchmarks/mutants.json", help="where the table goes")
    arguments = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if arguments.only in mutant.fault]
    rows = []
    with tempfile.TemporaryDirectory(prefix="ramvid_vad_") as top:
        folder = os.path.join(top, "project")
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "runs", "__pycache__", "build"))
        if not passes(folder, *dict.fromkeys(mutant.test for mutant in chosen)):
            raise SystemExit("a test fails on the untouched code")
        for mutant in chosen:
            path = Path(folder, "ramvid_vad", mutant.file)
            whole = path.read_text()
            if mutant.old not in whole:
                raise SystemExit(f"{mutant.fault}: {mutant.file} no longer has {mutant.old!r}")
            path.write_text(whole.replace(mutant.old, mutant.new, 1))
            killed = not passes(folder, mutant.test)
            path.write_text(whole)
            rows.append({"fault": mutant.fault, "file": mutant.file, "test": mutant.test, "killed": killed})
            print(f"{'killed  ' if killed else 'SURVIVED'} {mutant.fault}", file=sys.stderr, flush=True)
    print_table(f"{len(rows)} faults", rows)
    write_report(arguments.out, {key: machine()[key] for key in ("cores", "threads")} | {"rows": rows})
    if survivors := [row["fault"] for row in rows if not row["killed"]]:
        raise SystemExit(f"survived: {', '.join(survivors)}")


if __name__ == "__main__":
    main()
