"""HBM, legacy 128-bit channel: separate row and column command buses.

tRRDS 4 ns and tRFC by density are the document's, as the reference says; it names no tables.
"""

from tiergarten.dram.standard import DramStandard, TimingNames, at_most, cycles, preset_columns, preset_table, rule

# fmt: off
t = TimingNames(
    "rate nBL nCL nRCDRD nRCDWR nRP nRAS nRC nWR nRTPL nCWL nCCDS nCCDL nRRDS nRRDL nWTRS nWTRL nFAW nRFC "
    "nRFCpb nRREFD nREFI nREFIpb tCK_ps "
)

ORGS = preset_table(
    "           density   dq  channel_width  bankgroup  bank    row  column", {
    "HBM1_1Gb": (   1024, 128,           128,         4,    2,  8192,    128),
    "HBM1_2Gb": (   2048, 128,           128,         4,    2, 16384,    128),
    "HBM1_4Gb": (   4096, 128,           128,         4,    2, 32768,    128),
})

BINS = preset_columns(("HBM1_1Gbps", "HBM1_2Gbps"), {
    "rate":   (1000, 2000),
    "nBL":    (   1,    1),
    "nCL":    (   7,   14),
    "nRCDRD": (   7,   14),
    "nRCDWR": (   6,   12),
    "nRP":    (   7,   14),
    "nRAS":   (  17,   34),
    "nRC":    (  24,   48),
    "nWR":    (   8,   16),
    "nRTPL":  (   4,    5),
    "nCWL":   (   4,    5),
    "nCCDS":  (   1,    1),
    "nCCDL":  (   2,    2),
    "nWTRS":  (   3,    6),
    "nWTRL":  (   4,    8),
    "tCK_ps": (2000, 1000),
})
# fmt: on


def secondary(org, timing):
    """Activate spacings and refresh times from nanoseconds."""
    tck = timing["tCK_ps"]
    rrd = max(4, cycles(4_000, tck))
    return {
        "nRRDS": rrd,
        "nRRDL": rrd,
        "nFAW": max(8, cycles(15_000, tck)),
        "nRFC": cycles(at_most(org["density"], ((1024, 110_000), (2048, 160_000)), above=260_000), tck),
        "nRFCpb": cycles(160_000, tck),
        "nRREFD": max(4, cycles(8_000, tck)),
        "nREFI": cycles(3_900_000, tck),
        "nREFIpb": cycles(3_900_000, tck * org["bankgroup"] * org["bank"]),
    }


# fmt: off
HBM1 = DramStandard(
    name="HBM1",
    source="JEDEC JESD235D. Presets and constraints as in Ramulator 2.1 (c5b1c3a4).",
    controller="HBM12",
    levels=("Channel", "BankGroup", "Bank", "Row", "Column"),
    commands=("ACT", "PREpb", "PREab", "RD", "WR", "RDA", "WRA", "REFab", "REFpb"),
    timings=t,
    prefetch=2,
    command_ticks={"ACT": 2},
    row_commands=("ACT", "PREpb", "PREab", "REFab", "REFpb"),
    read_latency=t.nCL + t.nBL,
    orgs=ORGS,
    bins=BINS,
    secondary=secondary,
    constraints={
        "Channel": (
            rule("RD RDA",      "RD RDA",    t.nBL),
            rule("WR WRA",      "WR WRA",    t.nBL),
            rule("RD RDA",      "RD RDA",    t.nCCDS),
            rule("WR WRA",      "WR WRA",    t.nCCDS),
            rule("RD RDA",      "WR WRA",    t.nCL + t.nBL + 2 - t.nCWL),
            rule("WR WRA",      "RD RDA",    t.nCWL + t.nBL + t.nWTRS),
            rule("RD",          "PREab",     t.nRTPL),
            rule("WR",          "PREab",     t.nCWL + t.nBL + t.nWR),
            rule("ACT",         "ACT",       t.nRRDS),
            rule("ACT",         "ACT",       t.nFAW, window=4),
            rule("ACT",         "PREab",     t.nRAS),
            rule("PREab",       "ACT",       t.nRP),
            rule("ACT",         "REFab",     t.nRC),
            rule("PREpb PREab", "REFab",     t.nRP),
            rule("RDA",         "REFab",     t.nRP + t.nRTPL),
            rule("WRA",         "REFab",     t.nCWL + t.nBL + t.nWR + t.nRP),
            rule("REFab",       "ACT PREab", t.nRFC),
            rule("REFpb",       "ACT",       t.nRREFD),
            rule("ACT",         "REFpb",     t.nRRDS),
        ),
        "BankGroup": (
            rule("RD RDA", "RD RDA", t.nCCDL),
            rule("WR WRA", "WR WRA", t.nCCDL),
            rule("WR WRA", "RD RDA", t.nCWL + t.nBL + t.nWTRL),
            rule("ACT",    "ACT",    t.nRRDL),
        ),
        "Bank": (
            rule("ACT",   "ACT",    t.nRC),
            rule("ACT",   "RD RDA", t.nRCDRD),
            rule("ACT",   "WR WRA", t.nRCDWR),
            rule("ACT",   "PREpb",  t.nRAS),
            rule("PREpb", "ACT",    t.nRP),
            rule("RD",    "PREpb",  t.nRTPL),
            rule("WR",    "PREpb",  t.nCWL + t.nBL + t.nWR),
            rule("RDA",   "ACT",    t.nRTPL + t.nRP),
            rule("WRA",   "ACT",    t.nCWL + t.nBL + t.nWR + t.nRP),
            rule("REFpb", "ACT",    t.nRFCpb),
            rule("ACT",   "REFpb",  t.nRC),
            rule("PREpb", "REFpb",  t.nRP),
        ),
    },
)
# fmt: on
