"""How fast compositions of experts are simulated: prompts and transfers per second of processor time."""

import time

from tiergarten.scenario import load_scenario
from tiergarten.scenario.load import with_values
from tiergarten.simulate import simulate

REPEATS = 3


def main() -> None:
    """Print a line per scenario; the best of several runs, since the machine is shared."""
    print(f"{'scenario':16} {'output tokens':>14} {'prompts/s':>10} {'transfers/s':>12} {'simulated s per s':>18}")
    for name in ("sn40l-coe", "dgx-a100-coe"):
        for tokens in (20, 200):
            values = {"workload.output_tokens": tokens, "workload.batches": 200, "outputs.transfers": False}
            scenario = with_values(load_scenario(name), values, "benchmark")
            best_s = float("inf")
            for _ in range(REPEATS):
                started = time.process_time()
                result = simulate(scenario)
                best_s = min(best_s, time.process_time() - started)
            prompts, transfers = len(result.requests), result.metrics["transfers"]
            speed = result.metrics["elapsed_s"] / best_s
            print(f"{name:16} {tokens:14} {prompts / best_s:10.0f} {transfers / best_s:12.0f} {speed:18.0f}")


if __name__ == "__main__":
    main()
