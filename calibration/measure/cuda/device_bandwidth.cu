// Bandwidth of device memory against size: reads, writes, copies by a kernel, copies by the copy call.
// `bytes` is the region; a copy moves twice as many, and its bandwidth counts both. Regions rotate through an arena larger
// than the second-level cache, so that each turn finds its region in memory.
#include "common.cuh"

__global__ void read_region(const uint4 *from, size_t count, unsigned *sums, bool is_checked) {
    size_t thread = (size_t)blockIdx.x * blockDim.x + threadIdx.x, stride = (size_t)gridDim.x * blockDim.x, i = thread;
    unsigned sum = 0;
    for (; i + 3 * stride < count; i += 4 * stride) {
        uint4 a = from[i], b = from[i + stride], c = from[i + 2 * stride], d = from[i + 3 * stride];
        sum ^= folded(a) ^ folded(b) ^ folded(c) ^ folded(d);
    }
    for (; i < count; i += stride) sum ^= folded(from[i]);
    if (is_checked || sum == 0x7e57ab1eu) sums[thread] = sum;  // the second case keeps the loads alive
}

__global__ void write_region(uint4 *to, size_t count, unsigned salt) {
    size_t stride = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
        unsigned v = (unsigned)i * 2654435761u ^ salt;
        to[i] = make_uint4(v, v + 1, ~v, v ^ 0x55aa55aau);
    }
}

__global__ void copy_region(const uint4 *from, uint4 *to, size_t count) {
    size_t stride = (size_t)gridDim.x * blockDim.x, i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    for (; i + 3 * stride < count; i += 4 * stride) {
        uint4 a = from[i], b = from[i + stride], c = from[i + 2 * stride], d = from[i + 3 * stride];
        to[i] = a, to[i + stride] = b, to[i + 2 * stride] = c, to[i + 3 * stride] = d;
    }
    for (; i < count; i += stride) to[i] = from[i];
}

struct Arena {
    uint4 *from, *to;
    unsigned *sums;
    size_t bytes;
    uint64_t seed;
    int blocks;
};

// Every operation on a region of odd length, against the same on the host.
static void check_operations(const Arena &arena) {
    size_t count = std::min(arena.bytes / 16, (size_t)100003), threads = (size_t)arena.blocks * kBlockThreads;
    std::vector<uint4> seen(count);
    std::vector<unsigned> sums(threads);
    unsigned expected = 0, found = 0;
    for (size_t i = 0; i < count; i++) expected ^= folded(random_quad(arena.seed, i));
    LAUNCH(read_region, arena.blocks, kBlockThreads, 0, 0, arena.from, count, arena.sums, true);
    CHECK(cudaMemcpy(sums.data(), arena.sums, threads * sizeof(unsigned), cudaMemcpyDeviceToHost));
    for (unsigned sum : sums) found ^= sum;
    if (found != expected) fail("reading gave a wrong sum");

    LAUNCH(copy_region, arena.blocks, kBlockThreads, 0, 0, arena.from, arena.to, count);
    CHECK(cudaMemcpy(seen.data(), arena.to, count * 16, cudaMemcpyDeviceToHost));
    for (size_t i = 0; i < count; i++)
        if (!is_same(seen[i], random_quad(arena.seed, i))) fail("the copy kernel gave wrong data");

    LAUNCH(write_region, arena.blocks, kBlockThreads, 0, 0, arena.to, count, 77u);
    CHECK(cudaMemcpy(seen.data(), arena.to, count * 16, cudaMemcpyDeviceToHost));
    for (size_t i = 0; i < count; i++) {
        unsigned v = (unsigned)i * 2654435761u ^ 77u;
        if (!is_same(seen[i], make_uint4(v, v + 1, ~v, v ^ 0x55aa55aau))) fail("the write kernel gave wrong data");
    }
}

static void measure(const Arena &arena, const char *op, size_t bytes, const Options &options) {
    size_t slots = arena.bytes / bytes, count = bytes / 16;
    int repeats = options.is_stand_in ? 3 : options.is_quick ? 11 : bytes > (1u << 30) ? 15 : 41;
    bool is_read = !strcmp(op, "read"), is_write = !strcmp(op, "write"), is_call = !strcmp(op, "copy_call");
    Spread us = timed_us(0, 3, repeats, [&](int turn) {
        size_t offset = (size_t)turn * 5 % slots * count;
        if (is_read) LAUNCH(read_region, arena.blocks, kBlockThreads, 0, 0, arena.from + offset, count, arena.sums, false);
        else if (is_write) LAUNCH(write_region, arena.blocks, kBlockThreads, 0, 0, arena.to + offset, count, (unsigned)turn);
        else if (is_call) CHECK(cudaMemcpyAsync(arena.to + offset, arena.from + offset, bytes, cudaMemcpyDeviceToDevice, 0));
        else LAUNCH(copy_region, arena.blocks, kBlockThreads, 0, 0, arena.from + offset, arena.to + offset, count);
    });
    double moved = (is_read || is_write ? 1.0 : 2.0) * bytes;
    printf("%s,%zu,%.0f,%.4f,%.4f,%.4f,%d,%.3f\n", op, bytes, moved, us.median, us.low, us.high, repeats, moved / us.median / 1e3);
    fflush(stdout);
}

int main(int count, char **words) {
    Options options = read_options(count, words);
    use_device();
    size_t wanted = options.is_stand_in ? 2u << 20 : options.is_quick ? (size_t)1 << 30 : (size_t)8 << 30;
    Arena arena;
    arena.bytes = affordable_bytes(wanted, 0.35);
    arena.seed = options.seed;
    arena.blocks = sweep_blocks();
    arena.from = new_random(arena.bytes, arena.seed);
    arena.to = new_random(arena.bytes, ~arena.seed);
    CHECK(cudaMalloc(&arena.sums, (size_t)arena.blocks * kBlockThreads * sizeof(unsigned)));
    check_operations(arena);
    puts("op,bytes,moved_bytes,time_us,time_low_us,time_high_us,repeats,bandwidth_GBps");
    for (const char *op : {"read", "write", "copy", "copy_call"})
        for (size_t bytes = 64u << 10; bytes <= arena.bytes; bytes *= options.is_quick ? 8 : 2)
            measure(arena, op, bytes, options);
    CHECK(cudaFree(arena.from));
    CHECK(cudaFree(arena.to));
    CHECK(cudaFree(arena.sums));
    return 0;
}
