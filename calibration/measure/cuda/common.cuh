// What the CUDA programs share: checked calls, options, timing with events, random data, memory sweeps.
// Under TIERGARTEN_STAND_IN the same sources are compiled for the host (stand_in.hpp): that walks through them, no more.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#ifdef TIERGARTEN_STAND_IN
#include "stand_in.hpp"
#else
#include <cuda_runtime.h>
// Launches are checked like every other call.
#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...)          \
    do {                                                                \
        kernel<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__); \
        CHECK(cudaGetLastError());                                      \
    } while (0)
// Threads of such a kernel wait for each other; on the GPU there is no difference to LAUNCH.
#define LAUNCH_TOGETHER LAUNCH
constexpr int kBlockThreads = 512;
__device__ inline uint64_t now_ns() {
    uint64_t ns;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns)::"memory");
    return ns;
}
// Loads that are cached in the first level, and loads that bypass it. Volatile: none is merged or moved.
__device__ inline uint64_t load_first_level(const uint64_t *at) {
    uint64_t value;
    asm volatile("ld.global.ca.u64 %0, [%1];" : "=l"(value) : "l"(at) : "memory");
    return value;
}
__device__ inline uint64_t load_second_level(const uint64_t *at) {
    uint64_t value;
    asm volatile("ld.global.cg.u64 %0, [%1];" : "=l"(value) : "l"(at) : "memory");
    return value;
}
__device__ inline uint4 load_first_level(const uint4 *at) {
    uint4 v;
    asm volatile("ld.global.ca.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(at));
    return v;
}
__device__ inline uint4 load_second_level(const uint4 *at) {
    uint4 v;
    asm volatile("ld.global.cg.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(at));
    return v;
}
__device__ inline uint4 load_shared(const uint4 *at) {
    uint4 v;
    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"((unsigned)__cvta_generic_to_shared(at)));
    return v;
}
#endif

constexpr int kLeftOut = 3;  // exit code: this machine cannot run the item

#define CHECK(call)                                                                                          \
    do {                                                                                                     \
        cudaError_t error_ = (call);                                                                         \
        if (error_ != cudaSuccess) {                                                                         \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error_));       \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

[[noreturn]] inline void fail(const std::string &what) {
    fprintf(stderr, "%s\n", what.c_str());
    exit(1);
}

[[noreturn]] inline void leave_out(const std::string &why) {
    fprintf(stderr, "%s\n", why.c_str());
    exit(kLeftOut);
}

struct Options {
    bool is_quick = false, is_stand_in = false;
    uint64_t seed = 1;
    double oversubscribe = 0;
};

inline Options read_options(int count, char **words) {
    Options options;
    for (int i = 1; i < count; i++) {
        std::string word = words[i];
        if (word == "--quick") options.is_quick = true;
        else if (word == "--stand-in") options.is_stand_in = true;
        else if (word == "--seed" && i + 1 < count) options.seed = strtoull(words[++i], nullptr, 10);
        else if (word == "--oversubscribe" && i + 1 < count) options.oversubscribe = atof(words[++i]);
        else fail("unknown option " + word);
    }
    return options;
}

// The first device, or "left out".
inline int use_device() {
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess || count == 0) leave_out(std::string("no usable GPU: ") + cudaGetErrorString(error));
    CHECK(cudaSetDevice(0));
    CHECK(cudaFree(nullptr));  // creates the context now, outside every timing
    return 0;
}

inline int attribute(cudaDeviceAttr which) {
    int value = 0;
    CHECK(cudaDeviceGetAttribute(&value, which, 0));
    return value;
}

inline size_t free_bytes() {
    size_t free_now = 0, total = 0;
    CHECK(cudaMemGetInfo(&free_now, &total));
    return free_now;
}

// The smaller of what is wanted and a share of what is free, a whole number of 2 MiB; one page at least.
inline size_t affordable_bytes(size_t wanted, double share) {
    size_t bytes = std::min(wanted, (size_t)(share * free_bytes()));
    return std::max(bytes / (2u << 20) * (2u << 20), (size_t)2 << 20);
}

struct Spread {
    double low, median, high;
};

inline Spread spread(std::vector<double> values) {
    if (values.empty()) fail("no timing was kept");
    std::sort(values.begin(), values.end());
    size_t n = values.size();
    return {values[n / 4], values[n / 2], values[n - 1 - n / 4]};
}

inline double host_us() {
    using namespace std::chrono;
    return duration<double, std::micro>(steady_clock::now().time_since_epoch()).count();
}

// Microseconds of f(turn) between two events on the stream, `repeats` times after `warmups` turns that do not count.
template <class F>
Spread timed_us(cudaStream_t stream, int warmups, int repeats, F f) {
    cudaEvent_t begin, end;
    CHECK(cudaEventCreate(&begin));
    CHECK(cudaEventCreate(&end));
    std::vector<double> times_us;
    for (int turn = 0; turn < warmups + repeats; turn++) {
        CHECK(cudaEventRecord(begin, stream));
        f(turn);
        CHECK(cudaEventRecord(end, stream));
        CHECK(cudaEventSynchronize(end));
        float ms = 0;
        CHECK(cudaEventElapsedTime(&ms, begin, end));
        if (turn >= warmups) times_us.push_back(1e3 * ms);
    }
    CHECK(cudaEventDestroy(begin));
    CHECK(cudaEventDestroy(end));
    return spread(times_us);
}

// SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014): the random word of an index.
__host__ __device__ inline uint64_t random_word(uint64_t seed, uint64_t index) {
    uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

__host__ __device__ inline uint4 random_quad(uint64_t seed, uint64_t index) {
    uint64_t a = random_word(seed, 2 * index), b = random_word(seed, 2 * index + 1);
    return make_uint4((unsigned)a, (unsigned)(a >> 32), (unsigned)b, (unsigned)(b >> 32));
}

__host__ __device__ inline unsigned folded(uint4 v) { return v.x ^ v.y ^ v.z ^ v.w; }

inline bool is_same(uint4 a, uint4 b) { return a.x == b.x && a.y == b.y && a.z == b.z && a.w == b.w; }

__global__ void fill_random(uint4 *to, size_t count, uint64_t seed) {
    size_t stride = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) to[i] = random_quad(seed, i);
}

// Blocks that fill the device for a plain sweep.
inline int sweep_blocks() { return 4 * attribute(cudaDevAttrMultiProcessorCount); }

inline uint4 *new_random(size_t bytes, uint64_t seed) {
    uint4 *at = nullptr;
    CHECK(cudaMalloc(&at, bytes));
    LAUNCH(fill_random, sweep_blocks(), kBlockThreads, 0, 0, at, bytes / sizeof(uint4), seed);
    CHECK(cudaDeviceSynchronize());
    return at;
}

// A random order of 0 .. count - 1.
inline std::vector<uint32_t> random_order(size_t count, uint64_t seed) {
    std::vector<uint32_t> order(count);
    for (size_t i = 0; i < count; i++) order[i] = (uint32_t)i;
    for (size_t i = count; i-- > 1;) std::swap(order[i], order[random_word(seed, i) % (i + 1)]);
    return order;
}
