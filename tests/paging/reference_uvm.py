"""An independent, slow model of the UVM driver for small runs: one lane, one uTLB slot per batch entry, no costs.

Written from the description alone (batches, sort, 64 KiB growth, 51 % tree, 2 MiB least-recently-allocated eviction) with sets and
lists; the kernels are compared with it.
"""

PAGES, REGION = 512, 16


def tree_fetch(resident: set[int], faulted: set[int], valid: set[int]) -> set[int]:
    """Pages of one VABlock (0..511) to be fetched for its faulted pages."""
    soon = set(resident) | faulted
    for page in faulted:
        first = page // REGION * REGION
        soon |= set(range(first, first + REGION)) & valid
    fetch = set(soon)
    for page in faulted:
        size, best = 2 * REGION, None
        while size <= PAGES:
            span = set(range(page // size * size, page // size * size + size))
            if 100 * len(soon & span) > 51 * len(valid & span):
                best = span & valid
            size *= 2
        fetch |= best or set()
    return fetch - resident


class ReferenceUvm:
    """One GPU; `touch` runs a list of pages, all of them independent, with `slots` accesses in flight."""

    def __init__(self, num_pages: int, device_blocks: int):
        self.num_pages, self.device_blocks = num_pages, device_blocks
        self.blocks: list[int] = []  # VABlocks with memory, least recently allocated first
        self.resident: set[int] = set()
        self.faulted = self.fetched = self.evictions = self.evicted = self.batches = 0

    def touch(self, pages: list[int], slots: int, batch: int) -> None:
        waiting: list[int] = []
        ahead = list(pages)
        while ahead or waiting:
            while ahead and (ahead[0] in self.resident or len(waiting) < slots):
                page = ahead.pop(0)
                if page not in self.resident:
                    waiting.append(page)
            if waiting:
                self.batches += 1
                wanted = sorted(set(waiting[:batch]))
                for block in dict.fromkeys(page // PAGES for page in wanted):
                    self._serve(block, {page % PAGES for page in wanted if page // PAGES == block})
                waiting = [page for page in waiting if page not in self.resident]

    def _serve(self, block: int, faulted: set[int]) -> None:
        base = block * PAGES
        valid = {page - base for page in range(base, min(base + PAGES, self.num_pages))}
        here = {page - base for page in self.resident if page // PAGES == block}
        fetch = tree_fetch(here, faulted - here, valid) if faulted - here else set()
        if fetch and block not in self.blocks:
            if len(self.blocks) == self.device_blocks:
                victim = self.blocks.pop(0)
                lost = {page for page in self.resident if page // PAGES == victim}
                self.resident -= lost
                self.evictions += 1
                self.evicted += len(lost)
            self.blocks.append(block)
        self.faulted += len(faulted - here)
        self.fetched += len(fetch)
        self.resident |= {base + page for page in fetch}
