"""arm64.py FOLDER MESON [PATTERN...] - the kernels, built for arm64 and run under user emulation.

Cross-builds what libc alone carries (option kernels_only) into FOLDER and runs its test programs as
several CPUs. To the kernels these differ by the features the system reports, so each must choose
its tier; what the tiers compute is compared at length on the CPU that has them all. PATTERNS choose
tests by name; FATHOM_TEST_LONG=1 runs every test on every CPU.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "style"))
from style import ROOT, Skip, run  # noqa: E402

FOLDER, MESON, PATTERNS = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
LIBRARIES = Path("/usr/aarch64-linux-gnu")
NEEDED = {"gcc-aarch64-linux-gnu": shutil.which("aarch64-linux-gnu-gcc"),
          "libc6-dev-arm64-cross": (LIBRARIES / "include" / "stdio.h").exists(),
          "qemu-user": shutil.which("qemu-aarch64")}
# The backward pass of attention runs the forward one.
SHORT = ["tier_", "gemm_grouped", "gemm_rows", "gemm_k_split", "rows_tiers", "moe_tiers", "bf16_"]
MOST = ["tier_", "gemm_", "rows_", "moe_", "router_", "bf16_", "adamw_", "bench_",
        "attention_backward_tiers", "softmax_", "exp_", "log_", "sum_", "finite_"]
# Name for qemu, the tier it must end up with, kernel tests that are enough; the longest first.
CPUS = [("max", "neon-bf16", MOST), ("cortex-a53", "neon", SHORT), ("cortex-a76", "neon", SHORT),
        ("neoverse-n1", "neon", SHORT)]


def complaints_of(command, **environment):
    """Runs a command; the end of what it said if it failed, or nothing."""
    command = [str(c) for c in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, env={**os.environ, **environment})
    if done.returncode == 0:
        return []
    return [f"{' '.join(command)}: exit code {done.returncode}",
            *done.stdout.rstrip().split("\n")[-40:]]


def build():
    setup = [MESON, "setup", FOLDER, ROOT, "--cross-file", ROOT / "tools/aarch64.cross",
             "-Dkernels_only=true"]
    if not (FOLDER / "build.ninja").exists() and (said := complaints_of(setup)):
        return said
    return complaints_of([MESON, "compile", "-C", FOLDER])


def run_as(cpu, tier, enough):
    emulated = ["qemu-aarch64", "-L", LIBRARIES, "-cpu", cpu]
    patterns = PATTERNS or ([] if os.environ.get("FATHOM_TEST_LONG") == "1" else enough)
    base = complaints_of([*emulated, FOLDER / "tests/base/test-base-core", *PATTERNS])
    return base + complaints_of([*emulated, FOLDER / "tests/kernels/test-kernels", *patterns],
                                FATHOM_TEST_BEST_TIER=tier)


def check_of(name, result):
    """A check for style.run whose work may still be going on."""

    def check():
        return result()

    check.__name__ = name
    return check


def skipped():
    raise Skip("missing packages: " + " ".join(p for p, found in NEEDED.items() if not found))


def main():
    if not all(NEEDED.values()):
        run(check_of("arm64_kernels", skipped))
    said = build()
    with ThreadPoolExecutor(2) as pool:
        jobs = [] if said else [(cpu[0], pool.submit(run_as, *cpu)) for cpu in CPUS]
        run(check_of("arm64_builds", lambda: said),
            *(check_of("arm64_" + cpu.replace("-", "_"), job.result) for cpu, job in jobs))


if __name__ == "__main__":
    main()
