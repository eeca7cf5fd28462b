"""Currents and energies of DRAM parts, one YAML file each; read by `tiergarten.dram.energy`."""
