"""How many experts a node holds, and how many nodes hold all experts beside the devices."""

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True)
class Footprint:
    """Bytes of a composition of experts: one router, any number of experts, and the context of the prompts under way."""

    expert_bytes: int
    router_bytes: int
    context_bytes: int
    """Keys and values of all prompts that run together; they live beside the device."""

    def cached_experts(self, cache_bytes: int) -> int:
        """Whole experts that fit beside the router and the context; negative if not even those do."""
        return (cache_bytes - self.router_bytes - self.context_bytes) // self.expert_bytes

    def homed_experts(self, home_bytes: int) -> int:
        """Whole experts that a home tier holds; everything cached has its home there too, the router first."""
        return (home_bytes - self.router_bytes) // self.expert_bytes

    def nodes_to_cache(self, experts: int, cache_bytes: int) -> int:
        """Nodes whose pooled caches hold router, context and all experts. Weights are split over devices, so the pool counts."""
        return ceil((self.router_bytes + self.context_bytes + experts * self.expert_bytes) / cache_bytes)

    def nodes_to_home(self, experts: int, home_bytes: int) -> int:
        """Nodes whose home tiers together hold the router and all experts."""
        return ceil((self.router_bytes + experts * self.expert_bytes) / home_bytes)
