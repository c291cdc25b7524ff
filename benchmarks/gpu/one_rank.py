"""One rank of the part "ranks": FOLDER BATCH_SIZE DEVICE; rank 0 leaves the gradients of one step in end.pt there.

ALONE_BY=nccl in the environment: a group of one rank, its network wrapped as that of one of several.
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from small_training import gradients, train
from torch.nn.parallel import DistributedDataParallel

from ramvid_vad.runtime import processes
from ramvid_vad.training import loop as loop_module


def main() -> None:
    folder, batch_size = Path(sys.argv[1]), int(sys.argv[2])
    if sys.argv[3] == "cpu":
        torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # as in the part's own process
    processes.setup_dist(timeout_minutes=5)
    if group := os.environ.get("ALONE_BY"):
        store = dist.TCPStore("127.0.0.1", 0, 1, True)
        dist.init_process_group(group, store=store, rank=0, world_size=1)
        real = loop_module.TrainLoop.run

        def wrapped(loop: loop_module.TrainLoop) -> int:
            loop.network = DistributedDataParallel(loop.model, device_ids=[loop.device.index])
            return real(loop)

        loop_module.TrainLoop.run = wrapped
    done = train(str(folder / "log"), 1, batch_size=batch_size)
    backend = dist.get_backend() if dist.is_initialized() else "nothing"
    if processes.rank() == 0:
        about = {"ranks": processes.world_size(), "backend": backend}
        torch.save({"gradients": gradients(done)} | about, folder / "end.pt")
    if group:
        dist.destroy_process_group()
    else:
        processes.cleanup()


main()
