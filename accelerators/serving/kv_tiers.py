"""The prefix cache over memory tiers: look-up, room for a request, reload from below, write-through or write-on-evict.

Level 0 is the device's own memory and also holds what is no prefix block: partly filled ends and generated tokens. Every
prefix block of a running request lies in level 0. A block that leaves a level goes to the next one unless it is there
already; it leaves the last level for good. Hits in lower levels are copied up and stay where they were. Blocks are named
by nodes of the trace's prefix tree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from simpy.events import Event

from tiergarten.accelerators.serving.gates import Gate, after
from tiergarten.accelerators.serving.level import Level
from tiergarten.sim.errors import ConservationError
from tiergarten.sim.placement import Placement
from tiergarten.sim.system import System
from tiergarten.sim.trace import Role
from tiergarten.sim.transfer import Cause


class WriteMode(Enum):
    """When a block is copied to the next level."""

    THROUGH = "through"
    """As soon as it is there, so that it can be dropped later without waiting."""
    ON_EVICT = "on-evict"
    """When it has to leave; whoever needs its place waits until it is gone."""


@dataclass
class Admission:
    """A request's share of the cache while it runs."""

    request: int
    path: list[int]
    private_bytes: int
    """Keys and values that are no prefix block of its own."""
    hit_levels: list[int]
    """Level in which each block of the cached prefix was found."""
    own: list[int] = field(default_factory=list)
    """Blocks that it brings into level 0, by reloading or computing."""
    reloaded_bytes: int = 0
    reloads: list[tuple[int, int]] = field(default_factory=list)
    """(level, time) of every reload that it waited for, in order of time."""
    recomputed: list[Gate] = field(default_factory=list)
    """Of blocks that it was to reload and computes instead, for others who wait for them."""


