"""HBM4: two 32-bit pseudo channels; commands may start on either edge of CK, so a tick is half a CK.

The values came here through the reference, which names no tables.
"""

from tiergarten.dram.standard import DramStandard, TimingNames, at_most, cycles, preset_columns, preset_table, rule

# fmt: off
t = TimingNames(
    "rate nBL nCL nRCDRD nRCDWR nRP nRAS nRC nWR nRTP nCWL nCCDS nCCDL nCCDR nRRDS nRRDL nWTRS nWTRL nRTW "
    "nFAW nPPD nRFC nRFCpb nRFMab nRFMpb nRREFD nREFI nREFIpb tCK_ps "
)

ORGS = preset_table(
    "                 density  dq  channel_width  pseudochannel  sid  bankgroup  bank    row  column", {
    "HBM4_32Gb_4Hi":  (  32768, 32,            32,             2,   1,         2,    8, 16384,    256),
    "HBM4_32Gb_8Hi":  (  32768, 32,            32,             2,   2,         2,    8, 16384,    256),
    "HBM4_32Gb_16Hi": (  32768, 32,            32,             2,   4,         2,    8, 16384,    256),
})

BINS = preset_columns(("HBM4_8000Mbps", "HBM4_16000Mbps"), {
    "rate":   (8000, 16000),
    "nBL":    (   2,     2),
    "nCL":    (  20,    40),
    "nCWL":   (  10,    20),
    "nRC":    (  90,   180),
    "nRAS":   (  57,   114),
    "nRP":    (  33,    66),
    "nRCDRD": (  39,    78),
    "nRCDWR": (  19,    38),
    "nRRDL":  (   7,    14),
    "nRRDS":  (   5,    10),
    "nFAW":   (  30,    60),
    "nRTP":   (  12,    24),
    "nWR":    (  42,    84),
    "nCCDL":  (   4,     4),
    "nCCDS":  (   2,     2),
    "nCCDR":  (   2,     2),
    "nWTRL":  (  13,    26),
    "nWTRS":  (   9,    18),
    "nRTW":   (  25,    50),
    "nPPD":   (   2,     2),
    "nRFCpb": ( 560,  1120),
    "tCK_ps": ( 500,   250),
})
# fmt: on


def secondary(org, timing):
    """Refresh times by the density that the organisation adds up to, in CK."""
    tck = timing["tCK_ps"]
    banks = org["bank"] * org["bankgroup"] * org["sid"]
    megabits = org["column"] // 8 * org["row"] * banks * org["pseudochannel"] * org["dq"] * 8 // 2**20
    rfc = cycles(at_most(megabits, ((4096, 400_000), (8192, 450_000), (16384, 530_000))), tck)
    return {
        "nRFC": rfc,
        "nRFMab": rfc,
        "nRFMpb": timing["nRFCpb"],
        "nRREFD": max(3, cycles(8_000, tck)),
        "nREFI": cycles(3_900_000, tck),
        "nREFIpb": cycles(3_900_000, tck * banks),
    }


# fmt: off
HBM4 = DramStandard(
    name="HBM4",
    source="JEDEC JESD270-4. Presets and constraints as in Ramulator 2.1 (c5b1c3a4).",
    controller="HBM34",
    levels=("Channel", "PseudoChannel", "Sid", "BankGroup", "Bank", "Row", "Column"),
    commands=("ACT", "PREpb", "PREab", "RD", "WR", "RDA", "WRA", "REFab", "REFpb", "RFMab", "RFMpb"),
    timings=t,
    prefetch=8,
    tick_multiplier=2,
    command_ticks={"ACT": 3, "RD": 2, "WR": 2, "RDA": 2, "WRA": 2},
    row_commands=("ACT", "PREpb", "PREab", "REFab", "REFpb", "RFMab", "RFMpb"),
    read_latency=t.nCL + t.nBL,
    orgs=ORGS,
    bins=BINS,
    secondary=secondary,
    constraints={
        "PseudoChannel": (
            rule("RD RDA",      "RD RDA",          t.nBL),
            rule("WR WRA",      "WR WRA",          t.nBL),
            rule("RD RDA",      "WR WRA",          t.nRTW),
            rule("WR WRA",      "RD RDA",          t.nCWL + t.nBL + t.nWTRS),
            rule("RD",          "PREab",           t.nRTP),
            rule("WR",          "PREab",           t.nCWL + t.nBL + t.nWR),
            rule("ACT",         "ACT",             t.nRRDS),
            rule("ACT",         "ACT",             t.nFAW, window=4),
            rule("ACT",         "PREab",           t.nRAS),
            rule("PREab",       "ACT",             t.nRP),
            rule("ACT",         "REFab",           t.nRC),
            rule("PREpb PREab", "REFab",           t.nRP),
            rule("PREpb PREab", "PREpb PREab",     t.nPPD),
            rule("RDA",         "REFab",           t.nRP + t.nRTP),
            rule("WRA",         "REFab",           t.nCWL + t.nBL + t.nWR + t.nRP),
            rule("REFab",       "ACT PREab REFpb", t.nRFC),
            rule("REFpb",       "REFpb",           t.nRREFD),
            rule("REFpb",       "ACT",             t.nRREFD),
            rule("ACT",         "REFpb",           t.nRRDS),
            rule("ACT",         "RFMab",           t.nRC),
            rule("PREpb PREab", "RFMab",           t.nRP),
            rule("RDA",         "RFMab",           t.nRP + t.nRTP),
            rule("WRA",         "RFMab",           t.nCWL + t.nBL + t.nWR + t.nRP),
            rule("RFMab",       "ACT PREab RFMpb", t.nRFMab),
            rule("RFMpb",       "RFMpb",           t.nRREFD),
            rule("RFMpb",       "ACT",             t.nRREFD),
            rule("ACT",         "RFMpb",           t.nRRDS),
        ),
        "Sid": (
            rule("RD RDA", "RD RDA", t.nCCDS),
            rule("WR WRA", "WR WRA", t.nCCDS),
            rule("RD RDA", "RD RDA", t.nCCDR, sibling=True),
        ),
        "BankGroup": (
            rule("RD RDA",      "RD RDA",      t.nCCDL),
            rule("WR WRA",      "WR WRA",      t.nCCDL),
            rule("WR WRA",      "RD RDA",      t.nCWL + t.nBL + t.nWTRL),
            rule("ACT",         "ACT",         t.nRRDL),
            rule("ACT",         "REFpb RFMpb", t.nRRDL),
            rule("REFpb RFMpb", "ACT",         t.nRRDL),
        ),
        "Bank": (
            rule("ACT",   "ACT",             t.nRC),
            rule("ACT",   "RD RDA",          t.nRCDRD),
            rule("ACT",   "WR WRA",          t.nRCDWR),
            rule("ACT",   "PREpb",           t.nRAS),
            rule("PREpb", "ACT",             t.nRP),
            rule("RD",    "PREpb",           t.nRTP),
            rule("WR",    "PREpb",           t.nCWL + t.nBL + t.nWR),
            rule("RDA",   "ACT REFpb RFMpb", t.nRTP + t.nRP),
            rule("WRA",   "ACT REFpb RFMpb", t.nCWL + t.nBL + t.nWR + t.nRP),
            rule("REFpb", "ACT",             t.nRFCpb),
            rule("ACT",   "REFpb",           t.nRC),
            rule("PREpb", "REFpb",           t.nRP),
            rule("RFMpb", "ACT",             t.nRFMpb),
            rule("ACT",   "RFMpb",           t.nRC),
            rule("PREpb", "RFMpb",           t.nRP),
        ),
    },
)
# fmt: on
