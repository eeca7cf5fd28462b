// Copies between host and device against size: pinned and pageable host memory, each direction alone and both at once.
// `time_us` is on the host's clock, from the call until the stream is empty, as a waiting program sees it; `event_us` is
// between device events around the copy alone. Both directions: until both are done; the bandwidth counts both.
#include "common.cuh"

struct Side {
    uint4 *host_out, *host_in;      // what goes to the device, what comes from it
    uint4 *device_out, *device_in;  // where it arrives, where it comes from
};

// Both directions of a size, word by word.
static void check(const Side &side, size_t bytes, uint64_t seed) {
    size_t count = bytes / 16;
    CHECK(cudaMemset(side.device_out, 0x5a, bytes));
    memset(side.host_in, 0x5a, bytes);
    CHECK(cudaMemcpy(side.device_out, side.host_out, bytes, cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(side.host_in, side.device_out, bytes, cudaMemcpyDeviceToHost));
    for (size_t i = 0; i < count; i++)
        if (!is_same(side.host_in[i], random_quad(seed, i))) fail("a copy there and back changed the data");
}

static void measure(const char *memory, const char *direction, const Side &side, size_t bytes, const Options &options) {
    bool is_out = strcmp(direction, "from_device") != 0, is_in = strcmp(direction, "to_device") != 0;
    cudaStream_t out, in;
    CHECK(cudaStreamCreateWithFlags(&out, cudaStreamNonBlocking));
    CHECK(cudaStreamCreateWithFlags(&in, cudaStreamNonBlocking));
    cudaEvent_t begin, end;
    CHECK(cudaEventCreate(&begin));
    CHECK(cudaEventCreate(&end));
    int warmups = 3, repeats = options.is_stand_in ? 3 : bytes >= (64u << 20) ? (options.is_quick ? 3 : 9) : options.is_quick ? 15 : 61;
    std::vector<double> host_times_us, event_times_us;
    for (int turn = 0; turn < warmups + repeats; turn++) {
        double started_us = host_us();
        CHECK(cudaEventRecord(begin, is_out ? out : in));
        if (is_out) CHECK(cudaMemcpyAsync(side.device_out, side.host_out, bytes, cudaMemcpyHostToDevice, out));
        if (is_in) CHECK(cudaMemcpyAsync(side.host_in, side.device_in, bytes, cudaMemcpyDeviceToHost, in));
        CHECK(cudaEventRecord(end, is_out ? out : in));
        if (is_out) CHECK(cudaStreamSynchronize(out));
        if (is_in) CHECK(cudaStreamSynchronize(in));
        double elapsed_us = host_us() - started_us;
        float ms = 0;
        CHECK(cudaEventElapsedTime(&ms, begin, end));
        if (turn < warmups) continue;
        host_times_us.push_back(elapsed_us);
        event_times_us.push_back(1e3 * ms);
    }
    Spread us = spread(host_times_us);
    double moved = (is_out && is_in ? 2.0 : 1.0) * bytes;
    printf("%s,%s,%zu,%.4f,%.4f,%.4f,%.4f,%d,%.4f\n", memory, direction, bytes, us.median, us.low, us.high,
           spread(event_times_us).median, repeats, moved / us.median / 1e3);
    fflush(stdout);
    CHECK(cudaStreamDestroy(out));
    CHECK(cudaStreamDestroy(in));
    CHECK(cudaEventDestroy(begin));
    CHECK(cudaEventDestroy(end));
}

int main(int count, char **words) {
    Options options = read_options(count, words);
    use_device();
    size_t largest = affordable_bytes(options.is_stand_in ? 2u << 20 : options.is_quick ? 64u << 20 : 1u << 30, 0.2);
    Side side;
    side.device_out = new_random(largest, options.seed + 1);
    side.device_in = new_random(largest, options.seed + 2);
    puts("memory,direction,bytes,time_us,time_low_us,time_high_us,event_us,repeats,bandwidth_GBps");
    for (bool is_pinned : {true, false}) {
        size_t most = is_pinned ? largest : std::min(largest, (size_t)256 << 20);
        if (is_pinned) {
            CHECK(cudaMallocHost(&side.host_out, most));
            CHECK(cudaMallocHost(&side.host_in, most));
        } else {
            side.host_out = (uint4 *)aligned_alloc(4096, most);
            side.host_in = (uint4 *)aligned_alloc(4096, most);
            if (!side.host_out || !side.host_in) fail("too little host memory for pageable copies");
        }
        for (size_t i = 0; i < most / 16; i++) side.host_out[i] = random_quad(options.seed, i);
        check(side, std::min(most, (size_t)16 << 20), options.seed);
        const char *memory = is_pinned ? "pinned" : "pageable";
        for (const char *direction : {"to_device", "from_device", "both"})
            for (size_t bytes = 16; bytes <= most; bytes *= options.is_quick ? 8 : 2) measure(memory, direction, side, bytes, options);
        if (is_pinned) {
            CHECK(cudaFreeHost(side.host_out));
            CHECK(cudaFreeHost(side.host_in));
        } else free(side.host_out), free(side.host_in);
    }
    CHECK(cudaFree(side.device_out));
    CHECK(cudaFree(side.device_in));
    return 0;
}
