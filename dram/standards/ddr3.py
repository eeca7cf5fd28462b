"""DDR3 SDRAM: one command a clock, ranks of eight banks without bank groups.

The document's tables for what is below are "Speed Bins and Operating Conditions" (BINS), "Timing Parameters by Speed
Bin" and "Refresh parameters by device density" (`secondary`). The values came here through the reference, which gives
no table numbers.
"""

from tiergarten.dram.standard import DramStandard, TimingNames, at_most, cycles, preset_table, rule

# fmt: off
t = TimingNames("rate nBL nCL nRCD nRP nRAS nRC nWR nRTP nCWL nCCD nRRD nWTR nFAW nRFC nREFI nCS tCK_ps")

ORGS = preset_table(
    "               density  dq  channel_width  rank  bank     row  column", {
    "DDR3_1Gb_x4":  (   1024,  4,            64,    1,    8,  16384,   2048),
    "DDR3_1Gb_x8":  (   1024,  8,            64,    1,    8,  16384,   1024),
    "DDR3_1Gb_x16": (   1024, 16,            64,    1,    8,   8192,   1024),
    "DDR3_2Gb_x4":  (   2048,  4,            64,    1,    8,  32768,   2048),
    "DDR3_2Gb_x8":  (   2048,  8,            64,    1,    8,  32768,   1024),
    "DDR3_2Gb_x16": (   2048, 16,            64,    1,    8,  16384,   1024),
    "DDR3_4Gb_x4":  (   4096,  4,            64,    1,    8,  65536,   2048),
    "DDR3_4Gb_x8":  (   4096,  8,            64,    1,    8,  65536,   1024),
    "DDR3_4Gb_x16": (   4096, 16,            64,    1,    8,  32768,   1024),
    "DDR3_8Gb_x4":  (   8192,  4,            64,    1,    8, 131072,   2048),
    "DDR3_8Gb_x8":  (   8192,  8,            64,    1,    8, 131072,   1024),
    "DDR3_8Gb_x16": (   8192, 16,            64,    1,    8,  65536,   1024),
})

BINS = preset_table(
    "             rate  nBL  nCL  nRCD  nRP  nRAS  nRC  nWR  nRTP  nCWL  nCCD  nWTR  nCS  tCK_ps", {
    "DDR3_800D":  ( 800,   4,   5,    5,   5,   15,  20,   6,    4,    5,    4,    4,   2,   2500),
    "DDR3_800E":  ( 800,   4,   6,    6,   6,   15,  21,   6,    4,    5,    4,    4,   2,   2500),
    "DDR3_1066E": (1066,   4,   6,    6,   6,   20,  26,   8,    4,    6,    4,    4,   2,   1875),
    "DDR3_1066F": (1066,   4,   7,    7,   7,   20,  27,   8,    4,    6,    4,    4,   2,   1875),
    "DDR3_1066G": (1066,   4,   8,    8,   8,   20,  28,   8,    4,    6,    4,    4,   2,   1875),
    "DDR3_1333G": (1333,   4,   8,    8,   8,   24,  32,  10,    5,    7,    4,    5,   2,   1500),
    "DDR3_1333H": (1333,   4,   9,    9,   9,   24,  33,  10,    5,    7,    4,    5,   2,   1500),
    "DDR3_1600H": (1600,   4,   9,    9,   9,   28,  37,  12,    6,    8,    4,    6,   2,   1250),
    "DDR3_1600J": (1600,   4,  10,   10,  10,   28,  38,  12,    6,    8,    4,    6,   2,   1250),
    "DDR3_1600K": (1600,   4,  11,   11,  11,   28,  39,  12,    6,    8,    4,    6,   2,   1250),
    "DDR3_1866K": (1866,   4,  11,   11,  11,   32,  43,  14,    7,    9,    4,    7,   2,   1071),
    "DDR3_1866L": (1866,   4,  12,   12,  12,   32,  44,  14,    7,    9,    4,    7,   2,   1071),
    "DDR3_2133L": (2133,   4,  12,   12,  12,   36,  48,  16,    8,   10,    4,    8,   2,    937),
    "DDR3_2133M": (2133,   4,  13,   13,  13,   36,  49,  16,    8,   10,    4,    8,   2,    937),
})
# fmt: on


