"""GDDR6 SGRAM, one 16-bit channel of a device.

The speed bins follow Samsung's data sheet of its 8 Gb part, command lengths the document's Table 30 (command truth
table), both as the reference says.
"""

from tiergarten.dram.standard import DramStandard, TimingNames, cycles, preset_columns, preset_table, rule

# fmt: off
t = TimingNames(
    "rate nBL nCL nRCDRD nRCDWR nRP nRAS nRC nWR nRTP nCWL nCCDS nCCDL nRRDS nRRDL nWTRS nWTRL nFAW nRFCpb "
    "nRREFD nREFI tCK_ps nRFCab nPPD "
)

ORGS = preset_table(
    "                 density  dq  channel_width  bankgroup  bank    row  column", {
    "GDDR6_8Gb_x8":   (   8192,  8,            16,         4,    4, 16384,   2048),
    "GDDR6_8Gb_x16":  (   8192, 16,            16,         4,    4, 16384,   1024),
    "GDDR6_16Gb_x8":  (  16384,  8,            16,         4,    4, 32768,   2048),
    "GDDR6_16Gb_x16": (  16384, 16,            16,         4,    4, 16384,   2048),
    "GDDR6_32Gb_x8":  (  32768,  8,            16,         4,    4, 65536,   2048),
    "GDDR6_32Gb_x16": (  32768, 16,            16,         4,    4, 32768,   2048),
})

BINS = preset_columns((
    "GDDR6_14000_1350mV_double", "GDDR6_14000_1250mV_double",
    "GDDR6_14000_1350mV_quad", "GDDR6_14000_1250mV_quad",
), {
    "rate":   (14000, 14000, 14000, 14000),
    "nBL":    (    2,     2,     2,     2),
    "nCL":    (   24,    24,    24,    24),
    "nRCDRD": (   27,    30,    27,    30),
    "nRCDWR": (   16,    20,    16,    20),
    "nRP":    (   27,    30,    27,    30),
    "nRAS":   (   53,    60,    53,    60),
    "nRC":    (   79,    90,    79,    90),
    "nWR":    (   27,    30,    27,    30),
    "nRTP":   (    4,     4,     4,     4),
    "nCWL":   (    6,     6,     6,     6),
    "nCCDS":  (    2,     2,     2,     2),
    "nCCDL":  (    4,     4,     4,     4),
    "nRRDS":  (    8,    11,     8,    11),
    "nRRDL":  (    8,    11,     8,    11),
    "nWTRS":  (    9,     9,     9,     9),
    "nWTRL":  (   11,    11,    11,    11),
    "nFAW":   (   29,    43,    29,    43),
    "nRFCpb": (  106,   106,   106,   106),
    "nRREFD": (   15,    22,    15,    22),
    "nREFI":  ( 3333,  3333,  3333,  3333),
    "tCK_ps": (  570,   570,   570,   570),
    "nRFCab": (  211,   211,   211,   211),
    "nPPD":   (    1,     2,     1,     2),
})
# fmt: on


def secondary(org, timing):
    """For bins that leave them out; the shipped ones give all."""
    tck = timing["tCK_ps"]
    rrd = max(cycles(4_000, tck), 2)
    return {
        "nRRDS": rrd,
        "nRRDL": rrd,
        "nFAW": max(cycles(16_000, tck), 8),
        "nRFCpb": cycles(60_000, tck),
        "nRREFD": max(cycles(16_000, tck), 2),
        "nREFI": 1_900_000 // tck,
    }


# fmt: off
GDDR6 = DramStandard(
    name="GDDR6",
    source="JEDEC JESD250D, Samsung 8 Gb data sheet. Presets and constraints as in Ramulator 2.1 (c5b1c3a4).",
    controller="GenericDDR",
    levels=("Channel", "BankGroup", "Bank", "Row", "Column"),
    commands=("ACT", "PREab", "PREpb", "RD", "WR", "RDA", "WRA", "REFab", "REFpb"),
    timings=t,
    prefetch=16,
    read_latency=t.nCL + t.nBL,
    orgs=ORGS,
    bins=BINS,
    secondary=secondary,
    constraints={
        "Channel": (
            rule("RD RDA",      "RD RDA",                                    t.nBL),
            rule("WR WRA",      "WR WRA",                                    t.nBL),
            rule("RD RDA",      "RD RDA",                                    t.nCCDS),
            rule("WR WRA",      "WR WRA",                                    t.nCCDS),
            rule("RD RDA",      "WR WRA",                                    t.nCL + 1),
            rule("WR WRA",      "RD RDA",                                    t.nCWL + t.nBL + t.nWTRS),
            rule("RD",          "PREab",                                     t.nRTP),
            rule("WR",          "PREab",                                     t.nCWL + t.nBL + t.nWR),
            rule("ACT",         "ACT",                                       t.nRRDS),
            rule("ACT",         "ACT REFpb",                                 t.nFAW, window=4),
            rule("REFpb",       "ACT REFpb",                                 t.nFAW, window=4),
            rule("ACT",         "PREab",                                     t.nRAS),
            rule("PREab",       "ACT",                                       t.nRP),
            rule("PREab PREpb", "PREab PREpb",                               t.nPPD),
            rule("ACT",         "REFab",                                     t.nRC),
            rule("PREab",       "REFab",                                     t.nRP),
            rule("RDA",         "REFab",                                     t.nRP + t.nRTP),
            rule("WRA",         "REFab",                                     t.nCWL + t.nBL + t.nWR + t.nRP),
            rule("REFab",       "ACT PREab PREpb RD WR RDA WRA REFab REFpb", t.nRFCab),
            rule("ACT",         "REFpb",                                     t.nRRDS),
            rule("PREab",       "REFpb",                                     t.nRP),
            rule("RDA",         "REFpb",                                     t.nRP + t.nRTP),
            rule("WRA",         "REFpb",                                     t.nCWL + t.nBL + t.nWR + t.nRP),
            rule("REFpb",       "ACT",                                       t.nRREFD),
            rule("REFpb",       "REFpb",                                     t.nRREFD),
            rule("REFpb",       "REFab",                                     t.nRFCpb),
        ),
        "BankGroup": (
            rule("RD RDA", "RD RDA",    t.nCCDL),
            rule("WR WRA", "WR WRA",    t.nCCDL),
            rule("WR WRA", "RD RDA",    t.nCWL + t.nBL + t.nWTRL),
            rule("ACT",    "ACT REFpb", t.nRRDL),
        ),
        "Bank": (
            rule("ACT",   "ACT",       t.nRC),
            rule("ACT",   "RD RDA",    t.nRCDRD),
            rule("ACT",   "WR WRA",    t.nRCDWR),
            rule("ACT",   "PREpb",     t.nRAS),
            rule("PREpb", "ACT",       t.nRP),
            rule("RD",    "PREpb",     t.nRTP),
            rule("WR",    "PREpb",     t.nCWL + t.nBL + t.nWR),
            rule("RDA",   "ACT",       t.nRTP + t.nRP),
            rule("WRA",   "ACT",       t.nCWL + t.nBL + t.nWR + t.nRP),
            rule("ACT",   "REFpb",     t.nRC),
            rule("PREpb", "REFpb",     t.nRP),
            rule("RDA",   "REFpb",     t.nRP + t.nRTP),
            rule("WRA",   "REFpb",     t.nCWL + t.nBL + t.nWR + t.nRP),
            rule("REFpb", "ACT REFpb", t.nRFCpb),
        ),
    },
)
# fmt: on
