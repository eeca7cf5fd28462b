"""HBM2: two 64-bit pseudo channels that share separate row and column command buses.

tRRDS 4 ns and tRFC by the density of a pseudo channel are the document's, as the reference says; it names no tables.
"""

from tiergarten.dram.standard import DramStandard, TimingNames, at_most, cycles, preset_columns, preset_table, rule

# fmt: off
t = TimingNames(
    "rate nBL nCL nRCDRD nRCDWR nRP nRAS nRC nWR nRTPL nCWL nCCDS nCCDL nRRDS nRRDL nWTRS nWTRL nFAW nRFC "
    "nRFCpb nRREFD nREFI nREFIpb tCK_ps "
)

ORGS = preset_table(
    "           density  dq  channel_width  pseudochannel  bankgroup  bank    row  column", {
    "HBM2_1Gb": (   1024, 64,            64,             2,         4,    4,  8192,    128),
    "HBM2_2Gb": (   2048, 64,            64,             2,         4,    4, 16384,    128),
    "HBM2_4Gb": (   4096, 64,            64,             2,         4,    4, 32768,    128),
    "HBM2_8Gb": (   8192, 64,            64,             2,         4,    4, 65536,    128),
})

BINS = preset_columns(("HBM2_1600Mbps", "HBM2_2000Mbps", "HBM2_2400Mbps"), {
    "rate":   (1600, 2000, 2400),
    "nBL":    (   2,    2,    2),
    "nCL":    (  10,   14,   17),
    "nRCDRD": (  10,   14,   17),
    "nRCDWR": (   8,   12,   14),
    "nRP":    (  10,   14,   17),
    "nRAS":   (  24,   34,   40),
    "nRC":    (  34,   48,   57),
    "nWR":    (  12,   16,   19),
    "nRTPL":  (   4,    5,    6),
    "nCWL":   (   4,    5,    6),
    "nCCDS":  (   2,    2,    2),
    "nCCDL":  (   4,    4,    4),
    "nWTRS":  (   5,    6,    8),
    "nWTRL":  (   6,    8,   10),
    "tCK_ps": (1250, 1000,  833),
})
# fmt: on


def secondary(org, timing):
    """Activate spacings and refresh times from nanoseconds."""
    density, tck = org["density"], timing["tCK_ps"]
    rrd = max(4, cycles(4_000, tck))
    rfc_ps = at_most(density, ((1024, 110_000), (2048, 160_000), (4096, 260_000), (8192, 350_000)), above=450_000)
    return {
        "nRRDS": rrd,
        "nRRDL": rrd,
        "nFAW": max(8, cycles(15_000, tck)),
        "nRFC": cycles(rfc_ps, tck),
        "nRFCpb": cycles(160_000 if density <= 8192 else 200_000, tck),
        "nRREFD": max(4, cycles(8_000, tck)),
        "nREFI": cycles(3_900_000, tck),
        "nREFIpb": cycles(3_900_000, tck * org["pseudochannel"] * org["bankgroup"] * org["bank"]),
    }


# fmt: off
HBM2 = DramStandard(
    name="HBM2",
    source="JEDEC JESD235D. Presets and constraints as in Ramulator 2.1 (c5b1c3a4).",
    controller="HBM12",
    levels=("Channel", "PseudoChannel", "BankGroup", "Bank", "Row", "Column"),
    commands=("ACT", "PREpb", "PREab", "RD", "WR", "RDA", "WRA", "REFab", "REFpb"),
    timings=t,
    prefetch=4,
    command_ticks={"ACT": 2},
    row_commands=("ACT", "PREpb", "PREab", "REFab", "REFpb"),
    read_latency=t.nCL + t.nBL,
    orgs=ORGS,
    bins=BINS,
    secondary=secondary,
    constraints={
        "PseudoChannel": (
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
