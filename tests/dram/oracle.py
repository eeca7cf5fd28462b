"""A slow and obvious memory controller: every tick, every request, every node of the tree. The kernels must agree with it.

Written from the rules of the reference simulator's ticks; it shares nothing with the kernels but the resolved integers.
"""

from collections import defaultdict, deque
from dataclasses import dataclass, field

from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.resolve import DramDevice

COLUMN = {"RD", "WR", "RDA", "WRA", "RD_S", "WR_S", "RDA_S", "WRA_S"}
CLOSING = {"PREpb", "PREab", "RDA", "WRA", "RDA_S", "WRA_S"}
REFRESHING = {"REFab", "REFpb", "RFMab", "RFMpb"}
WIDE = {"PREab", "REFab", "RFMab", "RCKSTRT", "RCKSTOP"}


@dataclass
class Request:
    """A request in a queue. `av`: coordinates from below Channel; -1 = all."""

    number: int
    kind: int
    av: tuple[int, ...]
    final: str
    arrive: int = -1
    address: int = -1
    depart: int = -1
    done: int = -1
    cmd: str = ""
    deadline: int = -1


class Tree:
    """Device timing by nodes: `ready[node][command]`, a node being the tuple of coordinates that leads to it."""

    def __init__(self, device: DramDevice):
        self.device = device
        self.sizes = device.counts[1:-2]
        self.names = device.standard.commands
        self.ready: dict[tuple[int, ...], dict[str, int]] = defaultdict(dict)
        self.history: dict[tuple[tuple[int, ...], str], list[int]] = defaultdict(list)
        self.rows: dict[tuple[int, ...], object] = {}
        self.rules: dict[tuple[int, str], list] = defaultdict(list)
        for c in device.constraints:
            self.rules[c.level, self.names[c.preceding]].append((self.names[c.following], c.ticks, c.window, c.sibling))
        row_commands = set(device.standard.row_commands)
        for number, name in enumerate(self.names):
            length = device.command_ticks[number]
            if length > 1:
                for other in self.names:
                    if (name in row_commands) == (other in row_commands):
                        self.rules[0, name].append((other, length, 1, False))

    def children(self, node):
        return [(*node, child) for child in range(self.sizes[len(node)])] if len(node) < len(self.sizes) else []

    def nodes_on_path(self, av):
        found, level = [()], [()]
        while level and len(level[0]) < len(self.sizes):
            level = [c for n in level for c in self.children(n) if av[len(n)] in (-1, c[-1])]
            found += level
        return found

    def banks(self, av):
        return [node for node in self.nodes_on_path(av) if len(node) == len(self.sizes)]

    def is_ready(self, cmd, av, clk):
        return all(clk >= self.ready[node].get(cmd, -1) for node in self.nodes_on_path(av))

    def prerequisite(self, cmd, av):
        activate = "ACT1" if "ACT1" in self.names else "ACT"
        if cmd in COLUMN:
            row = self.rows.get(self.banks(av)[0])
            if row is None:
                return activate
            if row == "activating":
                return "ACT2"
            return cmd if row == av[len(self.sizes)] else "PREpb"
        if cmd in REFRESHING and any(self.rows.get(bank) is not None for bank in self.banks(av)):
            return "PREab" if cmd in WIDE else "PREpb"
        return cmd

    def issue(self, cmd, av, clk):
        for bank in self.banks(av):
            if cmd in ("ACT", "ACT2"):
                self.rows[bank] = av[len(self.sizes)]
            elif cmd == "ACT1":
                self.rows[bank] = "activating"
            elif cmd in CLOSING:
                self.rows[bank] = None
        self._update((), cmd, av, clk)

    def _update(self, node, cmd, av, clk):
        level = len(node)
        rules = self.rules[level, cmd]
        on_path = level == 0 or av[level - 1] in (-1, node[-1])
        if not on_path:
            for following, ticks, _, sibling in rules:
                if sibling:
                    self._raise(node, following, clk + ticks)
            return
        self.history[node, cmd].insert(0, clk)
        for following, ticks, window, sibling in rules:
            past = self.history[node, cmd]
            if not sibling and len(past) >= window:
                self._raise(node, following, past[window - 1] + ticks)
        siblings = any(rule[3] for rule in self.rules[level + 1, cmd])
        for child in self.children(node):
            if siblings or av[level] in (-1, child[-1]):
                self._update(child, cmd, av, clk)

    def _raise(self, node, cmd, tick):
        self.ready[node][cmd] = max(self.ready[node].get(cmd, -1), tick)


