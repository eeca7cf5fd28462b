"""One level of the tiered prefix cache: which blocks a tier holds, which of them may leave, in which order."""

from collections import defaultdict

from tiergarten.sim.eviction import EvictionPolicy


class Level:
    """The KV blocks in one tier. A block may leave when nobody uses it and none of its children is in the same tier.

    `used_bytes` is what is promised: a block that is on its way out no longer counts, one that is on its way in does. The
    ledger (`Placement`) follows when the bytes have moved, so it never exceeds the capacity.
    """

    def __init__(self, name: str, capacity_bytes: int, block_bytes: int, policy: EvictionPolicy, parents: list[int]):
        self.name = name
        self.capacity_bytes = capacity_bytes
        self.block_bytes = block_bytes
        self.used_bytes = 0
        self.num_held = 0
        """Blocks with at least one user."""
        self.policy = policy
        self._parents = parents
        self._children: defaultdict[int, int] = defaultdict(int)
        self._users: dict[int, int] = {}

    @property
    def free_bytes(self) -> int:
        """Bytes that are promised to nobody."""
        return self.capacity_bytes - self.used_bytes

    def __contains__(self, block: object) -> bool:
        return block in self.policy

    def is_held(self, block: int) -> bool:
        """Whether anybody uses the block."""
        return block in self._users

    def insert(self, block: int, now: int) -> None:
        """Take `block` in; the caller has made room."""
        self.used_bytes += self.block_bytes
        self.policy.insert(block, now)
        if self._children.get(block):
            self.policy.pin(block)
        parent = self._parents[block]
        self._children[parent] += 1
        if parent in self.policy:
            self.policy.pin(parent)

    def remove(self, block: int) -> None:
        """Let `block` go; nobody uses it."""
        self.used_bytes -= self.block_bytes
        self.policy.remove(block)
        parent = self._parents[block]
        self._children[parent] -= 1
        if not self._children[parent]:
            del self._children[parent]
            if parent in self.policy and parent not in self._users:
                self.policy.unpin(parent)

    def hold(self, block: int) -> None:
        """One more user of `block`."""
        users = self._users.get(block, 0)
        self._users[block] = users + 1
        if not users:
            self.num_held += 1
            self.policy.pin(block)

    def release(self, block: int) -> None:
        """One user less."""
        users = self._users[block]
        if users > 1:
            self._users[block] = users - 1
            return
        del self._users[block]
        self.num_held -= 1
        if not self._children.get(block):
            self.policy.unpin(block)

    def victim(self, incoming: int | None, now: int) -> int | None:
        """The block to let go next. A policy that refuses `incoming` (OPT) is asked again without it: room must be found."""
        block = self.policy.victim(incoming, now)
        return self.policy.victim(None, now) if block is None and incoming is not None else block
