"""How a command has ended, and what to type next, in lines for whoever typed the first one."""

import shlex

from ramvid_vad.options import RunOptions


def after_training(parsed: RunOptions, step: int, stopped_by: str, log_dir: str, spent: bool = False) -> list[str]:
    """Finished, by which limit; or ended early, by --max_hours or the signal ``stopped_by`` ("": none).

    spent: whether the time of --max_minutes is over, which earlier runs count into.
    """
    options, where = parsed.train, f"checkpoints are in {log_dir}"
    limits = {"--max_steps": options.max_steps, "--lr_anneal_steps": options.lr_anneal_steps}
    reached = [f"{flag} {limit}" for flag, limit in limits.items() if limit and step >= limit]
    reached += [f"--max_minutes {options.max_minutes:g}"] if spent else []
    if not reached:
        limit = stopped_by or f"--max_hours {options.max_hours:g}"
        return [f"ended at step {step} by {limit}; the same command goes on from there; {where}"]
    lines = [f"finished at step {step} ({', '.join(reached)}); {where}"]
    if parsed.space.space == "pixels":  # the others are scored, not shown
        # infilling needs the same anchors in every window
        selective = " --anchors selective" if parsed.anchors.anchors == "random" else ""
        places = f"--model_path {shlex.quote(log_dir)} --data_dir TEST_VIDEOS --out_dir INFILLED"
        lines.append(f"next: ramvid-vad sample {places}{selective}")
    return lines


def after_infilling(parsed: RunOptions, number: int, out_dir: str) -> list[str]:
    """All ``number`` videos are finished."""
    places = f"--reconstructions {shlex.quote(out_dir)} --data_dir {shlex.quote(parsed.video.data_dir)}"
    return [
        f"finished: reconstructions of {number} videos are in {out_dir}",
        f"next: ramvid-vad evaluate {places} --labels LABELS --out_dir RESULT",
    ]