def secondary(org, timing):
    """nRRD and nFAW by rate and page size (x16 has 2 KB pages), nRFC by density."""
    rate, tck = timing["rate"], timing["tCK_ps"]
    narrow = org["dq"] <= 8
    rrd = ((1333, 4), (1866, 5), (2133, 6)) if narrow else ((800, 4), (1066, 6), (1333, 5), (1866, 6), (2133, 7))
    faw = (
        ((800, 16), (1333, 20), (1600, 24), (1866, 26), (2133, 27))
        if narrow
        else ((800, 20), (1066, 27), (1333, 30), (1600, 32), (1866, 33), (2133, 34))
    )
    rfc_ps = at_most(org["density"], ((1024, 110_000), (2048, 160_000), (4096, 260_000), (8192, 350_000)))
    return {
        "nRRD": at_most(rate, rrd),
        "nFAW": at_most(rate, faw),
        "nRFC": cycles(rfc_ps, tck),
        "nREFI": cycles(7_800_000, tck),
    }


# fmt: off
DDR3 = DramStandard(
    name="DDR3",
    source="JEDEC JESD79-3F. Presets and constraints as in Ramulator 2.1 (c5b1c3a4).",
    controller="GenericDDR",
    levels=("Channel", "Rank", "Bank", "Row", "Column"),
    commands=("ACT", "PREpb", "PREab", "RD", "WR", "RDA", "WRA", "REFab"),
    timings=t,
    prefetch=8,
    read_latency=t.nCL + t.nBL,
    orgs=ORGS,
    bins=BINS,
    secondary=secondary,
    constraints={
        "Channel": (
            rule("RD RDA", "RD RDA", t.nBL),
            rule("WR WRA", "WR WRA", t.nBL),
        ),
        "Rank": (
            rule("RD RDA",      "RD RDA",        t.nCCD),
            rule("WR WRA",      "WR WRA",        t.nCCD),
            rule("RD RDA",      "WR WRA",        t.nCL + t.nBL + 2 - t.nCWL),
            rule("WR WRA",      "RD RDA",        t.nCWL + t.nBL + t.nWTR),
            rule("RD RDA",      "RD RDA WR WRA", t.nBL + t.nCS, sibling=True),
            rule("WR WRA",      "RD RDA",        t.nCWL + t.nBL + t.nCS - t.nCL, sibling=True),
            rule("RD",          "PREab",         t.nRTP),
            rule("WR",          "PREab",         t.nCWL + t.nBL + t.nWR),
            rule("ACT",         "ACT",           t.nRRD),
            rule("ACT",         "ACT",           t.nFAW, window=4),
            rule("ACT",         "PREab",         t.nRAS),
            rule("PREab",       "ACT",           t.nRP),
            rule("ACT",         "REFab",         t.nRC),
            rule("PREpb PREab", "REFab",         t.nRP),
            rule("RDA",         "REFab",         t.nRP + t.nRTP),
            rule("WRA",         "REFab",         t.nCWL + t.nBL + t.nWR + t.nRP),
            rule("REFab",       "ACT",           t.nRFC),
        ),
        "Bank": (
            rule("ACT",   "ACT",           t.nRC),
            rule("ACT",   "RD RDA WR WRA", t.nRCD),
            rule("ACT",   "PREpb",         t.nRAS),
            rule("PREpb", "ACT",           t.nRP),
            rule("RD",    "PREpb",         t.nRTP),
            rule("WR",    "PREpb",         t.nCWL + t.nBL + t.nWR),
            rule("RDA",   "ACT",           t.nRTP + t.nRP),
            rule("WRA",   "ACT",           t.nCWL + t.nBL + t.nWR + t.nRP),
        ),
    },
)
# fmt: on
