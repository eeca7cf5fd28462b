// Read bandwidth of what lies on the chip: shared memory, the first-level cache of each multiprocessor, and the second-level
// cache (and what lies behind it, above its size) against footprint. Sums are checked against the host's.
#include "common.cuh"

#ifdef TIERGARTEN_STAND_IN
#define DYNAMIC_QUADS ((uint4 *)stand_in_shared)
#else
extern __shared__ uint4 dynamic_quads[];
#define DYNAMIC_QUADS dynamic_quads
#endif

enum Level { kShared, kFirst, kSecond };

__host__ __device__ inline unsigned mixed(unsigned sum, uint4 v) { return (sum << 1 | sum >> 31) ^ folded(v); }

// Every block reads the same `count` quads `passes` times, from shared memory or through the first-level cache.
template <Level kLevel>
__global__ void read_near(const uint4 *from, unsigned count, int passes, unsigned *sums) {
    const uint4 *held = from;
    if (kLevel == kShared) {
        uint4 *shared = DYNAMIC_QUADS;
        for (unsigned i = threadIdx.x; i < count; i += blockDim.x) shared[i] = from[i];
        __syncthreads();
        held = shared;
    }
    unsigned sum = 0;
    for (int pass = 0; pass < passes; pass++)
#pragma unroll 8
        for (unsigned i = threadIdx.x; i < count; i += blockDim.x)
            sum = mixed(sum, kLevel == kShared ? load_shared(held + i) : load_first_level(held + i));
    sums[(size_t)blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

// All blocks together read `count` quads `passes` times past the first level; in each pass a block takes another part.
__global__ void read_far(const uint4 *from, size_t count, int passes, unsigned *sums) {
    size_t stride = (size_t)gridDim.x * blockDim.x;
    unsigned sum = 0;
    for (int pass = 0; pass < passes; pass++) {
        size_t first = (size_t)((blockIdx.x + pass * 7) % gridDim.x) * blockDim.x + threadIdx.x;
#pragma unroll 4
        for (size_t i = first; i < count; i += stride) sum ^= folded(load_second_level(from + i));
    }
    sums[(size_t)blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

struct Bench {
    const uint4 *from;
    unsigned *sums;
    uint64_t seed;
    int blocks, threads;
};

static std::vector<unsigned> fetched(const Bench &bench) {
    std::vector<unsigned> sums((size_t)bench.blocks * bench.threads);
    CHECK(cudaMemcpy(sums.data(), bench.sums, sums.size() * sizeof(unsigned), cudaMemcpyDeviceToHost));
    return sums;
}

static void check_near(const Bench &bench, unsigned count, int passes) {
    std::vector<unsigned> found = fetched(bench);
    for (int thread = 0; thread < bench.threads; thread++) {
        unsigned expected = 0;
        for (int pass = 0; pass < passes; pass++)
            for (unsigned i = thread; i < count; i += bench.threads) expected = mixed(expected, random_quad(bench.seed, i));
        for (int block = 0; block < bench.blocks; block++)
            if (found[(size_t)block * bench.threads + thread] != expected) fail("a thread read wrong data");
    }
}

static void check_far(const Bench &bench, size_t count, int passes) {
    unsigned expected = 0, found = 0;
    if (passes % 2)
        for (size_t i = 0; i < count; i++) expected ^= folded(random_quad(bench.seed, i));
    for (unsigned sum : fetched(bench)) found ^= sum;
    if (found != expected) fail("the second-level sweep gave a wrong sum");
}

static void report(const char *level, size_t footprint, double bytes, Spread us, int repeats) {
    printf("%s,%zu,%.0f,%.4f,%.4f,%.4f,%d,%.3f\n", level, footprint, bytes, us.median, us.low, us.high, repeats, bytes / us.median / 1e3);
    fflush(stdout);
}

template <Level kLevel>
static void measure_near(const Bench &bench, size_t footprint, const Options &options) {
    unsigned count = (unsigned)(footprint / 16);
    size_t shared_bytes = kLevel == kShared ? footprint : 0;
    int repeats = options.is_quick ? 7 : 15, passes = options.is_stand_in ? 3 : (int)std::max<size_t>(((size_t)16 << 20) / footprint, 2);
    if (kLevel == kShared) CHECK(cudaFuncSetAttribute(read_near<kLevel>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)footprint));
    LAUNCH_TOGETHER(read_near<kLevel>, bench.blocks, bench.threads, shared_bytes, 0, bench.from, count, 2, bench.sums);
    check_near(bench, count, 2);
    Spread us = timed_us(0, 2, repeats, [&](int) {
        LAUNCH_TOGETHER(read_near<kLevel>, bench.blocks, bench.threads, shared_bytes, 0, bench.from, count, passes, bench.sums);
    });
    report(kLevel == kShared ? "shared" : "first_level", footprint, (double)footprint * passes * bench.blocks, us, repeats);
}

static void measure_far(const Bench &bench, size_t footprint, const Options &options) {
    size_t count = footprint / 16;
    int repeats = options.is_quick ? 7 : 15, passes = options.is_stand_in ? 3 : (int)std::max<size_t>(((size_t)1 << 30) / footprint, 2);
    LAUNCH(read_far, bench.blocks, bench.threads, 0, 0, bench.from, count, 3, bench.sums);
    check_far(bench, count, 3);
    Spread us = timed_us(0, 2, repeats, [&](int) { LAUNCH(read_far, bench.blocks, bench.threads, 0, 0, bench.from, count, passes, bench.sums); });
    report("second_level", footprint, (double)footprint * passes, us, repeats);
}

int main(int count, char **words) {
    Options options = read_options(count, words);
    use_device();
    size_t largest = affordable_bytes(options.is_stand_in ? 2u << 20 : (size_t)512 << 20, 0.5);
    Bench bench;
    bench.seed = options.seed;
    bench.blocks = attribute(cudaDevAttrMultiProcessorCount);
    bench.threads = options.is_stand_in ? 32 : 1024;
    bench.from = new_random(largest, bench.seed);
    int all_blocks = 2 * bench.blocks;
    CHECK(cudaMalloc(&bench.sums, (size_t)all_blocks * bench.threads * sizeof(unsigned)));
    puts("level,footprint_bytes,moved_bytes,time_us,time_low_us,time_high_us,repeats,bandwidth_GBps");
    size_t shared_most = (size_t)attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) / 16384 * 16384;
    for (size_t footprint = 16384; footprint <= shared_most; footprint *= 2) measure_near<kShared>(bench, footprint, options);
    for (size_t footprint = 16384; footprint <= 8 * shared_most; footprint *= 2) measure_near<kFirst>(bench, footprint, options);
    bench.blocks = all_blocks;  // two on each multiprocessor hide the longer latency
    for (size_t footprint = 256u << 10; footprint <= largest; footprint *= options.is_quick ? 4 : 2) {
        measure_far(bench, footprint, options);
        if (!options.is_quick && footprint * 3 / 2 <= largest) measure_far(bench, footprint * 3 / 2, options);
    }
    CHECK(cudaFree((void *)bench.from));
    CHECK(cudaFree(bench.sums));
    return 0;
}
