// A random cycle of pointers in device memory, and the walk along it.
#pragma once
#include "common.cuh"

constexpr size_t kLineBytes = 128;

__global__ void write_links(char *base, const uint64_t *places, const uint64_t *targets, size_t count) {
    size_t stride = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride)
        *(uint64_t *)(base + places[i]) = targets[i];
}

// Link k of the cycle lies at byte places[k]; the cycle visits 0, 1, 2, ... and returns.
struct Chain {
    char *base = nullptr;
    size_t footprint_bytes = 0;
    std::vector<uint64_t> places;

    // At most `max_links` lines, spread evenly with a random line in each equal slot, visited in random order.
    Chain(size_t footprint, size_t max_links, uint64_t seed) : footprint_bytes(footprint) {
        size_t count = std::min(footprint / kLineBytes, max_links), lines_per_slot = footprint / kLineBytes / count;
        std::vector<uint32_t> order = random_order(count, seed);
        std::vector<uint64_t> targets(count);
        places.resize(count);
        for (size_t k = 0; k < count; k++)
            places[k] = (order[k] * lines_per_slot + random_word(~seed, k) % lines_per_slot) * kLineBytes;
        for (size_t k = 0; k < count; k++) targets[k] = places[(k + 1) % count];
        base = (char *)new_random(footprint, seed);
        uint64_t *device_places, *device_targets;
        CHECK(cudaMalloc(&device_places, count * 8));
        CHECK(cudaMalloc(&device_targets, count * 8));
        CHECK(cudaMemcpy(device_places, places.data(), count * 8, cudaMemcpyHostToDevice));
        CHECK(cudaMemcpy(device_targets, targets.data(), count * 8, cudaMemcpyHostToDevice));
        LAUNCH(write_links, sweep_blocks(), kBlockThreads, 0, 0, base, device_places, device_targets, count);
        CHECK(cudaDeviceSynchronize());
        CHECK(cudaFree(device_places));
        CHECK(cudaFree(device_targets));
    }
    Chain(const Chain &) = delete;
    ~Chain() { CHECK(cudaFree(base)); }
};

struct Walk {
    uint64_t place, elapsed_ns, elapsed_cycles;
};

template <bool kFirstLevel>
__device__ Walk walk(const char *base, uint64_t place, uint64_t steps) {
    uint64_t begin_ns = now_ns();
    long long begin_cycles = clock64();
    for (uint64_t i = 0; i < steps; i++)
        place = kFirstLevel ? load_first_level((const uint64_t *)(base + place))
                            : load_second_level((const uint64_t *)(base + place));
    // the last load has to arrive before the clocks are read
    long long end_cycles = clock64() + (place == ~0ull);
    return {place, now_ns() - begin_ns, (uint64_t)(end_cycles - begin_cycles)};
}