@dataclass
class Oracle:
    """One channel. `requests`: rows of (earliest tick, kind, coordinates, address, waits)."""

    device: DramDevice
    config: ControllerConfig
    trace: list
    commands: list = field(default_factory=list)

    def __post_init__(self):
        self.tree = Tree(self.device)
        standard = self.device.standard
        self.family = standard.controller
        self.compatible = self.config.compat == "ramulator-2.1"
        self.R, self.W, self.P, self.A = [], [], [], []
        self.pending: deque[Request] = deque()
        self.write_mode = False
        self.clk = 0
        self.active = defaultdict(int)
        self.columns = defaultdict(int)
        self.injected = set()
        self.capped = self.config.row_policy == "ClosedCAP"
        self.hi = self.config.wr_high_watermark * self.config.write_buffer_size
        self.lo = self.config.wr_low_watermark * self.config.write_buffer_size
        self.names = {k: k + ("_S" if "RD_S" in standard.commands else "") for k in ("RD", "WR", "RDA", "WRA")}
        self.scoped = standard.levels[1] in ("Rank", "PseudoChannel")
        self.scopes = range(self.device.counts[1] if self.scoped else 1)
        self.all_banks = self.tree.banks([-1] * len(self.tree.sizes))
        self.cursor = 0
        self.outstanding = 0
        self.split: Request | None = None
        self.cas: tuple[Request, list] | None = None
        self.expiry = 0
        self.rck, self.last_read = self.config.rck_mode == "always_on", -1
        self.pair = None
        self.rotating = {"T": self.device.timing.get("nREFIpb", 0), "cursor": 0, "L": [], "done": defaultdict(int)}
        self.rotating["allowed"] = defaultdict(int)

    # -- running ---------------------------------------------------------------------------------------------------

    def run(self, limit=200_000):
        requests, i = [], 0
        while True:
            if i < len(self.trace):
                tick, kind, av, address, waits = self.trace[i]
                if tick <= self.clk and not (waits and self.outstanding):
                    request = Request(i, kind, av, self.names["WR" if kind else "RD"], address=address)
                    if self.send(request):
                        requests.append(request)
                        i += 1
            busy = self.R or self.W or self.A or self.pending or self.split
            if i == len(self.trace) and not busy:
                return requests, self.clk
            assert self.clk < limit, "the oracle does not come to an end"
            self.tick()

    def send(self, request):
        request.arrive = self.clk
        if any(w.address == request.address for w in self.W):
            if request.kind:
                request.depart = request.done = self.clk
            else:
                request.depart = self.clk + 1
                self.pending.append(request)
                self.outstanding += 1
            return True
        queue, size = (
            (self.W, self.config.write_buffer_size) if request.kind else (self.R, self.config.read_buffer_size)
        )
        if len(queue) >= size:
            return False
        queue.append(request)
        self.outstanding += not request.kind
        return True

    def tick(self):
        self.clk += 1
        self.complete()
        self.refresh()
        self.row_policy()
        if self.family in ("LPDDR5", "LPDDR6"):
            self.tick_split()
        elif self.family == "GenericDDR":
            candidate = self.candidate(lambda request: True, self.A)
            if candidate:
                self.serve(*candidate)
        else:
            self.tick_dual()

    def complete(self):
        if self.compatible:
            while self.pending and self.pending[0].depart <= self.clk:
                self.tell(self.pending.popleft())
            return
        for request in [r for r in self.pending if r.depart <= self.clk]:
            self.pending.remove(request)
            self.tell(request)

    def tell(self, request):
        request.done = self.clk
        self.outstanding -= 1

    # -- refresh and row policy ------------------------------------------------------------------------------------

    def internal(self, final, av):
        self.P.append(Request(-1, -1, (*av, -1, -1), final))

    def refresh(self):
        kind, timing = self.config.refresh, self.device.timing
        inner = len(self.tree.sizes)
        if kind == "AllBank":
            for scope in self.scopes:
                first = (scope + 1) * self.config.scatter_interval or timing["nREFI"]
                if self.clk >= first and (self.clk - first) % timing["nREFI"] == 0:
                    self.internal("REFab", (scope,) + (-1,) * (inner - 1) if self.scoped else (-1,) * inner)
        elif kind == "PerBank":
            if self.clk % timing["nREFIpb"] == 0:
                self.internal("REFpb", self.all_banks[self.cursor % len(self.all_banks)])
                self.cursor += 1
        elif kind == "HBM34PerBankRefresh":
            self.refresh_rotating(timing)

    def refresh_rotating(self, timing):
        s, sids = self.rotating, self.device.counts[2]
        banks = self.device.counts[3] * self.device.counts[4]
        if not s["L"]:
            if self.clk < s["T"]:
                return
            sid, bank = s["cursor"] // banks, s["cursor"] % banks
            if any(self.clk < s["allowed"][pc, sid] for pc in self.scopes):
                s["T"] = self.clk + 1
                return
            s["L"] = [(pc, sid, bank) for pc in self.scopes]
            s["cursor"] = (s["cursor"] + 1) % (banks * sids)
            s["T"] += timing["nREFIpb"]
        pc, sid, bank = s["L"].pop(0)
        self.internal("REFpb", (pc, sid, bank // self.device.counts[4], bank % self.device.counts[4]))
        s["done"][pc, sid] += 1
        if s["done"][pc, sid] == banks:
            s["done"][pc, sid] = 0
            s["allowed"][pc, sid] = self.clk + timing["nRFCpb"]

    def row_policy(self):
        if self.capped:
            for bank in self.all_banks:
                if self.columns[bank] >= self.config.cap and bank not in self.injected:
                    if self.tree.is_ready("PREpb", (*bank, -1, -1), self.clk):
                        self.internal("PREpb", bank)
                        self.injected.add(bank)

    # -- choice ----------------------------------------------------------------------------------------------------

    def closes_active(self, request):
        if request.cmd not in CLOSING or not self.A:
            return False
        return any(self.active[bank] > 0 for bank in self.tree.banks(request.av))

    def best(self, queue, allowed):
        for request in queue:
            request.cmd = self.tree.prerequisite(request.final, request.av)
        noted = {}
        if self.config.scheduler == "FRFCFS-RowHit":
            for request in queue:
                if request.cmd == request.final and request.cmd in COLUMN:
                    bank = self.tree.banks(request.av)[0]
                    noted[bank] = min(noted.get(bank, request.arrive), request.arrive)
        champion, ready = None, False
        for request in queue:
            if not allowed(request):
                continue
            if request.cmd == "PREpb" and request.final != "PREpb":
                bank = self.tree.banks(request.av)[0]
                if bank in noted and noted[bank] <= request.arrive:
                    continue
            this = self.tree.is_ready(request.cmd, request.av, self.clk)
            if champion is None or (this and not ready) or (this == ready and request.arrive < champion.arrive):
                champion, ready = request, this
        return champion if ready else None

    def candidate(self, allowed, active):
        if active is not None and (found := self.best(active, allowed)):
            return found, self.A
        if self.P:
            head = self.P[0]
            head.cmd = self.tree.prerequisite(head.final, head.av)
            ready = self.tree.is_ready(head.cmd, head.av, self.clk)
            return (head, self.P) if ready and not self.closes_active(head) and allowed(head) else None
        if not self.write_mode:
            self.write_mode = len(self.W) > self.hi or not self.R
        elif len(self.W) < self.lo and self.R:
            self.write_mode = False
        queue = self.W if self.write_mode else self.R
        found = self.best(queue, lambda request: not self.closes_active(request) and allowed(request))
        return (found, queue) if found else None

    # -- issue -----------------------------------------------------------------------------------------------------

    def upgrade(self, request, queue):
        if not self.capped or request.cmd not in (self.names["RD"], self.names["WR"]):
            return
        bank = self.tree.banks(request.av)[0]
        closing = self.names["RDA" if request.cmd == self.names["RD"] else "WRA"]
        others = self.active[bank] - (queue is self.A)
        if self.columns[bank] >= self.config.cap and self.tree.is_ready(closing, request.av, self.clk):
            if self.compatible or others == 0:
                request.cmd = request.final = closing

    def serve(self, request, queue, upgrade=True):
        if upgrade:
            self.upgrade(request, queue)
        self.put(request.cmd, request)
        if request.cmd == request.final:
            queue.remove(request)
            self.retire(request, queue)
        elif request.cmd == "ACT1":
            queue.remove(request)
            request.deadline = self.clk + self.device.timing["nAAD"]
            self.split = request
        elif request.cmd == "ACT":
            queue.remove(request)
            self.promote(request)

    def put(self, cmd, request):
        self.tree.issue(cmd, request.av, self.clk)
        self.commands.append((self.clk, cmd, *request.av))
        for bank in self.tree.banks(request.av):
            if cmd in CLOSING:
                self.columns[bank] = 0
                self.injected.discard(bank)
            elif cmd in COLUMN:
                self.columns[bank] += 1

    def promote(self, request):
        self.A.append(request)
        self.active[self.tree.banks(request.av)[0]] += 1

    def retire(self, request, queue):
        if request.number < 0:
            return
        if queue is self.A:
            self.active[self.tree.banks(request.av)[0]] -= 1
        if request.kind:
            request.depart = request.done = self.clk
        else:
            request.depart = self.clk + self.device.read_latency
            self.pending.append(request)

    # -- families --------------------------------------------------------------------------------------------------

    def tick_dual(self):
        half = self.family == "HBM34"
        rising = not half or self.clk % 2 == 1
        if rising and not self.toggle_rck():
            blocked = self.config.rck_mode == "start_with_rckstrt" and not self.rck and self.family == "GDDR7"
            found = self.candidate(lambda r: r.cmd in COLUMN and not (blocked and r.cmd[:2] == "RD"), self.A)
            if found:
                self.serve(*found)
                if found[0].kind == 0:
                    self.last_read = self.clk
                    self.rck = self.rck or self.config.rck_mode == "start_with_read"
        found = self.candidate(self.row_slot if rising else self.falling_slot, None)
        if found:
            request, cmd = found[0], found[0].cmd
            self.serve(*found)
            if half and rising:
                inner = len(self.tree.sizes)
                bank = None if cmd in WIDE else request.av[:inner]
                self.pair = (self.clk + (3 if cmd == "ACT" else 1), request.av[0], bank)

    def toggle_rck(self):
        if self.family != "GDDR7" or self.config.rck_mode == "always_on":
            return False
        everything = (-1,) * (len(self.tree.sizes) + 2)
        waiting = bool(self.R) or any(r.kind == 0 for r in self.A)
        command = ""
        if self.config.rck_mode == "start_with_rckstrt" and not self.rck and waiting:
            command = "RCKSTRT"
        elif self.rck and self.last_read >= 0 and not waiting:
            if self.clk - self.last_read >= self.config.rck_idle_threshold:
                command = "RCKSTOP"
        if not command or not self.tree.is_ready(command, everything, self.clk):
            return False
        self.put(command, Request(-1, -1, everything, command))
        self.rck = command == "RCKSTRT"
        return True

    def row_slot(self, request):
        return request.cmd not in COLUMN

    def falling_slot(self, request):
        if request.cmd not in ("PREpb", "PREab"):
            return False
        if self.pair and self.clk == self.pair[0] and request.av[0] == self.pair[1]:
            bank = self.pair[2]
            return bank is not None and request.cmd == "PREpb" and request.av[: len(bank)] != bank
        return True

    def tick_split(self):
        timing = self.device.timing
        second = self.split and self.tree.is_ready("ACT2", self.split.av, self.clk)
        if self.cas:
            request, queue = self.cas
            if self.tree.is_ready(request.cmd, request.av, self.clk):
                self.cas = None
                self.extend(request)
                self.serve(request, queue, upgrade=False)
            return
        if second and self.split.deadline <= self.clk:
            self.finish_split()
            return
        found = self.candidate(self.split_allows, self.A)
        if not found:
            if second:
                self.finish_split()
            return
        request, queue = found
        if request.cmd in COLUMN and self.config.wck_sync_mode == "need_sync":
            if self.clk >= self.expiry:
                guard = 1 if self.family == "LPDDR5" else max(2, timing["nCAS"])
                if self.split and self.split.deadline <= self.clk + guard:
                    if second:
                        self.finish_split()
                    return
                cas = "CAS" if self.family == "LPDDR6" else ("CAS_WR" if request.kind else "CAS_RD")
                if self.tree.is_ready(cas, request.av, self.clk):
                    self.put(cas, request)
                    self.cas = (request, queue)
                return
            self.extend(request)
        self.serve(request, queue)

    def split_allows(self, request):
        if request.cmd == "ACT2":
            return False
        if self.split is None or request.cmd in COLUMN:
            return True
        if request.cmd == "ACT1":
            return False
        owned = self.split.av[: len(self.tree.sizes)]
        return owned not in self.tree.banks(request.av)

    def finish_split(self):
        request, self.split = self.split, None
        self.put("ACT2", request)
        self.promote(request)

    def extend(self, request):
        timing = self.device.timing
        names = ("nCL", "nCWL") if self.family == "LPDDR5" else ("nRL", "nWL")
        span = timing[names[request.kind]] + timing["nBL_min"] + timing["nWCKPST"]
        self.expiry = max(self.expiry, self.clk + span)
