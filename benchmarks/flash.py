"""Speed of the flash kernel: page transactions per second of CPU time, per workload. Compilation is told apart.

Run:  python -P benchmarks/flash.py [--mqsim MQSIM FOLDER...]

With `--mqsim` the program MQSim and ours run the same closed loop in turn, for each folder that holds MQSim's `ssdconfig.xml` and
`workload.xml` (one synthetic flow of kind QUEUE_DEPTH). Start-up is taken out by running a tenth of the requests too.
"""

import argparse
import platform
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

from tiergarten.sim.flash.config import DriveConfig
from tiergarten.sim.flash.drive import FOREVER_NS, run_until
from tiergarten.sim.flash.kernel.layout import Glob
from tiergarten.sim.flash.mqsim import DEFAULTS, FIXED, UNUSED, drive_from_mqsim
from tiergarten.sim.flash.speed import compile_kernel, loaded_drive, measure_all
from tiergarten.sim.flash.throughput import ClosedLoad

TURNS = 3


def fields(file: Path) -> dict[str, object]:
    """Leaves of an MQSim configuration, as numbers and switches where they are."""
    values: dict[str, object] = {}
    for leaf in ElementTree.parse(file).iter():
        text = (leaf.text or "").strip()
        if text in ("true", "false"):
            values[leaf.tag] = text == "true"
        elif text:
            number = float(text) if text.replace(".", "", 1).isdigit() else None
            values[leaf.tag] = text if number is None else int(number) if number.is_integer() else number
    return values


def mqsim_s(program: Path, folder: Path, num_requests: int) -> float:
    """User CPU time of MQSim for so many requests."""
    with tempfile.TemporaryDirectory() as place:
        for name in ("ssdconfig.xml", "workload.xml"):
            tree = ElementTree.parse(folder / name)
            for leaf in tree.iter("Total_Requests_To_Generate"):
                leaf.text = str(num_requests)
            tree.write(Path(place) / name, encoding="us-ascii", xml_declaration=True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run(
            [program.resolve(), "-i", "ssdconfig.xml", "-w", "workload.xml"],
            cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def kernel_s(config: DriveConfig, load: ClosedLoad) -> tuple[float, float]:
    """(CPU time, pages per request) of our kernel."""
    m = loaded_drive(config, load)
    started = time.process_time()
    run_until(m, FOREVER_NS)
    return time.process_time() - started, int(m[Glob.USER_PAGES]) / load.num_requests


def beside_mqsim(program: Path, folder: Path) -> None:
    """One workload, both simulators in turn."""
    device, flow = fields(folder / "ssdconfig.xml"), fields(folder / "workload.xml")
    known = {*DEFAULTS, *FIXED, *UNUSED}
    config = drive_from_mqsim(folder.name, {key: value for key, value in device.items() if key in known})
    num_requests = int(str(flow["Total_Requests_To_Generate"]))
    load = ClosedLoad(
        int(str(flow["Average_Request_Size"])) * 512,
        int(str(flow["Average_No_of_Reqs_in_Queue"])),
        read_share=int(str(flow["Read_Percentage"])) / 100,
        is_sequential=flow["Address_Distribution"] == "STREAMING",
        num_requests=num_requests,
        footprint_share=int(str(flow["Working_Set_Percentage"])) / 100,
    )
    theirs, ours, pages = [], [], 0.0
    for _ in range(TURNS):
        few = num_requests // 10
        theirs.append((mqsim_s(program, folder, num_requests) - mqsim_s(program, folder, few)) / (num_requests - few))
        cpu_s, pages = kernel_s(config, load)
        ours.append(cpu_s / num_requests)
    a, b = pages / min(ours), pages / min(theirs)
    print(f"{folder.name:46} {a:14,.0f} {b:14,.0f} {a / b:8.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mqsim", type=Path, nargs="+", default=[], metavar=("MQSIM", "FOLDER"))
    mqsim = parser.parse_args().mqsim
    print(f"{platform.processor() or platform.machine()}, one core, best of several runs, user and system CPU time")
    print(f"compiling or loading the kernel: {compile_kernel():.1f} s of CPU time, not counted below")
    if mqsim:
        print(f"{'workload':46} {'our pages/s':>14} {'MQSim pages/s':>14} {'times':>8}")
        for folder in mqsim[1:]:
            beside_mqsim(mqsim[0], folder)
        return
    print(f"{'workload':46} {'requests/s':>12} {'pages/s':>12} {'ns/event':>9}")
    for speed in measure_all():
        per_event = speed.cpu_s / speed.events * 1e9
        print(
            f"{speed.name:46} {speed.requests / speed.cpu_s:12,.0f} {speed.pages / speed.cpu_s:12,.0f} {per_event:9.0f}"
        )


if __name__ == "__main__":
    main()
