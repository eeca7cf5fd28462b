// Latency of device memory under load: one multiprocessor chases pointers, all others make traffic of a chosen read share.
// The method is Mess (Esmaili-Dokht et al., MICRO 2024). GPU stores write whole lines without reading them, so a share of
// r % reads is r % of the bytes. Only bytes moved between the two clock readings of the chase are counted.
#include "chain.cuh"

constexpr int kUnroll = 4;                 // independent 16-byte accesses in flight for each thread
constexpr uint64_t kLimitNs = 3000000000;  // traffic ends by itself, whatever happens to the chase

enum Phase { kRamp, kCount, kOver };

struct Control {
    int phase, num_started;
    unsigned long long read_warp_turns, written_warp_turns;
    Walk walk;
};

// One warp turn moves 32 * kUnroll * 16 bytes.
__global__ void load_and_chase(const char *chain, uint64_t place, uint64_t warm_steps, uint64_t steps, uint4 *arena,
                               size_t quads_per_block, int read_percent, long long pause_cycles, Control *control,
                               unsigned *sink) {
    __shared__ volatile int phase;
    volatile int *global_phase = &control->phase, *num_started = &control->num_started;
    if (blockIdx.x == 0) {
        if (threadIdx.x != 0) return;
        uint64_t begin_ns = now_ns();
        while (*num_started < (int)gridDim.x - 1 && now_ns() - begin_ns < kLimitNs) {
        }
        place = walk<false>(chain, place, warm_steps).place;
        *global_phase = kCount;
        __threadfence();
        control->walk = walk<false>(chain, place, steps);
        __threadfence();
        *global_phase = kOver;
        return;
    }
    if (threadIdx.x == 0) {
        phase = kRamp;
        atomicAdd(&control->num_started, 1);
    }
    __syncthreads();
    uint4 *mine = arena + (size_t)(blockIdx.x - 1) * quads_per_block;
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const size_t warp_quads = 32 * kUnroll, warps = blockDim.x / 32;
    const size_t turns_per_sweep = quads_per_block / (warp_quads * warps);
    unsigned long long reads = 0, writes = 0;
    unsigned sum = (unsigned)random_word(place, threadIdx.x);
    int credit = (int)(warp * 37 + blockIdx.x * 11) % 100;
    uint64_t begin_ns = now_ns();
    for (size_t turn = 0;; turn++) {
        if (threadIdx.x == 0) phase = now_ns() - begin_ns > kLimitNs ? kOver : *global_phase;
        int seen = phase;  // one warp asks memory for all, or the asking itself would be load
        if (seen == kOver) break;
        uint4 *at = mine + ((turn % turns_per_sweep) * warps + warp) * warp_quads + lane;
        credit += read_percent;
        if (credit >= 100) {
            credit -= 100;
            uint4 a = load_second_level(at), b = load_second_level(at + 32), c = load_second_level(at + 64),
                  d = load_second_level(at + 96);
            sum ^= folded(a) ^ folded(b) ^ folded(c) ^ folded(d);
            reads += seen == kCount;
        } else {
            uint4 v = make_uint4(sum, sum + (unsigned)turn, ~sum, lane);
            at[0] = v, at[32] = v, at[64] = v, at[96] = v;
            writes += seen == kCount;
        }
        if (pause_cycles) {
            long long until = clock64() + pause_cycles;
            while (clock64() < until) {
            }
        }
    }
    if (lane == 0) {
        atomicAdd(&control->read_warp_turns, reads);
        atomicAdd(&control->written_warp_turns, writes);
    }
    sink[(size_t)blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

struct Bench {
    Chain &chain;
    uint4 *arena;
    size_t quads_per_block;
    Control *control;
    unsigned *sink;
    int blocks, threads;
    size_t steps, at;
};

struct Point {
    double bytes_per_ns, latency_ns, read_percent;
};

static Point measure(Bench &bench, int read_percent, long long pause_cycles, bool has_traffic) {
    size_t links = bench.chain.places.size(), warm = bench.steps / 4;
    CHECK(cudaMemset(bench.control, 0, sizeof(Control)));
    LAUNCH_TOGETHER(load_and_chase, has_traffic ? bench.blocks : 1, bench.threads, 0, 0, bench.chain.base,
                    bench.chain.places[bench.at], warm, bench.steps, bench.arena, bench.quads_per_block, read_percent,
                    pause_cycles, bench.control, bench.sink);
    Control control;
    CHECK(cudaMemcpy(&control, bench.control, sizeof control, cudaMemcpyDeviceToHost));
    bench.at = (bench.at + warm + bench.steps) % links;
    if (control.walk.place != bench.chain.places[bench.at]) fail("the chase ended at the wrong line");
    double turn_bytes = 32.0 * kUnroll * 16, ns = (double)control.walk.elapsed_ns;
    double reads = control.read_warp_turns * turn_bytes + (double)bench.steps * 32, writes = control.written_warp_turns * turn_bytes;
    return {(reads + writes) / ns, ns / bench.steps, 100 * reads / (reads + writes)};
}

int main(int count, char **words) {
    Options options = read_options(count, words);
    use_device();
    Chain chain(affordable_bytes(options.is_stand_in ? 2u << 20 : 256u << 20, 0.1), options.is_stand_in ? 4096 : 1u << 20, options.seed);
    Bench bench{chain};
    bench.blocks = attribute(cudaDevAttrMultiProcessorCount);  // one each, so all run at once
    bench.threads = options.is_stand_in ? 64 : 1024;
    if (bench.blocks < 2) leave_out("a single multiprocessor cannot chase and make traffic");
    size_t arena_bytes = affordable_bytes(options.is_stand_in ? 2u << 20 : (size_t)8 << 30, 0.3);
    size_t turn_quads = (size_t)bench.threads * kUnroll;
    bench.quads_per_block = arena_bytes / 16 / (bench.blocks - 1) / turn_quads * turn_quads;
    if (bench.quads_per_block == 0) leave_out("too little free device memory for traffic");
    bench.arena = new_random(arena_bytes, ~options.seed);
    CHECK(cudaMalloc(&bench.control, sizeof(Control)));
    CHECK(cudaMalloc(&bench.sink, (size_t)bench.blocks * bench.threads * sizeof(unsigned)));
    bench.steps = options.is_stand_in ? 100000 : options.is_quick ? 1500 : 3000;
    bench.at = 0;
    std::vector<long long> pauses = {200000, 100000, 50000, 25000, 15000, 10000, 7000, 5000, 4000, 3200, 2600, 2100, 1700,
                                     1400, 1100, 900, 700, 550, 400, 280, 180, 100, 50, 0};
    int repeats = options.is_stand_in ? 1 : options.is_quick ? 3 : 5;
    size_t step = options.is_stand_in ? 12 : options.is_quick ? 3 : 1;
    measure(bench, 100, 0, false);
    measure(bench, 70, 0, true);  // warm-up
    puts("read_percent,pause_cycles,bandwidth_GBps,bandwidth_low_GBps,bandwidth_high_GBps,latency_ns,latency_low_ns,"
         "latency_high_ns,achieved_read_percent,repeats");
    for (int read_percent = 100; read_percent >= 50; read_percent -= options.is_quick || options.is_stand_in ? 25 : 10)
        for (size_t p = 0; p <= pauses.size(); p += step) {
            bool has_traffic = p > 0;  // the first point is the unloaded one
            long long pause = has_traffic ? pauses[p - 1] : -1;
            std::vector<double> rates, latencies, shares;
            for (int repeat = 0; repeat < repeats; repeat++) {
                Point point = measure(bench, read_percent, pause, has_traffic);
                rates.push_back(point.bytes_per_ns);
                latencies.push_back(point.latency_ns);
                shares.push_back(point.read_percent);
            }
            Spread rate = spread(rates), latency = spread(latencies);
            printf("%d,%lld,%.4f,%.4f,%.4f,%.3f,%.3f,%.3f,%.2f,%d\n", read_percent, pause, rate.median, rate.low, rate.high,
                   latency.median, latency.low, latency.high, spread(shares).median, repeats);
            fflush(stdout);
        }
    CHECK(cudaFree(bench.arena));
    CHECK(cudaFree(bench.control));
    CHECK(cudaFree(bench.sink));
    return 0;
}
