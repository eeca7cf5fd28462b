"""DDR5 SDRAM: 32-bit subchannels, bursts of 16, two-clock activate and column commands.

Which commands take two clocks is in the command truth table (Table 30, says the reference). Same-bank refresh (REFsb,
in fine-granularity mode every tREFI2 / banks of a group) is ours beyond the reference: tRFCsb 115 and 130 ns for 8
and 16 Gb and tREFSBRD 30 ns as in the document's refresh timings (Table 282 of its first edition, where 32 Gb is
still to be determined); 190 ns for 32 Gb is what Intel's published memory reference code takes for the equally long
same-bank refresh management. Its constraint rows are our reading.
"""

from tiergarten.dram.standard import DramStandard, TimingNames, at_most, cycles, preset_table, rule

# fmt: off
t = TimingNames(
    "rate nBL nCL nRCD nRP nRAS nRC nWR nRTP nCWL nPPD nCCDS nCCDL nCCDS_WR nCCDL_WR nRRDS nRRDL nWTRS nWTRL "
    "nFAW nRFC nREFI nCS tCK_ps "
    "nRFCsb nREFIsb nREFSBRD"
)

ORGS = preset_table(
    "                density  dq  channel_width  rank  bankgroup  bank     row  column", {
    "DDR5_8Gb_x4":   (   8192,  4,            32,    1,         8,    2,  65536,   2048),
    "DDR5_8Gb_x8":   (   8192,  8,            32,    1,         8,    2,  65536,   1024),
    "DDR5_8Gb_x16":  (   8192, 16,            32,    1,         4,    2,  65536,   1024),
    "DDR5_16Gb_x4":  (  16384,  4,            32,    1,         8,    4,  65536,   2048),
    "DDR5_16Gb_x8":  (  16384,  8,            32,    1,         8,    4,  65536,   1024),
    "DDR5_16Gb_x16": (  16384, 16,            32,    1,         4,    4,  65536,   1024),
    "DDR5_32Gb_x4":  (  32768,  4,            32,    1,         8,    4, 131072,   2048),
    "DDR5_32Gb_x8":  (  32768,  8,            32,    1,         8,    4, 131072,   1024),
    "DDR5_32Gb_x16": (  32768, 16,            32,    1,         4,    4, 131072,   1024),
})

BINS = preset_table(
    "              rate  nBL  nCL  nRCD  nRP  nRAS  nRC  nWR  nRTP  nCWL  nPPD  nCCDS  nCCDL  nCCDS_WR  nCCDL_WR  nWTRS  nWTRL  nCS  tCK_ps", {
    "DDR5_3200AN": (3200,   8,  24,   24,  24,   52,  76,  48,   12,   22,    2,     8,     8,        8,       32,     6,    16,   2,    625),
    "DDR5_3200BN": (3200,   8,  26,   26,  26,   52,  78,  48,   12,   24,    2,     8,     8,        8,       32,     6,    16,   2,    625),
    "DDR5_3200C":  (3200,   8,  28,   28,  28,   52,  80,  48,   12,   26,    2,     8,     8,        8,       32,     6,    16,   2,    625),
    "DDR5_4800AN": (4800,   8,  34,   34,  34,   77, 111,  72,   18,   32,    2,     8,    12,        8,       48,     6,    24,   2,    416),
    "DDR5_4800BN": (4800,   8,  36,   36,  36,   77, 113,  72,   18,   34,    2,     8,    12,        8,       48,     6,    24,   2,    416),
    "DDR5_4800C":  (4800,   8,  38,   38,  38,   77, 115,  72,   18,   36,    2,     8,    12,        8,       48,     6,    24,   2,    416),
    "DDR5_5600AN": (5600,   8,  40,   40,  40,   90, 130,  84,   20,   38,    2,     8,    12,        8,       56,     5,    28,   2,    357),
    "DDR5_6400AN": (6400,   8,  46,   46,  46,  103, 149,  96,   24,   44,    2,     8,    16,        8,       64,     5,    32,   2,    312),
})
# fmt: on


