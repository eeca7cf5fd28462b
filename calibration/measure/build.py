"""Compiles the programs of the suite on the machine that runs them."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tiergarten.calibration.measure.item import Program

HERE: Final = Path(__file__).resolve().parent
LIMIT_S: Final = 180


@dataclass(frozen=True)
class Compilers:
    """Paths of what compiles, None where it is missing."""

    c: str | None
    cpp: str | None
    """Only for dry runs of CUDA programs."""
    nvcc: str | None


def find_compilers() -> Compilers:
    """What is on the path; nvcc also where CUDA installs it by default."""
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    return Compilers(shutil.which("cc") or shutil.which("gcc"), shutil.which("g++") or shutil.which("c++"), nvcc)


class BuildError(Exception):
    """A program did not compile; the message holds the compiler's own."""


def build(program: Program, compilers: Compilers, folder: Path, is_stand_in: bool, cuda_arch: str = "native") -> Path:
    """Compile into `folder` and return the executable. BuildError if there is no compiler or it fails.

    CUDA programs are built for `cuda_arch`; in a dry run, for the host with `cuda/stand_in.hpp`.
    """
    source = HERE / program.source
    target = folder / source.stem
    command = build_command(program, compilers, is_stand_in, cuda_arch)
    try:
        done = subprocess.run(
            [*command, str(source), "-o", str(target)], capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{Path(command[0]).name} did not finish within {LIMIT_S} s") from error
    if done.returncode:
        raise BuildError(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()[-1500:]}")
    return target


def build_command(program: Program, compilers: Compilers, is_stand_in: bool, cuda_arch: str) -> list[str]:
    """Compiler and options, without source and target."""
    if program.is_cuda and is_stand_in:
        return [
            _required(compilers.cpp, "a C++ compiler (g++)"),
            "-x", "c++", "-std=c++20", "-O0", "-pthread", "-DTIERGARTEN_STAND_IN", "-Wall", "-Wno-unused-function",
            "-Wno-unknown-pragmas",
        ]  # fmt: skip
    if program.is_cuda:
        return [_required(compilers.nvcc, "the CUDA compiler (nvcc)"), "-std=c++17", "-O3", f"-arch={cuda_arch}"]
    return [_required(compilers.c, "a C compiler (cc or gcc)"), "-std=gnu11", "-O3", "-march=native", "-pthread"]


def _required(path: str | None, what: str) -> str:
    if path is None:
        raise BuildError(f"{what} is missing")
    return path
