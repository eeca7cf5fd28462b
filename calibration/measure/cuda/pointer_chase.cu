// Latency of dependent loads against footprint: first-level cache, second-level cache, memory, and beyond the reach of the
// address translation. Above a million lines the lines are spread thinner, so that the footprint still is what it says.
#include "chain.cuh"

template <bool kFirstLevel>
__global__ void chase(const char *base, uint64_t place, uint64_t steps, Walk *out) {
    *out = walk<kFirstLevel>(base, place, steps);
}

static Walk run(bool is_first_level, const Chain &chain, uint64_t place, uint64_t steps, Walk *device_out) {
    Walk out;
    if (is_first_level) LAUNCH(chase<true>, 1, 1, 0, 0, chain.base, place, steps, device_out);
    else LAUNCH(chase<false>, 1, 1, 0, 0, chain.base, place, steps, device_out);
    CHECK(cudaMemcpy(&out, device_out, sizeof out, cudaMemcpyDeviceToHost));
    return out;
}

static void measure(bool is_first_level, size_t footprint, const Options &options, Walk *device_out) {
    Chain chain(footprint, options.is_stand_in ? 4096 : 1u << 20, options.seed ^ footprint);
    size_t links = chain.places.size(), cache = (size_t)attribute(cudaDevAttrL2CacheSize);
    int repeats = options.is_quick ? 5 : 9;
    size_t steps = options.is_stand_in ? 100 : options.is_quick ? 4000 : 12000, at = 0;
    // what a cache can hold is brought in first; beyond it, a few steps warm the translation of the code's own pages
    size_t warm = footprint <= 2 * cache ? links : std::min(links, (size_t)2000);
    auto advance = [&](size_t count) {
        Walk out = run(is_first_level, chain, chain.places[at], count, device_out);
        at = (at + count) % links;
        if (out.place != chain.places[at]) fail("the chase ended at the wrong line");
        return out;
    };
    advance(warm);
    std::vector<double> ns, cycles;
    for (int repeat = 0; repeat < repeats; repeat++) {
        Walk out = advance(steps);
        ns.push_back((double)out.elapsed_ns / steps);
        cycles.push_back((double)out.elapsed_cycles / steps);
    }
    Spread latency = spread(ns);
    printf("%s,%zu,%zu,%.3f,%.3f,%.3f,%.2f,%d\n", is_first_level ? "first_level" : "second_level", footprint, links,
           latency.median, latency.low, latency.high, spread(cycles).median, repeats);
    fflush(stdout);
}

int main(int count, char **words) {
    Options options = read_options(count, words);
    use_device();
    Walk *device_out;
    CHECK(cudaMalloc(&device_out, sizeof(Walk)));
    size_t largest = affordable_bytes(options.is_stand_in ? 2u << 20 : options.is_quick ? (size_t)1 << 30 : (size_t)32 << 30, 0.6);
    puts("cached_from,footprint_bytes,links,latency_ns,latency_low_ns,latency_high_ns,latency_cycles,repeats");
    for (bool is_first_level : {true, false})
        for (size_t half = 8u << 10; half <= largest; half *= options.is_quick || options.is_stand_in ? 4 : 2) {
            measure(is_first_level, half, options, device_out);
            if (!options.is_quick && !options.is_stand_in && half * 3 / 2 <= largest)
                measure(is_first_level, half * 3 / 2, options, device_out);
        }
    CHECK(cudaFree(device_out));
    return 0;
}
