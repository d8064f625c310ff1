"""What the machine tells of itself, on made-up files."""

from __future__ import annotations

import os

from runtime.machine.host import free_memory_bytes, read_cpuinfo, resident_bytes


def test_what_the_machine_tells(tmp_path):
    (tmp_path / "statm").write_text("900 3 2 1 0 5 0\n")
    assert resident_bytes(tmp_path / "statm") == 3 * os.sysconf("SC_PAGE_SIZE")
    assert resident_bytes(tmp_path / "none") is None
    assert free_memory_bytes(tmp_path / "none") is None


def test_free_memory_is_what_a_container_leaves(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 999 kB\nMemAvailable:    4096 kB\n")
    assert free_memory_bytes(meminfo, tmp_path) == 4096 << 10
    (tmp_path / "memory.current").write_text(str(1 << 20))
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory_bytes(meminfo, tmp_path) == 4096 << 10
    (tmp_path / "memory.max").write_text(str(3 << 20))
    assert free_memory_bytes(meminfo, tmp_path) == 2 << 20


def test_files_that_a_container_keeps_in_memory_are_free(tmp_path):
    """After reading a data set of gigabytes a container's limit is full of them, and nothing of it is taken."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemAvailable: 20000000 kB\n")
    (tmp_path / "memory.max").write_text(str(4 << 30))
    (tmp_path / "memory.current").write_text(str((4 << 30) - (100 << 20)))
    (tmp_path / "memory.stat").write_text(f"anon {300 << 20}\ninactive_file {3500 << 20}\nactive_file 5\n")
    assert free_memory_bytes(meminfo, tmp_path) == 3600 << 20
    (tmp_path / "memory.stat").write_text("anon 7\n")
    assert free_memory_bytes(meminfo, tmp_path) == 100 << 20


def test_processor_features_of_an_arm_board(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp\nCPU part\t: 0xd42\n\nprocessor\t: 1\n")
    assert read_cpuinfo(cpuinfo) == ("", {"fp", "asimd", "asimdhp", "asimddp"})
    assert read_cpuinfo(tmp_path / "none") == ("", set())
