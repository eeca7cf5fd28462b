"""LPDDR6 SDRAM, 12-bit subchannel: split activate, short (S) and long (L) bursts, two-clock commands.

Tables of the document, as the reference gives them: 381 and 382 burst lengths BL/n of BL24 and BL48, 382 to 385 and
390 column spacings and turnarounds, 383 and 391 precharge, 389 read to write, 394 CAS, 269 to 272 tRTP, 302 refresh
by density of two subchannels (tREFI 3906 ns; 4 Gb and more than 32 Gb to be determined), 414 and 415 core timings
(tACU 22 ns). Long bursts are in the tables but no controller asks for them, in the reference as here: a request is
one short burst of 32 bytes.
"""

from tiergarten.dram.standard import DramStandard, TimingNames, at_most, cycles, preset_table, rule

# fmt: off
t = TimingNames(
    "rate nBL_min nBL_max nBL_min_L nBL_max_L nRL nWL nACU nRCDr nRCDw nRP nRPab nRAS nRC nWTP nRTP nRTP_L "
    "nPPD nCCDS nCCDL nCCDL_L nCCDS_WR nCCDL_WR nCCDL_WR_L nRRD nWTRS nWTRL nRTW_S nRTW_L nRTW_S_L nRTW_L_L "
    "nWCK2DQO nRPST nODTLon nODTon_min nFAW nRFC nREFI nWCKPST nCAS nAAD nCS tCK_ps "
)

ORGS = preset_table(
    "                  density  refresh_density_per_2_subchannels  dq  channel_width  odt_enabled  rank  bankgroup  bank    row  column", {
    "LPDDR6_16Gb_x12": (  16384,                             32768, 12,            12,           1,    1,         4,    4, 65536,   1024),
})

BINS = {
    "LPDDR6_10667_BL24": {
        "rate": 10667, "nBL_min": 6, "nRL": 56, "nWL": 26, "nRCDr": 48, "nRCDw": 22, "nWTP": 32, "nRTP": 14,
        "nRTP_L": 26, "nPPD": 4, "nCCDS": 6, "nCCDL": 10, "nCCDS_WR": 6, "nCCDL_WR": 10, "nRRD": 10,
        "nWTRS": 17, "nWTRL": 32, "nWCK2DQO": 5, "nRPST": 0, "nODTLon": 27, "nODTon_min": 0, "nFAW": 40,
        "nWCKPST": 3, "nCAS": 2, "nAAD": 8, "nCS": 2, "tCK_ps": 375,
    },
}
# fmt: on


def secondary(org, timing):
    """Burst lengths of the long commands, row times with the activation-counter update, read-to-write gaps, refresh."""
    tck = timing["tCK_ps"]
    bursts = {"nBL_min": timing["nBL_min"], "nBL_max": 12, "nBL_min_L": 18, "nBL_max_L": 24}
    acu = cycles(22_000, tck)
    ras = max(cycles(20_000, tck), 4)
    rpab = acu + max(cycles(21_000, tck), 4)
    if org["odt_enabled"]:
        turn = timing["nWCK2DQO"] + timing["nRPST"] - timing["nODTLon"] - timing["nODTon_min"] + 1
    else:
        turn = timing["nWCK2DQO"] - timing["nWL"]
    density = org["refresh_density_per_2_subchannels"]
    return {
        **bursts,
        "nCCDL_L": 12 + timing["nCCDL"],
        "nCCDL_WR_L": 12 + timing["nCCDL_WR"],
        "nRTP_L": timing["nRTP"] + bursts["nBL_min_L"] - bursts["nBL_min"],
        "nACU": acu,
        "nRAS": ras,
        "nRP": acu + max(cycles(18_000, tck), 4),
        "nRPab": rpab,
        "nRC": ras + rpab,
        "nRTW_S": timing["nRL"] + bursts["nBL_min"] + turn,
        "nRTW_L": timing["nRL"] + bursts["nBL_max"] + turn,
        "nRTW_S_L": timing["nRL"] + bursts["nBL_min_L"] + turn,
        "nRTW_L_L": timing["nRL"] + bursts["nBL_max_L"] + turn,
        "nRFC": cycles(at_most(density, ((8192, 210_000), (16384, 280_000), (32768, 380_000))), tck),
        "nREFI": cycles(3_906_000, tck),
    }


# fmt: off
COMMANDS = (
    "ACT1", "ACT2", "PREpb", "PREab", "CAS", "RD_S", "WR_S", "RDA_S", "WRA_S",
    "RD_L", "WR_L", "RDA_L", "WRA_L", "REFab",
)

