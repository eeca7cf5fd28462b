"""GPU demand paging and explicit memory schemes: the UVM driver's behaviour, ATS and HMM, vAttention, PagedAttention, streaming.

The behaviour follows NVIDIA's open kernel module 545.23.06 (nvidia-uvm) and Allen & Ge, SC'21; every number has its source in
the module that holds it.
"""
