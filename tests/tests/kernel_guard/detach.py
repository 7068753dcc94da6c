"""Detaches a pinned bpf_link, as `bpftool link detach pinned FILE` does."""

import ctypes
import platform
import struct
import sys

BPF_OBJ_GET, BPF_LINK_DETACH = 7, 34
NUMBER = {"x86_64": 321, "aarch64": 280}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes)
    result = libc.syscall(NUMBER, command, buffer, len(attributes))
    if result < 0:
        sys.exit(f"bpf({command}): errno {ctypes.get_errno()}")
    return result


path = ctypes.create_string_buffer(sys.argv[1].encode())
link = bpf(BPF_OBJ_GET, struct.pack("QII", ctypes.addressof(path), 0, 0))
bpf(BPF_LINK_DETACH, struct.pack("I", link))
