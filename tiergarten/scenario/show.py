"""A scenario as text: tiers with their sizes and speeds, links between them, workload and policies."""

from tiergarten.scenario.schema import LinkConfig, ScenarioSchema
from tiergarten.sim.units import format_bytes, format_bytes_per_s, format_ps


def tier_graph(schema: ScenarioSchema) -> str:
    """The tier graph, a few lines of plain text."""
    lines = [f"{schema.name}: {schema.title}" if schema.title else schema.name, ""]
    width = max(len(name) for name in schema.tiers)
    for name, tier in schema.tiers.items():
        read, write = tier.read_bandwidth or tier.bandwidth, tier.write_bandwidth or tier.bandwidth
        rate = format_bytes_per_s(read * tier.count) if read else "its model's speed"
        if read and write and write != read:
            rate += f" read, {format_bytes_per_s(write * tier.count)} write"
        parts = [tier.kind, format_bytes(tier.capacity * tier.count), rate, tier.model.name]
        if tier.latency:
            parts.insert(3, format_ps(tier.latency))
        lines.append(f"  [{name.center(width)}]  {', '.join(parts)}" + (f"  ({tier.device})" if tier.device else ""))
        for link_name, link in schema.links.items():
            if link.between[0] == name:
                lines.append(f"   {' ' * (width // 2)}|  {link_name}: {_link(link)} to {link.between[1]}")
    for name, switch in schema.switches.items():
        joined = [f"{link_name}: {_link(link)} to {link.between[1]}" for link_name, link in schema.links.items()
                  if link.between[0] == name]  # fmt: skip
        lines.append(f"  ({name})  switch" + (f", {format_ps(switch.latency)}" if switch.latency else ""))
        lines += [f"   {' ' * (width // 2)}|  {text}" for text in joined]
    for fault in schema.faults:
        until = f"until {format_ps(fault.until)}" if fault.until is not None else "for good"
        state = "is read-only" if fault.tier else f"has {fault.share:.0%} of its rate" if fault.share else "is down"
        lines.append(f"  fault: {fault.link or fault.tier} {state} from {format_ps(fault.at)} {until}")
    lines += ["", f"  workload: {schema.workload.kind} {_inline(schema.workload.params)}"]
    if schema.policies:
        lines.append(f"  policies: {_inline(schema.policies)}")
    return "\n".join(lines)


def _link(link: LinkConfig) -> str:
    if link.model.name != "bandwidth":
        parts = [" ".join([f"{link.count} x" * (link.count > 1), link.model.name, _inline(link.model.params)]).strip()]
    else:
        parts = [format_bytes_per_s(link.bandwidth * link.count) if link.bandwidth else "calibrated"]
    if link.latency:
        parts.append(format_ps(link.latency))
    parts += [f"{link.duplex} duplex", link.sharing]
    if link.dma is not None:
        parts.append(f"{link.dma.engines} copy engines by {format_bytes(link.dma.granularity)}")
    return ", ".join(parts)


def _inline(values: object) -> str:
    if isinstance(values, dict):
        return ", ".join(
            f"{key}={_inline(value)}" if not isinstance(value, dict) else f"{key}({_inline(value)})"
            for key, value in values.items()
        )
    return str(values)
