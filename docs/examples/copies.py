"""One hundred copies of 64 MiB over a link: the smallest useful run, from Python."""

import tiergarten as tg

SCENARIO = """
schema_version: 1
name: copies
tiers:
  hbm: {kind: hbm, capacity: "80 GB", bandwidth: "3.35 TB/s", latency: "500 ns"}
  ddr: {kind: ddr, capacity: "512 GiB", bandwidth: "300 GB/s", latency: "100 ns"}
links:
  pcie: {between: [hbm, ddr], bandwidth: "55 GB/s", latency: "1 us"}
workload:
  kind: copies
  copies: [{source: ddr, destination: hbm, bytes: "64 MiB", count: 100}]
"""

with open("copies.yaml", "w") as file:
    file.write(SCENARIO)

result = tg.run("copies.yaml")
print(f"elapsed      {result.metrics['elapsed_s'] * 1000:.3f} ms")
print(f"throughput   {result.metrics['throughput_bytes_per_s'] / 1e9:.2f} GB/s")
print(f"transfers    {len(result.transfers)}")

faster = tg.run("copies.yaml", set={"links.pcie.bandwidth": "110 GB/s"})
print(f"twice as fast a link: {result.metrics['elapsed_s'] / faster.metrics['elapsed_s']:.3f} times as fast")
