"""One rank of the part "ranks": FOLDER STEPS BATCH_SIZE DEVICE; rank 0 leaves end.pt there.

ALONE_BY=nccl in the environment: a group of one rank, its network wrapped as that of one of several.
"""

import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from small_training import train
from torch.nn.parallel import DistributedDataParallel

from ramvid_vad.runtime import processes
from ramvid_vad.training import loop as loop_module


def main() -> None:
    folder, steps, batch_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if sys.argv[4] == "cpu":
        torch.set_num_threads(1)
    processes.setup_dist(timeout_minutes=5)
    if alone := os.environ.get("ALONE_BY"):
        store = dist.TCPStore("127.0.0.1", 0, 1, True)
        dist.init_process_group(alone, store=store, rank=0, world_size=1)
        real = loop_module.TrainLoop.run

        def wrapped(loop: loop_module.TrainLoop) -> int:
            loop.network = DistributedDataParallel(loop.model, device_ids=[loop.device.index])
            return real(loop)

        loop_module.TrainLoop.run = wrapped
    start = time.perf_counter()
    done = train(str(folder / "log"), steps, batch_size=batch_size)
    taken = 1e3 * (time.perf_counter() - start) / steps
    backend = dist.get_backend() if dist.is_initialized() else "nothing"
    if processes.rank() == 0:
        weights = {name: value.cpu() for name, value in done.model.state_dict().items()}
        about = {"ranks": processes.world_size(), "backend": backend, "step ms": taken}
        torch.save({"weights": weights} | about, folder / "end.pt")
    if alone:
        dist.destroy_process_group()
    else:
        processes.cleanup()


main()
