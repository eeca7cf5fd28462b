// Managed memory: what it costs to touch pages that lie on the other side, in order and at random, without hints, after a
// prefetch, and under advice; from the device and from the host. One word of every touched page is read or written and
// checked. Never more than half of the free device memory is asked for, unless --oversubscribe says so: on some machines
// that can hang a GPU.
#include "common.cuh"

constexpr size_t kPageBytes = 4096;

static cudaMemLocation device_place() { return {cudaMemLocationTypeDevice, 0}; }
static cudaMemLocation host_place() { return {cudaMemLocationTypeHost, 0}; }

static void prefetch(void *at, size_t bytes, bool is_to_device) {
#if CUDART_VERSION >= 13000
    CHECK(cudaMemPrefetchAsync(at, bytes, is_to_device ? device_place() : host_place(), 0, 0));
#else
    CHECK(cudaMemPrefetchAsync(at, bytes, is_to_device ? 0 : cudaCpuDeviceId, 0));
#endif
}

static void advise(void *at, size_t bytes, cudaMemoryAdvise advice, bool is_device) {
#if CUDART_VERSION >= 13000
    CHECK(cudaMemAdvise(at, bytes, advice, is_device ? device_place() : host_place()));
#else
    CHECK(cudaMemAdvise(at, bytes, advice, is_device ? 0 : cudaCpuDeviceId));
#endif
}

// Word of page p: touched pages are places[0 .. count), each by one thread.
__global__ void touch_pages(uint64_t *words, const uint32_t *places, size_t count, bool is_write, unsigned long long *sum) {
    size_t stride = (size_t)gridDim.x * blockDim.x;
    unsigned long long own = 0;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
        uint64_t *word = words + (size_t)places[i] * (kPageBytes / 8);
        own += *word;
        if (is_write) *word += 1;
    }
    atomicAdd(sum, own);
}

struct Bench {
    uint64_t *words;
    size_t bytes;
    std::vector<uint32_t> places;
    uint32_t *device_places;
    unsigned long long *device_sum;
    uint64_t seed;
};

// All pages on the host, each with its random word.
static void bring_home(const Bench &bench) {
    prefetch(bench.words, bench.bytes, false);
    CHECK(cudaDeviceSynchronize());
    for (size_t page = 0; page < bench.bytes / kPageBytes; page++) bench.words[page * (kPageBytes / 8)] = random_word(bench.seed, page) >> 8;
}

static unsigned long long expected_sum(const Bench &bench) {
    unsigned long long sum = 0;
    for (uint32_t page : bench.places) sum += random_word(bench.seed, page) >> 8;
    return sum;
}

static double touch_us(const Bench &bench, bool is_write, int blocks, int threads) {
    CHECK(cudaMemset(bench.device_sum, 0, sizeof(unsigned long long)));
    CHECK(cudaDeviceSynchronize());
    double started_us = host_us();
    LAUNCH(touch_pages, blocks, threads, 0, 0, bench.words, bench.device_places, bench.places.size(), is_write, bench.device_sum);
    CHECK(cudaDeviceSynchronize());
    double elapsed_us = host_us() - started_us;
    unsigned long long sum = 0;
    CHECK(cudaMemcpy(&sum, bench.device_sum, sizeof sum, cudaMemcpyDeviceToHost));
    if (sum != expected_sum(bench)) fail("managed pages gave a wrong sum");
    return elapsed_us;
}

static double host_touch_us(const Bench &bench, unsigned long long added) {
    double started_us = host_us();
    unsigned long long sum = 0;
    for (uint32_t page : bench.places) sum += bench.words[(size_t)page * (kPageBytes / 8)];
    double elapsed_us = host_us() - started_us;
    if (sum != expected_sum(bench) + added) fail("managed pages gave the host a wrong sum");
    return elapsed_us;
}

static void report(const char *what, const char *hint, const char *order, size_t bytes, size_t touched, std::vector<double> times_us) {
    int repeats = (int)times_us.size();
    Spread us = spread(times_us);
    printf("%s,%s,%s,%zu,%zu,%.4f,%.4f,%.4f,%d,%.5f,%.4f\n", what, hint, order, bytes, touched, us.median, us.low, us.high, repeats,
           us.median / touched, bytes / us.median / 1e3);
    fflush(stdout);
}

enum Hint { kNone, kPrefetch, kReadMostly, kPreferredDevice };
static const char *hint_names[] = {"none", "prefetch", "read_mostly", "preferred_device"};

static void set_pages(Bench &bench, bool is_random, size_t every) {
    size_t pages = bench.bytes / kPageBytes / every;
    bench.places = is_random ? random_order(pages, bench.seed) : std::vector<uint32_t>(pages);
    for (size_t i = 0; i < pages; i++) bench.places[i] = (uint32_t)((is_random ? bench.places[i] : i) * every);
    CHECK(cudaMemcpy(bench.device_places, bench.places.data(), pages * sizeof(uint32_t), cudaMemcpyHostToDevice));
}