class KvTiers:
    """KV blocks in the levels of a cache, first level first. The engine asks; transfers happen in the system."""

    def __init__(self, system: System, placement: Placement, levels: Sequence[Level], write: WriteMode):
        self._system = system
        self._engine = system.engine
        self._placement = placement
        self.levels = tuple(levels)
        self._write = write
        self._computing: set[int] = set()
        """Blocks of level 0 whose request has not finished its prefill."""
        self._loading: dict[int, tuple[int, Gate]] = {}
        """Blocks of level 0 that are being reloaded: level they come from, and when."""
        self._arriving: list[dict[int, Gate]] = [{} for _ in levels]
        """Blocks on their way into a lower level."""
        self._leaving: list[dict[int, Gate]] = [{} for _ in levels]
        """Blocks that a level has given up and whose bytes are still being copied out of it."""
        self._private_bytes = 0
        self._released: Callable[[], None] = lambda: None
        self.dropped_blocks = [0] * len(self.levels)
        """Blocks that left a level without being copied."""
        self.demoted_blocks = [0] * len(self.levels)
        """Blocks that were copied to the next level because they had to leave."""

    def on_release(self, function: Callable[[], None]) -> None:
        """Call `function` whenever blocks that were held for a copy are released."""
        self._released = function

    def can_ever_hold(self, path: list[int], private_bytes: int) -> bool:
        """Whether level 0 could hold the request if it were alone."""
        first = self.levels[0]
        return len(path) * first.block_bytes + private_bytes <= first.capacity_bytes

    def hit_levels(self, path: list[int]) -> list[int]:
        """Level of each block of the longest prefix of `path` that is cached somewhere, the highest level counting."""
        found = []
        first = self.levels[0]
        for block in path:
            if block in first:
                if block in self._computing:
                    break
                found.append(self._loading[block][0] if block in self._loading else 0)
                continue
            level = next((i for i in range(1, len(self.levels)) if block in self.levels[i]), None)
            if level is None:
                break
            found.append(level)
        return found

    def admit(
        self,
        request: int,
        path: list[int],
        private_bytes: int,
        has_room: Callable[[Admission], None],
        ready: Callable[[Admission], None],
    ) -> bool:
        """Find room for a request in level 0 and bring its cached prefix there; False if it must wait until others release.

        Calls `has_room` once what had to leave is gone, and then `ready` once its cached prefix has arrived. The request's
        number is the `now` of the eviction policies.
        """
        first, now = self.levels[0], request
        hit_levels = self.hit_levels(path)
        hits = len(hit_levels)
        own = [block for block in path if block not in first]
        # what others are computing right now is computed a second time, beside the cache
        duplicates = sum(block in first for block in path[hits:])
        private_bytes += duplicates * first.block_bytes
        used = [block for block in path if block in first]
        newly_held = sum(not first.is_held(block) for block in used)
        in_use = self._private_bytes + (first.num_held + newly_held) * first.block_bytes
        if in_use + len(own) * first.block_bytes + private_bytes > first.capacity_bytes:
            return False
        admission = Admission(request, path, private_bytes, hit_levels, own)
        for block in path[:hits]:
            for level in self.levels:
                if block in level:
                    level.policy.access(block, now)
        for block in used:
            first.hold(block)
        waits = [self._loading[block] for block in path[:hits] if block in self._loading]
        sources = self._hold_sources(path[:hits], own)
        gates = [
            self._arriving[level][block]
            for level, blocks in sources.items()
            for block in blocks
            if block in self._arriving[level]
        ]
        gates += [self._leaving[0][block] for block in own if block in self._leaving[0]]
        self._leave(0, self._take_own(admission, set(path[:hits]), now), now)
        gates += self._room_gates(0)
        after(gates, lambda: self._bring_in(admission, sources, waits, (has_room, ready)))
        return True

    def computed(self, admission: Admission) -> None:
        """The request's prefill is done: its blocks can be hit from now on and are copied down."""
        self._computing.difference_update(admission.own)
        for gate in admission.recomputed:
            gate.open()
        if self._write is WriteMode.THROUGH:
            self._copy_down(0, admission.path, admission.request)

    def finish(self, admission: Admission) -> None:
        """The request is done: its private bytes are free, its blocks may leave."""
        first = self.levels[0]
        for block in admission.path:
            first.release(block)
        first.used_bytes -= admission.private_bytes
        self._private_bytes -= admission.private_bytes
        if admission.private_bytes:
            self._placement.discard(first.name, ("request", admission.request))

    def _hold_sources(self, hits: list[int], own: list[int]) -> dict[int, list[int]]:
        """By lower level, the blocks to reload from it; they must not leave before they are copied."""
        missing = set(own)
        sources: dict[int, list[int]] = {}
        for block in hits:
            if block in missing:
                level = next(i for i in range(1, len(self.levels)) if block in self.levels[i])
                sources.setdefault(level, []).append(block)
                self.levels[level].hold(block)
                self._loading[block] = (level, Gate())
        return sources

    def _take_own(self, admission: Admission, hits: set[int], now: int) -> list[int]:
        """Insert the request's blocks one by one, each after as many have left as it needs; returns those that left."""
        first = self.levels[0]
        leaving: list[int] = []
        for block in admission.own:
            leaving += self._evict(first, first.block_bytes, block, now)
            first.insert(block, now)
            first.hold(block)
            if block not in hits:
                self._computing.add(block)
        leaving += self._evict(first, admission.private_bytes, None, now)
        first.used_bytes += admission.private_bytes
        self._private_bytes += admission.private_bytes
        if first.free_bytes < 0:
            raise ConservationError(f"{first.name} is promised {-first.free_bytes} bytes beyond its capacity")
        return leaving

    @staticmethod
    def _evict(level: Level, num_bytes: int, incoming: int | None, now: int) -> list[int]:
        """Take blocks out of `level` until `num_bytes` are free or no block can leave."""
        gone: list[int] = []
        while level.free_bytes < num_bytes:
            block = level.victim(incoming, now)
            if block is None:
                break
            level.remove(block)
            gone.append(block)
        return gone

    def _room_gates(self, index: int) -> list[Gate]:
        """What to wait for before everything promised in a level is really there: blocks on their way out, if they are in the way."""
        level, leaving = self.levels[index], self._leaving[index]
        if level.used_bytes + len(leaving) * level.block_bytes <= level.capacity_bytes:
            return []
        return list(dict.fromkeys(leaving.values()))

    def _leave(self, index: int, blocks: list[int], now: int) -> None:
        """Blocks that were taken out of a level: copy down what the next level lacks, drop the rest."""
        level = self.levels[index]
        moving: list[int] = []
        gates: list[Gate] = []
        copied: set[int] = set()
        if index + 1 < len(self.levels):
            below = self.levels[index + 1]
            copied = {block for block in blocks if block in below}
            moving, gates = self._enter(index + 1, [block for block in blocks if block not in copied], now)
        moved = set(moving)
        for block in blocks:
            if block in copied:
                self._placement.remove(level.name, block)
            elif block not in moved:
                self._placement.discard(level.name, block)
        self.dropped_blocks[index] += len(blocks) - len(moving)
        self.demoted_blocks[index] += len(moving)
        if not moving:
            return
        gone = Gate()
        self._leaving[index].update(dict.fromkeys(moving, gone))

        def left(arrived: set[int]) -> None:
            for block in moving:
                drop = self._placement.remove if block in arrived else self._placement.discard
                drop(level.name, block)
                del self._leaving[index][block]
            turned_away = len(moving) - len(arrived)
            self.dropped_blocks[index] += turned_away
            self.demoted_blocks[index] -= turned_away
            gone.open()

        after(gates, lambda: self._move(index, moving, Cause.EVICTION, now, left))

    def _copy_down(self, index: int, blocks: list[int], now: int) -> None:
        """Copy blocks of a level to the next one, as far as they are not there and room can be made."""
        if index + 1 == len(self.levels):
            return
        level, below = self.levels[index], self.levels[index + 1]
        moving, gates = self._enter(index + 1, [block for block in blocks if block not in below], now)
        if not moving:
            return
        # the whole way from the root stays, so that what is being copied cannot be cut off from above
        kept = blocks[: blocks.index(moving[-1]) + 1] if index == 0 else moving
        for block in kept:
            level.hold(block)

        def copied(arrived: set[int]) -> None:
            for block in kept:
                level.release(block)
            self._copy_down(index + 1, [block for block in moving if block in arrived], now)
            self._released()

        after(gates, lambda: self._move(index, moving, Cause.WRITEBACK, now, copied))

    def _enter(self, index: int, blocks: list[int], now: int) -> tuple[list[int], list[Gate]]:
        """Promise room in a lower level to as many of `blocks` as possible: those, and the gates to wait for.

        A level that is read-only takes none.
        """
        level = self.levels[index]
        entering: list[int] = []
        leaving: list[int] = []
        gates: list[Gate] = []
        if not self._takes_blocks(level):
            return entering, gates
        for block in blocks:
            leaving += self._evict(level, level.block_bytes, block, now)
            if level.free_bytes < level.block_bytes:
                break
            level.insert(block, now)
            level.hold(block)
            self._arriving[index][block] = Gate()
            entering.append(block)
            if block in self._leaving[index]:
                gates.append(self._leaving[index][block])
        self._leave(index, leaving, now)
        return entering, gates + self._room_gates(index)

    def _takes_blocks(self, level: Level) -> bool:
        """Whether the level's tier takes writes now: it may be read-only or worn out."""
        return self._system.tiers[level.name].takes_writes(self._engine.now_ps)

    def _move(
        self, index: int, blocks: list[int], cause: Cause, request: int, done: Callable[[set[int]], None]
    ) -> None:
        """Copy blocks to the next level in one transfer, now that there is room; `done` is told which have arrived.

        None arrives where the next level has become read-only while they waited for the room.
        """
        level, below = self.levels[index], self.levels[index + 1]

        def arrived(_: Event) -> None:
            for block in blocks:
                below.release(block)
                self._arriving[index + 1].pop(block).open()
            done(set(blocks))

        if not self._takes_blocks(below):
            self._turn_away(index + 1, blocks)
            done(set())
            return
        size = len(blocks) * level.block_bytes
        transfer = self._system.transfer(level.name, below.name, size, cause, Role.KV, request)
        for block in blocks:
            self._placement.add(below.name, block, below.block_bytes, Role.KV, transfer.id)
        assert transfer.callbacks is not None
        transfer.callbacks.append(arrived)

    def _turn_away(self, index: int, blocks: list[int]) -> None:
        """Take back what a level had promised. A request that was to reload a block from there finds out in `_recompute`."""
        level = self.levels[index]
        for block in blocks:
            level.release(block)
            if not level.is_held(block):
                level.remove(block)
            self._arriving[index].pop(block).open()

    def _recompute(self, admission: Admission, sources: dict[int, list[int]]) -> None:
        """If a block has not arrived where the request was to reload it from, its prefix ends there and it computes the rest."""
        lost = {
            block
            for index, blocks in sources.items()
            for block in blocks
            if not self._placement.holds(self.levels[index].name, block)
        }
        if not lost:
            return
        kept = next(place for place, block in enumerate(admission.path) if block in lost)
        del admission.hit_levels[kept:]
        beyond = set(admission.path[kept:])
        for index, blocks in sources.items():
            level = self.levels[index]
            for block in beyond.intersection(blocks):
                level.release(block)
                if block in lost:
                    level.remove(block)
                admission.recomputed.append(self._loading.pop(block)[1])
                self._computing.add(block)
            blocks[:] = [block for block in blocks if block not in beyond]

    def _bring_in(
        self,
        admission: Admission,
        sources: dict[int, list[int]],
        waits: list[tuple[int, Gate]],
        tell: tuple[Callable[[Admission], None], Callable[[Admission], None]],
    ) -> None:
        """Everything that had to leave is gone: book the request's bytes and start the reloads."""
        first = self.levels[0]
        has_room, ready = tell
        self._recompute(admission, sources)
        has_room(admission)
        reloaded = {block for blocks in sources.values() for block in blocks}
        for block in admission.own:
            if block not in reloaded:
                self._placement.add(first.name, block, first.block_bytes, Role.KV)
        if admission.private_bytes:
            self._placement.add(first.name, ("request", admission.request), admission.private_bytes, Role.KV)
        gates = []
        for level, blocks in sources.items():
            if not blocks:
                continue
            gates += [self._loading[block][1] for block in blocks]
            self._reload(admission, level, blocks)
        for level, gate in waits:
            if not gate.is_open:
                gate.then(partial(self._note_reload, admission, level))
                gates.append(gate)
        after(gates, lambda: ready(admission))

    def _note_reload(self, admission: Admission, level: int) -> None:
        admission.reloads.append((level, self._engine.now_ps))

    def _reload(self, admission: Admission, index: int, blocks: list[int]) -> None:
        level, first = self.levels[index], self.levels[0]
        size = len(blocks) * first.block_bytes
        admission.reloaded_bytes += size

        def arrived(_: Event) -> None:
            self._note_reload(admission, index)
            for block in blocks:
                level.release(block)
                self._loading.pop(block)[1].open()

        transfer = self._system.transfer(level.name, first.name, size, Cause.DEMAND, Role.KV, admission.request)
        for block in blocks:
            self._placement.add(first.name, block, first.block_bytes, Role.KV, transfer.id)
        assert transfer.callbacks is not None
        transfer.callbacks.append(arrived)
