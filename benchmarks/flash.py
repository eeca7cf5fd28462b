"""Speed of the flash kernel: page transactions per second of CPU time, per workload. Compilation is not counted.

Run:  python -P benchmarks/flash.py
"""

import platform

from tiergarten.sim.flash.speed import measure_all


def main() -> None:
    print(f"{platform.processor() or platform.machine()}, one core, best of several runs, user and system CPU time")
    print(f"{'workload':46} {'requests/s':>12} {'pages/s':>12} {'ns/event':>9}")
    for speed in measure_all():
        per_event = speed.cpu_s / speed.events * 1e9
        print(f"{speed.name:46} {speed.requests / speed.cpu_s:12,.0f} {speed.pages / speed.cpu_s:12,.0f} {per_event:9.0f}")


if __name__ == "__main__":
    main()
