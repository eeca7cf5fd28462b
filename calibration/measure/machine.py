"""What machine and software the measurements come from, as found, without names of hosts, users or folders."""

import importlib.util
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from tiergarten.calibration.measure.build import Compilers

GPU_FIELDS: Final = ("name", "driver_version", "memory.total", "memory.free", "compute_cap")
MORE_GPU_FIELDS: Final = (
    "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem",
    "power.limit", "temperature.gpu", "persistence_mode", "mig.mode.current", "ecc.mode.current", "pcie.link.gen.current",
    "pcie.link.width.current",
)  # fmt: skip
PACKAGES: Final = ("numpy", "torch", "triton", "cupy-cuda13x")


@dataclass(frozen=True)
class Machine:
    """What an item can count on."""

    gpu: dict[str, str] | None
    """As nvidia-smi says, None if there is none."""
    gpu_missing: str
    """Why there is none."""
    compilers: Compilers

    @property
    def cuda_arch(self) -> str:
        """The GPU's own architecture as nvcc names it: sm_90 for compute capability 9.0."""
        capability = (self.gpu or {}).get("compute_cap", "")
        return f"sm_{capability.replace('.', '')}" if re.fullmatch(r"\d+\.\d", capability) else "native"

    def lacks(self, needs: tuple[str, ...], is_stand_in: bool) -> str:
        """Why an item that needs these cannot run here; empty if it can. In a dry run no GPU, nvcc or Triton is needed."""
        for need in needs:
            if need == "gpu" and self.gpu is None and not is_stand_in:
                return self.gpu_missing
            if need == "nvcc" and not (self.compilers.cpp if is_stand_in else self.compilers.nvcc):
                return "no C++ compiler (g++) for the stand-in" if is_stand_in else "no CUDA compiler (nvcc)"
            if need == "cc" and self.compilers.c is None:
                return "no C compiler (cc or gcc)"
            if need in ("torch", "triton") and not (need == "triton" and is_stand_in) and not _is_installed(need):
                return f"{need} is not installed"
        return ""


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def find_machine(compilers: Compilers) -> Machine:
    """Look for a GPU by asking the driver's own tool; nothing is changed on it."""
    gpu = _asked(GPU_FIELDS)
    if gpu is None:
        return Machine(None, "no NVIDIA GPU (nvidia-smi does not answer or lists none)", compilers)
    return Machine(gpu | (_asked(MORE_GPU_FIELDS) or {}), "", compilers)


def _asked(fields: tuple[str, ...]) -> dict[str, str] | None:
    """What nvidia-smi says of the first GPU, None if it does not know one of the fields or has no GPU."""
    answer = _output(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"])
    values = [value.strip() for value in answer.splitlines()[0].split(",")] if answer and answer.strip() else []
    return dict(zip(fields, values, strict=True)) if len(values) == len(fields) else None


def describe(machine: Machine) -> dict[str, Any]:
    """For the manifest."""
    return {
        "cpu": {
            "model": _cpu_model(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "caches": _caches(),
            "is_guest": "hypervisor" in _proc_line("/proc/cpuinfo", "flags"),
        },
        "gpu": machine.gpu,
        "software": {
            "python": platform.python_version(),
            "kernel": platform.release(),
            **{package: _version(package) for package in PACKAGES},
            "cc": _first_line(machine.compilers.c),
            "nvcc": _last_line(machine.compilers.nvcc),
        },
    }


def identity(description: dict[str, Any]) -> dict[str, Any]:
    """The part that must agree before pieces of two sittings may stand in one folder."""
    gpu = description["gpu"]
    return {
        "cpu": description["cpu"]["model"], "cores": description["cpu"]["cores"], "gpu": gpu["name"] if gpu else None,
    }  # fmt: skip


def load_average() -> float:
    """Processes that ran or waited over the last minute."""
    return round(os.getloadavg()[0], 2)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    return _proc_line("/proc/cpuinfo", "model name") or platform.machine()


def _proc_line(file: str, key: str) -> str:
    try:
        for line in Path(file).read_text().splitlines():
            if line.startswith(key):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return ""


def _caches() -> dict[str, str]:
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        found[f"L{level} {kind.lower()}"] = size
    return found


def _first_line(compiler: str | None) -> str | None:
    answer = _output([compiler, "--version"]) if compiler else None
    return answer.splitlines()[0] if answer else None


def _last_line(compiler: str | None) -> str | None:
    answer = _output([compiler, "--version"]) if compiler else None
    return answer.strip().splitlines()[-1] if answer else None


def _output(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
