// A stand-in for the CUDA runtime: enough of it to walk through the programs of this folder on the host, with the host's
// memory as device memory. It shows that a program runs, checks its data and prints its table; it measures nothing.
// Kernels launched by LAUNCH run their threads one after the other; LAUNCH_TOGETHER gives each thread one of its own.
#pragma once
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#define __global__ static
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;
inline thread_local std::barrier<> *stand_in_barrier = nullptr;
inline void *stand_in_shared = nullptr;  // dynamic shared memory; blocks of a stand-in share it, their fills are alike

constexpr int kBlockThreads = 32;

inline uint64_t now_ns() {
    using namespace std::chrono;
    return duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
}
inline long long clock64() { return (long long)now_ns(); }
inline void __syncthreads() { stand_in_barrier->arrive_and_wait(); }
inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
inline uint64_t load_first_level(const uint64_t *at) { return *(const volatile uint64_t *)at; }
inline uint64_t load_second_level(const uint64_t *at) { return *(const volatile uint64_t *)at; }
inline uint4 load_first_level(const uint4 *at) { return *at; }
inline uint4 load_second_level(const uint4 *at) { return *at; }
inline uint4 load_shared(const uint4 *at) { return *at; }
template <class T>
T atomicAdd(T *at, T value) {
    return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST);
}

template <class F>
void stand_in_in_turn(unsigned grid, unsigned block, F kernel) {
    gridDim = grid, blockDim = block;
    for (unsigned b = 0; b < grid; b++)
        for (unsigned t = 0; t < block; t++) {
            blockIdx = b, threadIdx = t;
            kernel();
        }
}

template <class F>
void stand_in_together(unsigned grid, unsigned block, size_t shared_bytes, F kernel) {
    std::vector<std::unique_ptr<std::barrier<>>> barriers;
    std::vector<std::thread> threads;
    stand_in_shared = realloc(stand_in_shared, shared_bytes + 16);
    for (unsigned b = 0; b < grid; b++) {
        barriers.push_back(std::make_unique<std::barrier<>>(block));
        for (unsigned t = 0; t < block; t++)
            threads.emplace_back([=, barrier = barriers.back().get()] {
                gridDim = grid, blockDim = block, blockIdx = b, threadIdx = t, stand_in_barrier = barrier;
                kernel();
                barrier->arrive_and_drop();
            });
    }
    for (std::thread &thread : threads) thread.join();
}

#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...) stand_in_in_turn((grid), (block), [&] { kernel(__VA_ARGS__); })
#define LAUNCH_TOGETHER(kernel, grid, block, shared_bytes, stream, ...) \
    stand_in_together((grid), (block), (shared_bytes), [&] { kernel(__VA_ARGS__); })

// The runtime's names and values are those of the CUDA Runtime API reference.
#define CUDART_VERSION 13000
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2 };
inline const char *cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess ? "no error" : error == cudaErrorMemoryAllocation ? "out of memory" : "invalid argument";
}
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount, cudaDevAttrL2CacheSize, cudaDevAttrMaxSharedMemoryPerBlockOptin, cudaDevAttrManagedMemory,
    cudaDevAttrConcurrentManagedAccess, cudaDevAttrPageableMemoryAccess
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaMemoryAdvise { cudaMemAdviseSetReadMostly, cudaMemAdviseUnsetReadMostly, cudaMemAdviseSetPreferredLocation, cudaMemAdviseUnsetPreferredLocation };
enum cudaMemLocationType { cudaMemLocationTypeInvalid, cudaMemLocationTypeDevice, cudaMemLocationTypeHost };
struct cudaMemLocation {
    cudaMemLocationType type;
    int id;
};
constexpr unsigned cudaStreamNonBlocking = 1, cudaMemAttachGlobal = 1;
typedef int cudaStream_t;
struct StandInEvent {
    double us;
};
typedef StandInEvent *cudaEvent_t;

constexpr size_t kStandInBytes = 64u << 20;  // what the device of the stand-in has
inline std::map<void *, size_t> stand_in_allocations;

inline cudaError_t cudaMalloc(void **at, size_t bytes) {
    size_t used = bytes;
    for (auto &[pointer, size] : stand_in_allocations) used += size;
    if (used > kStandInBytes) return cudaErrorMemoryAllocation;
    *at = aligned_alloc(256, (bytes + 255) / 256 * 256);
    memset(*at, 0xa5, bytes);  // poison: what a kernel forgets to write is noticed
    stand_in_allocations[*at] = bytes;
    return cudaSuccess;
}
template <class T>
cudaError_t cudaMalloc(T **at, size_t bytes) {
    return cudaMalloc((void **)at, bytes);
}
inline cudaError_t cudaFree(void *at) {
    if (at && !stand_in_allocations.erase(at)) return cudaErrorInvalidValue;
    free(at);
    return cudaSuccess;
}
template <class T>
cudaError_t cudaMallocHost(T **at, size_t bytes) {
    *at = (T *)aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    return *at ? cudaSuccess : cudaErrorMemoryAllocation;
}
inline cudaError_t cudaFreeHost(void *at) { return free(at), cudaSuccess; }
template <class T>
cudaError_t cudaMallocManaged(T **at, size_t bytes, unsigned = cudaMemAttachGlobal) {
    return cudaMalloc((void **)at, bytes);
}
inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t = 0) {
    return memcpy(to, from, bytes), cudaSuccess;
}
inline cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) { return cudaMemcpyAsync(to, from, bytes, kind); }
inline cudaError_t cudaMemset(void *at, int value, size_t bytes) { return memset(at, value, bytes), cudaSuccess; }
inline cudaError_t cudaMemPrefetchAsync(const void *, size_t, cudaMemLocation, unsigned, cudaStream_t = 0) { return cudaSuccess; }
inline cudaError_t cudaMemAdvise(const void *, size_t, cudaMemoryAdvise, cudaMemLocation) { return cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int *count) { return *count = 1, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaMemGetInfo(size_t *free_now, size_t *total) {
    *total = *free_now = kStandInBytes;
    for (auto &[pointer, size] : stand_in_allocations) *free_now -= size;
    return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr which, int) {
    *value = which == cudaDevAttrMultiProcessorCount ? 2
             : which == cudaDevAttrL2CacheSize ? 1 << 18
             : which == cudaDevAttrMaxSharedMemoryPerBlockOptin ? 1 << 15
                                                               : 1;
    return cudaSuccess;
}
template <class F>
cudaError_t cudaFuncSetAttribute(F, cudaFuncAttribute, int) {
    return cudaSuccess;
}
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) { return *stream = 0, cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaEventCreate(cudaEvent_t *event) { return *event = new StandInEvent{0}, cudaSuccess; }
inline cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete event, cudaSuccess; }
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t = 0) { return event->us = now_ns() / 1e3, cudaSuccess; }
inline cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
inline cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end) {
    return *ms = (float)((end->us - begin->us) / 1e3), cudaSuccess;
}
