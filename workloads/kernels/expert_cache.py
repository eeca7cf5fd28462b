"""Composition of experts behind a router, a few of them in fast memory (SambaNova SN40L, arXiv 2405.07518)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.lru_cache import LruSlots, lru_misses
from tiergarten.workloads.recorders.kernel import AnyRecorder, plain
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@KERNELS.register("expert_cache")
@dataclass(frozen=True)
class ExpertCache:
    """Requests routed to experts that live in DDR; the least recently used ones give way in HBM.

    The paper's (Sec. V): router always in HBM; one request = router, copy of the expert if absent, expert; least
    recently used eviction, nothing charged for a hit, read-only weights never copied back; in a batch the router runs
    once and the (prompt, expert) pairs run one after another. Ours: router and experts are one matrix each (a router as
    large as an expert, as there), prompts are drawn around `experts` centres with Zipf popularity; the paper publishes
    no request trace.
    """

    experts: int = 12
    slots: int = 4
    width: int = 48
    requests: int = 16
    batch: int = 2
    skew: float = 1.0

    @property
    def work(self) -> Work:
        return Work(self.requests, "request")

    @classmethod
    def examples(cls) -> list["ExpertCache"]:
        """Thrashing, fitting and single-slot caches."""
        return [cls(), cls(slots=12, batch=1), cls(experts=5, slots=1, requests=9, batch=3, width=16)]

    @property
    def expert_bytes(self) -> int:
        """Weights of one expert."""
        return self.width * self.width * 4

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Every prompt's answer, against its expert found and applied in float64."""
        rng = stream(seed, "expert_cache")
        shape = (self.experts, self.width, self.width)
        weights = (rng.standard_normal(shape) / np.sqrt(self.width)).astype(np.float32)
        router_weights = rng.standard_normal((self.width, self.width)).astype(np.float32)
        x = self._prompts(rng, router_weights)
        experts = [recorder.array(f"ddr_expert[{i}]", weights[i], Role.WEIGHT) for i in range(self.experts)]
        cache = [
            recorder.array(f"hbm_expert[{i}]", np.zeros(shape[1:], np.float32), Role.WEIGHT) for i in range(self.slots)
        ]
        router = recorder.array("router", router_weights, Role.WEIGHT)
        prompts = recorder.array("x", x, Role.ACTIVATION)
        out = recorder.array("out", np.zeros(x.shape, np.float32), Role.ACTIVATION)
        slots, asked = LruSlots(self.slots), []
        for start in range(0, len(x), self.batch):
            here = slice(start, min(start + self.batch, len(x)))
            with recorder.op(f"batch {start} route", 2.0 * (here.stop - start) * self.width**2):
                chosen = (prompts[here] @ router[:])[:, : self.experts].argmax(axis=1)
            for prompt, expert in enumerate(chosen.tolist(), start):
                slot, hit = slots.use(expert)
                asked.append(expert)
                if not hit:
                    with recorder.op(f"prompt {prompt} copy expert {expert}", stream=1):
                        cache[slot][:] = experts[expert][:]
                with recorder.op(f"prompt {prompt} expert {expert}", 2.0 * self.width**2):
                    out[prompt] = prompts[prompt] @ cache[slot][:]
        best = (x.astype(np.float64) @ router_weights)[:, : self.experts].argmax(axis=1)
        reference = np.einsum("nd,nde->ne", x.astype(np.float64), weights[best].astype(np.float64))
        return Outcome(plain(out), reference, {"misses": lru_misses(asked, self.slots)})

    def _prompts(self, rng: np.random.Generator, router: np.ndarray) -> np.ndarray:
        """float32[requests, width]: each likes one expert's router column, popular ones more often."""
        popularity = 1 / np.arange(1, self.experts + 1) ** self.skew
        favourites = rng.choice(self.experts, self.requests, p=popularity / popularity.sum())
        return (router[:, favourites].T + rng.standard_normal((self.requests, self.width))).astype(np.float32)

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Router once per batch, expert once per request, and once more from DDR for every miss; nothing goes back."""
        batches = -(-self.requests // self.batch)
        copied = counts["misses"] * self.expert_bytes
        row = self.requests * self.width * 4
        return {
            "router": Traffic(batches * self.expert_bytes),
            "ddr_expert": Traffic(copied),
            "hbm_expert": Traffic(self.requests * self.expert_bytes, copied),
            "x": Traffic(2 * row),
            "out": Traffic(0, row),
        }
