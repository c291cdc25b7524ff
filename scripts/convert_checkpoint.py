"""Rewrite a pickled checkpoint as .safetensors. This runs whatever code the file holds: only for files you trust."""

import argparse
import os

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.processes import fail
from ramvid_vad.runtime.remote import is_remote
from ramvid_vad.training.weights import convert_untrusted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--i_trust_this_file", metavar="FILE", required=True, help="the pickle; its code is executed")
    parser.add_argument("--out", metavar="FILE", help="default: the same name with .safetensors")
    args = parser.parse_args()
    path = args.i_trust_this_file
    beside = os.path.splitext(os.path.basename(path) if is_remote(path) else path)[0] + ".safetensors"
    out = args.out or beside
    names = convert_untrusted(path, out)
    print(f"{out}: {len(names)} tensors, first {names[0]}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        fail(f"convert_checkpoint: error: {error}", 2)
