"""One file per DRAM standard. Dropping a file in here registers it: it builds a `DramStandard`."""
