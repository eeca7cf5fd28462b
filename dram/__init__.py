"""DRAM: standards as data, command-exact timing kernels, controllers, energy. Reference semantics: Ramulator 2.1."""
