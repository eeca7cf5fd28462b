// The driver calls of virtual memory management for the stand-in: a reserved range is host memory; handles are numbers.
// It refuses what the driver refuses: mapping outside a range, a handle twice, freeing what is still mapped.
#pragma once
#include <set>

#include "stand_in.hpp"

enum CUresult { CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1, CUDA_ERROR_OUT_OF_MEMORY = 2 };
typedef unsigned long long CUdeviceptr, CUmemGenericAllocationHandle;
struct CUmemLocation {
    int type, id;
};
struct CUmemAllocationProp {
    int type;
    CUmemLocation location;
};
struct CUmemAccessDesc {
    CUmemLocation location;
    int flags;
};
constexpr int CU_MEM_ALLOCATION_TYPE_PINNED = 1, CU_MEM_LOCATION_TYPE_DEVICE = 1, CU_MEM_ACCESS_FLAGS_PROT_READWRITE = 3,
              CU_MEM_ALLOC_GRANULARITY_MINIMUM = 0, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED = 102;
constexpr size_t kStandInGranularity = 64u << 10;

inline std::map<CUdeviceptr, size_t> stand_in_ranges;
inline std::map<CUdeviceptr, CUmemGenericAllocationHandle> stand_in_mapped;
inline std::set<CUmemGenericAllocationHandle> stand_in_handles;

inline CUresult cuDeviceGetAttribute(int *value, int, int) { return *value = 1, CUDA_SUCCESS; }
inline CUresult cuMemGetAllocationGranularity(size_t *bytes, const CUmemAllocationProp *, int) { return *bytes = kStandInGranularity, CUDA_SUCCESS; }
inline CUresult cuMemAddressReserve(CUdeviceptr *at, size_t bytes, size_t, CUdeviceptr, unsigned long long) {
    if (bytes % kStandInGranularity) return CUDA_ERROR_INVALID_VALUE;
    *at = (CUdeviceptr)aligned_alloc(kStandInGranularity, bytes);
    stand_in_ranges[*at] = bytes;
    return CUDA_SUCCESS;
}
inline CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *, unsigned long long) {
    static CUmemGenericAllocationHandle next = 0;
    if (bytes % kStandInGranularity) return CUDA_ERROR_INVALID_VALUE;
    stand_in_handles.insert(*handle = ++next);
    return CUDA_SUCCESS;
}
inline CUresult cuMemMap(CUdeviceptr at, size_t bytes, size_t, CUmemGenericAllocationHandle handle, unsigned long long) {
    auto range = stand_in_ranges.upper_bound(at);
    if (range == stand_in_ranges.begin()) return CUDA_ERROR_INVALID_VALUE;
    --range;
    if (at + bytes > range->first + range->second || !stand_in_handles.count(handle) || stand_in_mapped.count(at))
        return CUDA_ERROR_INVALID_VALUE;
    stand_in_mapped[at] = handle;
    return CUDA_SUCCESS;
}
inline CUresult cuMemSetAccess(CUdeviceptr at, size_t, const CUmemAccessDesc *access, size_t) {
    return stand_in_mapped.count(at) && access->flags ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
inline CUresult cuMemUnmap(CUdeviceptr at, size_t) { return stand_in_mapped.erase(at) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE; }
inline CUresult cuMemRelease(CUmemGenericAllocationHandle handle) { return stand_in_handles.erase(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE; }
inline CUresult cuMemAddressFree(CUdeviceptr at, size_t bytes) {
    auto mapped = stand_in_mapped.lower_bound(at);
    if (mapped != stand_in_mapped.end() && mapped->first < at + bytes) return CUDA_ERROR_INVALID_VALUE;
    if (!stand_in_ranges.erase(at)) return CUDA_ERROR_INVALID_VALUE;
    free((void *)at);
    return CUDA_SUCCESS;
}
#define DRIVER(name) static auto *const name##_call = &name
