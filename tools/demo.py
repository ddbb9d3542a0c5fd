"""Maps one tensor out of a mounted .safetensors file, as a model loader does.

Says how many bytes the mount's process read from its store for it, and compares the tensor with the original.
Arguments: the file in the mount, the process id of the mount, the original file.
"""

import os
import sys
import time

import ml_dtypes  # noqa: F401  (teaches numpy what bfloat16 is)
from safetensors import safe_open


def bytes_read(pid):
    """Bytes that a process has read by any system call."""
    with open(f"/proc/{pid}/io") as io:
        return int(dict(line.split(": ") for line in io)["rchar"])


def middle_tensor(path):
    """Name of a tensor from the middle of the file that has between 1 and 64 MiB."""
    with safe_open(path, framework="np") as file:
        names = sorted(file.keys())
        sizes = {}
        for name in names:
            shape = file.get_slice(name).get_shape()
            size = 2
            for side in shape:
                size *= side
            sizes[name] = size
        fitting = [name for name in names if 1 << 20 <= sizes[name] <= 64 << 20] or names
        return fitting[len(fitting) // 2]


def load(path, name):
    """One tensor as a numpy array, by memory map."""
    with safe_open(path, framework="np") as file:
        return file.get_tensor(name)


def main():
    mounted, pid, original = sys.argv[1:4]
    before = bytes_read(pid)
    start = time.monotonic()
    name = middle_tensor(mounted)
    tensor = load(mounted, name)
    seconds = time.monotonic() - start
    read = bytes_read(pid) - before
    size = os.path.getsize(mounted)
    mib = 1 << 20
    print(f"{name}: {tensor.dtype} {list(tensor.shape)}, {tensor.nbytes / mib:.1f} MiB in {seconds:.3f} s")
    print(f"read from the store: {read / mib:.1f} MiB of the file's {size / mib:.1f} MiB")
    deviation = float(tensor.astype("float32").std())
    print(f"standard deviation of its values: {deviation:.4f}")
    if os.path.exists(original) and os.path.getsize(original) == size:
        if load(original, name).tobytes() != tensor.tobytes():
            sys.exit("error: the tensor differs from the original")
        print("every byte of it equals the original's")
    if read >= size:
        sys.exit("error: the whole file was read for one tensor")


main()
