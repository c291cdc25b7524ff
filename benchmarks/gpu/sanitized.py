"""One small scan by the Triton kernels, forward and backward: what compute-sanitizer watches."""

import torch
from scan_oracles import scan_case

from ramvid_vad.ops import selective_scan

for shape in ((1, 2, 70, 16), (1, 1, 1, 1), (2, 3, 65, 5)):
    for reverse in (False, True):
        case = {name: x.cuda().requires_grad_() for name, x in scan_case(*shape).items()}
        selective_scan(**case, delta_softplus=True, reverse=reverse, backend="triton").sum().backward()
torch.cuda.synchronize()
print("scan done")