static void measure(Bench &bench, Hint hint, bool is_random, bool is_write, size_t every, const Options &options) {
    int repeats = options.is_stand_in ? 2 : options.is_quick ? 3 : 5, blocks = sweep_blocks();
    std::vector<double> first_us, again_us, prefetch_us, home_us;
    set_pages(bench, is_random, every);
    if (hint == kReadMostly) advise(bench.words, bench.bytes, cudaMemAdviseSetReadMostly, true);
    if (hint == kPreferredDevice) advise(bench.words, bench.bytes, cudaMemAdviseSetPreferredLocation, true);
    for (int turn = 0; turn < repeats + 1; turn++) {
        bring_home(bench);
        double moved_us = 0;
        if (hint == kPrefetch) {
            double started_us = host_us();
            prefetch(bench.words, bench.bytes, true);
            CHECK(cudaDeviceSynchronize());
            moved_us = host_us() - started_us;
        }
        double touched_us = touch_us(bench, is_write, blocks, kBlockThreads);
        unsigned long long added = is_write ? bench.places.size() : 0;
        double once_more_us = is_write ? 0 : touch_us(bench, false, blocks, kBlockThreads);
        double returned_us = host_touch_us(bench, added);
        if (turn == 0) continue;  // the first turn makes the page tables
        if (hint == kPrefetch) prefetch_us.push_back(moved_us);
        first_us.push_back(touched_us);
        if (!is_write) again_us.push_back(once_more_us);
        home_us.push_back(returned_us);
    }
    if (hint == kReadMostly) advise(bench.words, bench.bytes, cudaMemAdviseUnsetReadMostly, true);
    if (hint == kPreferredDevice) advise(bench.words, bench.bytes, cudaMemAdviseUnsetPreferredLocation, true);
    const char *order = is_random ? "random" : "sequential", *name = hint_names[hint];
    size_t touched = bench.places.size();
    if (hint == kPrefetch) report("prefetch_call", name, order, bench.bytes, touched, prefetch_us);
    report(is_write ? "device_write" : "device_read", name, order, bench.bytes, touched, first_us);
    if (!is_write) report("device_read_again", name, order, bench.bytes, touched, again_us);
    report("host_read_after", name, order, bench.bytes, touched, home_us);
}

// One thread touches a few pages far apart: the cost of a fault alone, without batching.
static void measure_lone_faults(Bench &bench, const Options &options) {
    size_t every = (4u << 20) / kPageBytes;  // farther apart than the driver's 2 MiB blocks
    if (bench.bytes / kPageBytes / every < 4) every = bench.bytes / kPageBytes / 4;
    std::vector<double> times_us;
    set_pages(bench, true, every);
    for (int turn = 0; turn < (options.is_quick || options.is_stand_in ? 4 : 10); turn++) {
        bring_home(bench);
        times_us.push_back(touch_us(bench, false, 1, 1));
    }
    times_us.erase(times_us.begin());
    report("lone_faults", "none", "random", bench.bytes, bench.places.size(), times_us);
}

// Reads a region larger than what is free, twice.
static void measure_oversubscribed(const Options &options) {
    Bench bench;
    bench.seed = options.seed;
    bench.bytes = (size_t)(options.oversubscribe * free_bytes()) / (2u << 20) * (2u << 20);
    CHECK(cudaMallocManaged(&bench.words, bench.bytes));
    CHECK(cudaMalloc(&bench.device_places, bench.bytes / kPageBytes * sizeof(uint32_t)));
    CHECK(cudaMalloc(&bench.device_sum, sizeof(unsigned long long)));
    for (bool is_random : {false, true}) {
        set_pages(bench, is_random, 1);
        bring_home(bench);
        double first_us = touch_us(bench, false, sweep_blocks(), kBlockThreads);
        report("oversubscribed_read", "none", is_random ? "random" : "sequential", bench.bytes, bench.places.size(), {first_us});
        double again_us = touch_us(bench, false, sweep_blocks(), kBlockThreads);
        report("oversubscribed_read_again", "none", is_random ? "random" : "sequential", bench.bytes, bench.places.size(), {again_us});
    }
    CHECK(cudaFree(bench.words));
    CHECK(cudaFree(bench.device_places));
    CHECK(cudaFree(bench.device_sum));
}

int main(int count, char **words) {
    Options options = read_options(count, words);
    use_device();
    if (!attribute(cudaDevAttrManagedMemory)) leave_out("the device has no managed memory");
    if (!attribute(cudaDevAttrConcurrentManagedAccess))
        leave_out("managed pages do not migrate on demand here (no concurrent managed access)");
    Bench bench;
    bench.seed = options.seed;
    bench.bytes = affordable_bytes(options.is_stand_in ? 2u << 20 : options.is_quick ? 64u << 20 : 256u << 20, 0.5);
    CHECK(cudaMallocManaged(&bench.words, bench.bytes));
    CHECK(cudaMalloc(&bench.device_places, bench.bytes / kPageBytes * sizeof(uint32_t)));
    CHECK(cudaMalloc(&bench.device_sum, sizeof(unsigned long long)));
    puts("what,hint,order,bytes,touched_pages,time_us,time_low_us,time_high_us,repeats,us_per_touched_page,bandwidth_GBps");
    measure_lone_faults(bench, options);
    for (bool is_random : {false, true}) {
        for (Hint hint : {kNone, kPrefetch, kReadMostly, kPreferredDevice}) measure(bench, hint, is_random, false, 1, options);
        measure(bench, kNone, is_random, true, 1, options);
        if (!options.is_quick)
            for (size_t every : {16, 64}) measure(bench, kNone, is_random, false, every, options);  // one page in 64 KiB, in 256 KiB
    }
    CHECK(cudaFree(bench.words));
    CHECK(cudaFree(bench.device_places));
    CHECK(cudaFree(bench.device_sum));
    if (options.oversubscribe > 1 && !options.is_stand_in) measure_oversubscribed(options);
    return 0;
}