LPDDR6 = DramStandard(
    name="LPDDR6",
    source="JEDEC JESD209-6. Presets and constraints as in Ramulator 2.1 (c5b1c3a4).",
    controller="LPDDR6",
    levels=("Channel", "Rank", "BankGroup", "Bank", "Row", "Column"),
    commands=COMMANDS,
    timings=t,
    prefetch=16,
    command_ticks=dict.fromkeys(COMMANDS, 2),
    transaction_bytes=32,
    read_latency=t.nRL + t.nBL_min,
    orgs=ORGS,
    bins=BINS,
    secondary=secondary,
    constraints={
        "Channel": (
            rule("RD_S RDA_S", "RD_S RDA_S RD_L RDA_L", t.nBL_min),
            rule("WR_S WRA_S", "WR_S WRA_S WR_L WRA_L", t.nBL_min),
            rule("RD_L RDA_L", "RD_S RDA_S RD_L RDA_L", t.nBL_min + t.nBL_min),
            rule("WR_L WRA_L", "WR_S WRA_S WR_L WRA_L", t.nBL_min + t.nBL_min),
        ),
        "Rank": (
            rule("RD_S RDA_S",  "RD_S RDA_S RD_L RDA_L",                       t.nCCDS),
            rule("RD_L RDA_L",  "RD_S RDA_S RD_L RDA_L",                       t.nCCDS),
            rule("WR_S WRA_S",  "WR_S WRA_S WR_L WRA_L",                       t.nCCDS_WR),
            rule("WR_L WRA_L",  "WR_S WRA_S WR_L WRA_L",                       t.nCCDS_WR),
            rule("RD_S RDA_S",  "WR_S WRA_S WR_L WRA_L",                       t.nRTW_S),
            rule("RD_L RDA_L",  "WR_S WRA_S WR_L WRA_L",                       t.nRTW_S_L),
            rule("WR_S WRA_S",  "RD_S RDA_S RD_L RDA_L",                       t.nWL + t.nBL_min + t.nWTRS),
            rule("WR_L WRA_L",  "RD_S RDA_S RD_L RDA_L",                       t.nWL + t.nBL_min_L + t.nWTRS),
            rule("RD_S RDA_S",  "RD_S RDA_S RD_L RDA_L WR_S WRA_S WR_L WRA_L", t.nBL_min + t.nCS, sibling=True),
            rule("RD_L RDA_L",  "RD_S RDA_S RD_L RDA_L WR_S WRA_S WR_L WRA_L", t.nBL_min + t.nBL_min + t.nCS, sibling=True),
            rule("WR_S WRA_S",  "RD_S RDA_S RD_L RDA_L",                       t.nRL + t.nBL_min + t.nCS - t.nWL, sibling=True),
            rule("WR_L WRA_L",  "RD_S RDA_S RD_L RDA_L",                       t.nRL + t.nBL_min + t.nBL_min + t.nCS - t.nWL, sibling=True),
            rule("RD_S",        "PREab",                                       t.nRTP),
            rule("RD_L",        "PREab",                                       t.nRTP_L),
            rule("WR_S",        "PREab",                                       t.nWL + t.nBL_max + t.nWTP),
            rule("WR_L",        "PREab",                                       t.nWL + t.nBL_max_L + t.nWTP),
            rule("ACT1",        "ACT1",                                        t.nRRD),
            rule("ACT1",        "ACT1",                                        t.nFAW, window=4),
            rule("ACT1",        "PREab",                                       t.nRAS),
            rule("PREab",       "ACT1",                                        t.nRPab),
            rule("PREpb PREab", "PREpb PREab",                                 t.nPPD),
            rule("ACT1",        "REFab",                                       t.nRC),
            rule("PREpb PREab", "REFab",                                       t.nRP),
            rule("RDA_S",       "REFab",                                       t.nRP + t.nRTP),
            rule("RDA_L",       "REFab",                                       t.nRP + t.nRTP_L),
            rule("WRA_S",       "REFab",                                       t.nWL + t.nBL_max + t.nWTP + t.nRP),
            rule("WRA_L",       "REFab",                                       t.nWL + t.nBL_max_L + t.nWTP + t.nRP),
            rule("REFab",       "ACT1 PREab",                                  t.nRFC),
        ),
        "BankGroup": (
            rule("RD_S RDA_S", "RD_S RDA_S RD_L RDA_L", t.nCCDL),
            rule("RD_L RDA_L", "RD_S RDA_S RD_L RDA_L", t.nCCDL_L),
            rule("WR_S WRA_S", "WR_S WRA_S WR_L WRA_L", t.nCCDL_WR),
            rule("WR_L WRA_L", "WR_S WRA_S WR_L WRA_L", t.nCCDL_WR_L),
            rule("RD_S RDA_S", "WR_S WRA_S WR_L WRA_L", t.nRTW_L),
            rule("RD_L RDA_L", "WR_S WRA_S WR_L WRA_L", t.nRTW_L_L),
            rule("WR_S WRA_S", "RD_S RDA_S RD_L RDA_L", t.nWL + t.nBL_max + t.nWTRL),
            rule("WR_L WRA_L", "RD_S RDA_S RD_L RDA_L", t.nWL + t.nBL_max_L + t.nWTRL),
            rule("ACT1",       "ACT1",                  t.nRRD),
        ),
        "Bank": (
            rule("CAS",   "RD_S RDA_S RD_L RDA_L WR_S WRA_S WR_L WRA_L", t.nCAS),
            rule("ACT1",  "ACT1",                                        t.nRC),
            rule("ACT1",  "RD_S RDA_S RD_L RDA_L",                       t.nRCDr),
            rule("ACT1",  "WR_S WRA_S WR_L WRA_L",                       t.nRCDw),
            rule("ACT1",  "PREpb",                                       t.nRAS),
            rule("PREpb", "ACT1",                                        t.nRP),
            rule("RD_S",  "PREpb",                                       t.nRTP),
            rule("RD_L",  "PREpb",                                       t.nRTP_L),
            rule("WR_S",  "PREpb",                                       t.nWL + t.nBL_max + t.nWTP),
            rule("WR_L",  "PREpb",                                       t.nWL + t.nBL_max_L + t.nWTP),
            rule("RDA_S", "ACT1",                                        t.nRTP + t.nRP),
            rule("RDA_L", "ACT1",                                        t.nRTP_L + t.nRP),
            rule("WRA_S", "ACT1",                                        t.nWL + t.nBL_max + t.nWTP + t.nRP),
            rule("WRA_L", "ACT1",                                        t.nWL + t.nBL_max_L + t.nWTP + t.nRP),
        ),
    },
)
# fmt: on
