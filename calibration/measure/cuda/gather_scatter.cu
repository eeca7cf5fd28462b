// Bandwidth of gathering chunks from scattered places of device memory, and of scattering them, against chunk size: at
// random places, and at a fixed stride. 16 bytes a thread. Counts bytes read and written.
#include "common.cuh"

constexpr unsigned kPieceQuads = 1024;  // larger chunks are moved in pieces, or few would leave most of the device idle

// A team of threads, 16 bytes each, moves one piece of a chunk.
__global__ void move_chunks(const uint4 *from, uint4 *to, const uint32_t *places, size_t num_chunks, unsigned chunk_quads,
                            bool is_scatter) {
    unsigned piece_quads = chunk_quads < kPieceQuads ? chunk_quads : kPieceQuads, pieces_per_chunk = chunk_quads / piece_quads;
    unsigned team = piece_quads < blockDim.x ? piece_quads : blockDim.x, teams = blockDim.x / team;
    size_t num_pieces = num_chunks * pieces_per_chunk;
    for (size_t piece = (size_t)blockIdx.x * teams + threadIdx.x / team; piece < num_pieces; piece += (size_t)gridDim.x * teams) {
        size_t chunk = piece / pieces_per_chunk, inside = piece % pieces_per_chunk * piece_quads;
        const uint4 *source = from + (is_scatter ? chunk : places[chunk]) * chunk_quads + inside;
        uint4 *target = to + (is_scatter ? places[chunk] : chunk) * chunk_quads + inside;
        unsigned q = threadIdx.x % team;
        for (; q + 3 * team < piece_quads; q += 4 * team) {
            uint4 a = source[q], b = source[q + team], c = source[q + 2 * team], d = source[q + 3 * team];
            target[q] = a, target[q + team] = b, target[q + 2 * team] = c, target[q + 3 * team] = d;
        }
        for (; q < piece_quads; q += team) target[q] = source[q];
    }
}

struct Bench {
    uint4 *wide, *dense;  // the scattered side and the packed side
    uint32_t *places;
    size_t wide_bytes, dense_bytes;
    uint64_t seed;
};

static void run(const Bench &bench, size_t num_chunks, unsigned quads, bool is_scatter) {
    const uint4 *from = is_scatter ? bench.dense : bench.wide;
    uint4 *to = is_scatter ? bench.wide : bench.dense;
    LAUNCH(move_chunks, 2 * sweep_blocks(), 256, 0, 0, from, to, bench.places, num_chunks, quads, is_scatter);
}

// A sample of the moved chunks, word by word.
static void check(const Bench &bench, const std::vector<uint32_t> &places, unsigned quads, bool is_scatter) {
    CHECK(cudaDeviceSynchronize());
    std::vector<uint4> seen(quads);
    for (size_t turn = 0; turn < 20; turn++) {
        size_t chunk = random_word(bench.seed, turn) % places.size();
        const uint4 *to = is_scatter ? bench.wide + places[chunk] * (size_t)quads : bench.dense + chunk * quads;
        CHECK(cudaMemcpy(seen.data(), to, quads * sizeof(uint4), cudaMemcpyDeviceToHost));
        size_t first = (is_scatter ? chunk : places[chunk]) * (size_t)quads;
        for (unsigned q = 0; q < quads; q++)
            if (!is_same(seen[q], random_quad(is_scatter ? ~bench.seed : bench.seed, first + q)))
                fail("a chunk holds wrong data");
    }
}

static void measure(const Bench &bench, const char *pattern, size_t stride, size_t chunk, bool is_scatter, const Options &options) {
    size_t slots = bench.wide_bytes / chunk, num_chunks = std::min(bench.dense_bytes / chunk, stride ? slots / stride : slots);
    if (num_chunks == 0) return;
    std::vector<uint32_t> places(num_chunks);
    if (stride) for (size_t i = 0; i < num_chunks; i++) places[i] = (uint32_t)(i * stride);
    else {
        // distinct random places: slot i of num_chunks equal parts, a random chunk in each, in random order
        std::vector<uint32_t> order = random_order(num_chunks, options.seed ^ chunk);
        size_t per_part = slots / num_chunks;
        for (size_t i = 0; i < num_chunks; i++) places[i] = (uint32_t)(order[i] * per_part + random_word(options.seed, i) % per_part);
    }
    CHECK(cudaMemcpy(bench.places, places.data(), num_chunks * sizeof(uint32_t), cudaMemcpyHostToDevice));
    // both sides anew: the last measurement has overwritten one of them
    LAUNCH(fill_random, sweep_blocks(), kBlockThreads, 0, 0, bench.wide, bench.wide_bytes / 16, bench.seed);
    LAUNCH(fill_random, sweep_blocks(), kBlockThreads, 0, 0, bench.dense, bench.dense_bytes / 16, ~bench.seed);
    unsigned quads = (unsigned)(chunk / 16);
    run(bench, num_chunks, quads, is_scatter);
    check(bench, places, quads, is_scatter);
    int repeats = options.is_stand_in ? 2 : options.is_quick ? 7 : 15;
    Spread us = timed_us(0, 2, repeats, [&](int) { run(bench, num_chunks, quads, is_scatter); });
    printf("%s,%s,%zu,%zu,%zu,%.4f,%.4f,%.4f,%d,%.3f\n", is_scatter ? "scatter" : "gather", pattern, chunk, stride, num_chunks,
           us.median, us.low, us.high, repeats, 2.0 * num_chunks * chunk / us.median / 1e3);
    fflush(stdout);
}

int main(int count, char **words) {
    Options options = read_options(count, words);
    use_device();
    Bench bench;
    bench.seed = options.seed;
    bench.wide_bytes = affordable_bytes(options.is_stand_in ? 4u << 20 : (size_t)4 << 30, 0.4);
    bench.dense_bytes = std::min(bench.wide_bytes / 2, options.is_stand_in ? (size_t)1 << 20 : (size_t)256 << 20);
    bench.wide = new_random(bench.wide_bytes, bench.seed);
    bench.dense = new_random(bench.dense_bytes, ~bench.seed);
    CHECK(cudaMalloc(&bench.places, bench.dense_bytes / 32 * sizeof(uint32_t)));
    puts("op,pattern,chunk_bytes,stride_chunks,chunks,time_us,time_low_us,time_high_us,repeats,bandwidth_GBps");
    size_t largest = options.is_stand_in ? 32768 : 2u << 20, step = options.is_quick || options.is_stand_in ? 16 : 4;
    for (bool is_scatter : {false, true}) {
        for (size_t chunk = 32; chunk <= largest; chunk *= options.is_quick || options.is_stand_in ? 8 : 2)
            measure(bench, "random", 0, chunk, is_scatter, options);
        for (size_t stride : {1, 2, 4, 8, 16})
            for (size_t chunk = 32; chunk <= largest; chunk *= step) measure(bench, "strided", stride, chunk, is_scatter, options);
    }
    CHECK(cudaFree(bench.wide));
    CHECK(cudaFree(bench.dense));
    CHECK(cudaFree(bench.places));
    return 0;
}