def secondary(org, timing):
    """nRRD and nFAW from 5 ns and 20 or 25 ns at the nominal clock of the rate, nRFC by density."""
    rate, tck = timing["rate"], timing["tCK_ps"]
    rrds = 8 if rate in (3200, 4800) else max(8, cycles(5_000 * rate, 2_000_000))
    return {
        "nRRDS": rrds,
        "nRRDL": {3200: 5, 4800: 12}.get(rate, rrds),
        "nFAW": max(32, cycles((20_000 if org["dq"] <= 8 else 25_000) * rate, 2_000_000)),
        "nRFC": cycles(at_most(org["density"], ((8192, 195_000), (16384, 295_000), (32768, 410_000))), tck),
        "nREFI": cycles(3_900_000, tck),
        "nRFCsb": cycles(at_most(org["density"], ((8192, 115_000), (16384, 130_000), (32768, 190_000))), tck),
        "nREFIsb": cycles(1_950_000, tck * org["bank"]),
        "nREFSBRD": cycles(30_000, tck),
    }


# fmt: off
DDR5 = DramStandard(
    name="DDR5",
    source="JEDEC JESD79-5C. Presets and constraints as in Ramulator 2.1 (c5b1c3a4); same-bank refresh ours.",
    controller="GenericDDR",
    levels=("Channel", "Rank", "BankGroup", "Bank", "Row", "Column"),
    commands=("ACT", "PREpb", "PREab", "RD", "WR", "RDA", "WRA", "REFab", "REFsb"),
    timings=t,
    prefetch=16,
    command_ticks={"ACT": 2, "RD": 2, "WR": 2, "RDA": 2, "WRA": 2},
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
            rule("RD RDA",      "RD RDA",        t.nCCDS),
            rule("WR WRA",      "WR WRA",        t.nCCDS_WR),
            rule("RD RDA",      "WR WRA",        t.nCL + t.nBL + 2 - t.nCWL + 2),
            rule("WR WRA",      "RD RDA",        t.nCWL + t.nBL + t.nWTRS),
            rule("RD RDA",      "RD RDA WR WRA", t.nBL + t.nCS, sibling=True),
            rule("WR WRA",      "RD RDA",        t.nCWL + t.nBL + t.nCS - t.nCL, sibling=True),
            rule("RD",          "PREab",         t.nRTP),
            rule("WR",          "PREab",         t.nCWL + t.nBL + t.nWR),
            rule("ACT",         "ACT",           t.nRRDS),
            rule("ACT",         "ACT",           t.nFAW, window=4),
            rule("ACT",         "PREab",         t.nRAS),
            rule("PREab",       "ACT",           t.nRP),
            rule("PREpb PREab", "PREpb PREab",   t.nPPD),
            rule("ACT",         "REFab",         t.nRC),
            rule("PREpb PREab", "REFab",         t.nRP),
            rule("RDA",         "REFab",         t.nRP + t.nRTP),
            rule("WRA",         "REFab",         t.nCWL + t.nBL + t.nWR + t.nRP),
            rule("REFab",       "ACT PREab",     t.nRFC),
            # Same-bank refresh, which the reference does not have.
            rule("PREab",       "REFsb",         t.nRP),
            rule("REFab",       "REFsb",         t.nRFC),
            rule("REFsb",       "REFsb REFab",   t.nRFCsb),
            rule("REFsb",       "ACT",           t.nREFSBRD),
            rule("ACT",         "REFsb",         t.nRRDL),
        ),
        "BankGroup": (
            rule("RD RDA", "RD RDA", t.nCCDL),
            rule("WR WRA", "WR WRA", t.nCCDL_WR),
            rule("WR WRA", "RD RDA", t.nCWL + t.nBL + t.nWTRL),
            rule("ACT",    "ACT",    t.nRRDL),
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
            rule("REFsb", "ACT",           t.nRFCsb),
            rule("ACT",   "REFsb",         t.nRC),
            rule("PREpb", "REFsb",         t.nRP),
            rule("RDA",   "REFsb",         t.nRTP + t.nRP),
            rule("WRA",   "REFsb",         t.nCWL + t.nBL + t.nWR + t.nRP),
        ),
    },
)
# fmt: on
