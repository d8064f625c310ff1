"""Zero the machine code of other GPUs in a CUDA library: slim.py IN OUT ARCH. What stays runs on that compute
capability (90 for 9.0) only, and packs into less: the host of the GPU day takes 64 MiB at a time.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from struct import unpack_from

FATBIN_MAGIC = 0xBA55ED50
CUBIN = 2  # a fatbin's entry of machine code; 1 is PTX


def sections(data: bytes, wanted: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each section of an ELF64 file with this name."""
    (offset,) = unpack_from("<Q", data, 0x28)
    size, count, names = unpack_from("<HHH", data, 0x3A)
    headers = [unpack_from("<IIQQQQIIQQ", data, offset + index * size) for index in range(count)]
    texts = headers[names][4]
    for header in headers:
        start = texts + header[0]
        if data[start : data.index(b"\0", start)].decode() == wanted:
            yield header[4], header[4] + header[5]


def entries(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(kind, compute capability, start, end) of the content of each entry of the fatbins between start and end."""
    while start < end:
        if unpack_from("<I", data, start)[0] != FATBIN_MAGIC:
            start += 8
            continue
        (header,) = unpack_from("<H", data, start + 6)
        (size,) = unpack_from("<Q", data, start + 8)
        at = start + header
        start = at + size
        while at < start:
            kind, _, head = unpack_from("<HHI", data, at)
            (length,) = unpack_from("<Q", data, at + 8)
            (capability,) = unpack_from("<I", data, at + 28)
            yield kind, capability, at + head, at + head + length
            at += head + length


def main(source: str, target: str, keep: str) -> None:
    data = bytearray(Path(source).read_bytes())
    number, size = Counter(), Counter()
    for section in sections(data, ".nv_fatbin"):
        for kind, capability, start, end in entries(data, *section):
            number[kind, capability] += 1
            size[kind, capability] += end - start
            if (kind, capability) != (CUBIN, int(keep)):
                data[start:end] = bytes(end - start)
    for one in sorted(size):
        print(one, number[one], size[one])
    Path(target).write_bytes(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
