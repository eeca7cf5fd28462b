/* Latency of the host's memory under load: a pointer chase on one core, traffic of a chosen read share on all others.

   The method is Mess (Esmaili-Dokht et al., MICRO 2024). A store to a line that is not cached first reads it and later
   writes it back, so it counts as one read and one write; loads only are 100 % reads, stores only 50 %. The chase's own
   lines are counted. A slice counts only if every thread had its core. */
#include <stdatomic.h>

#include "host.h"

#define BLOCK_LINES 16
#define MAX_SLICES 64
#define MAX_THREADS 256

typedef struct {
    pthread_t thread;
    int core;
    uint64_t seed;
    size_t array_bytes;
    _Atomic uint64_t loaded_lines, stored_lines;
    char padding[LINE_BYTES];
} Traffic;

static Traffic traffic[MAX_THREADS];
static _Atomic int is_over, num_ready;
static _Atomic long pause_nops;
static _Atomic int load_permille; /* share of blocks that are loads */

static void *make_traffic(void *argument) {
    Traffic *mine = argument;
    stay_on_core(mine->core);
    size_t num_words = mine->array_bytes / 8;
    uint64_t *loads = new_pages(mine->array_bytes, 1, mine->seed), *stores = new_pages(mine->array_bytes, 1, ~mine->seed);
    size_t load_at = 0, store_at = 0, block_words = BLOCK_LINES * LINE_BYTES / 8;
    uint64_t sum = 0;
    int credit = 0;
    atomic_fetch_add(&num_ready, 1);
    while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
        long nops = atomic_load_explicit(&pause_nops, memory_order_relaxed);
        credit += atomic_load_explicit(&load_permille, memory_order_relaxed);
        if (credit >= 1000) {
            credit -= 1000;
            for (size_t i = 0; i < block_words; i++) sum += loads[load_at + i];
            load_at = (load_at + block_words) % num_words;
            atomic_fetch_add_explicit(&mine->loaded_lines, BLOCK_LINES, memory_order_relaxed);
        } else {
            for (size_t i = 0; i < block_words; i++) stores[store_at + i] = sum + i;
            store_at = (store_at + block_words) % num_words;
            atomic_fetch_add_explicit(&mine->stored_lines, BLOCK_LINES, memory_order_relaxed);
        }
        for (long i = 0; i < nops; i++) __asm__ volatile("nop");
    }
    free(loads);
    free(stores);
    return (void *)(uintptr_t)sum;
}

typedef struct {
    double latency_ns, bytes_per_ns, read_percent;
} Slice;

static int64_t cpu_ns_of(int thread) {
    clockid_t clock;
    if (pthread_getcpuclockid(traffic[thread].thread, &clock)) fail("pthread_getcpuclockid");
    return clock_ns(clock);
}

/* One slice; 0 if a thread lost its core meanwhile. */
static int measure_slice(char **at, size_t steps, int num_threads, Slice *slice) {
    int64_t cpu_ns[MAX_THREADS];
    uint64_t loaded = 0, stored = 0;
    for (int t = 0; t < num_threads; t++) {
        loaded -= traffic[t].loaded_lines;
        stored -= traffic[t].stored_lines;
        cpu_ns[t] = cpu_ns_of(t);
    }
    int64_t wall_ns = clock_ns(CLOCK_MONOTONIC), own_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    *at = chase(*at, steps);
    wall_ns = clock_ns(CLOCK_MONOTONIC) - wall_ns;
    own_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - own_ns;
    int is_good = was_undisturbed(wall_ns, own_ns, 0.02);
    for (int t = 0; t < num_threads; t++) {
        loaded += traffic[t].loaded_lines;
        stored += traffic[t].stored_lines;
        is_good &= was_undisturbed(wall_ns, cpu_ns_of(t) - cpu_ns[t], 0.05);
    }
    double reads = (double)(loaded + stored + steps), writes = (double)stored;
    slice->latency_ns = (double)wall_ns / steps;
    slice->bytes_per_ns = (reads + writes) * LINE_BYTES / wall_ns;
    slice->read_percent = 100 * reads / (reads + writes);
    return is_good;
}

/* Prints the point; 0 if too few slices were left alone by other work. A walk on the stand-in keeps every slice. */
static int measure_point(char **at, int read_percent, long nops, int num_threads, Options options) {
    double latencies[MAX_SLICES], rates[MAX_SLICES], shares[MAX_SLICES];
    int wanted = options.is_stand_in ? 3 : options.is_quick ? 9 : 25, kept = 0, disturbed = 0;
    size_t steps = options.is_stand_in ? 500 : 3000; /* half a millisecond: shorter than a scheduler's turn */
    atomic_store(&load_permille, 2000 - 100000 / read_percent); /* read share r comes from a load share of 2 - 1/r */
    atomic_store(&pause_nops, nops);
    *at = chase(*at, steps);
    while (kept < wanted && disturbed < 20 * wanted) {
        Slice slice;
        if (measure_slice(at, steps, num_threads, &slice) || options.is_stand_in) {
            latencies[kept] = slice.latency_ns;
            rates[kept] = slice.bytes_per_ns;
            shares[kept++] = slice.read_percent;
        } else disturbed++;
    }
    if (kept < 3) return 0;
    Quartiles latency = quartiles(latencies, kept), rate = quartiles(rates, kept), share = quartiles(shares, kept);
    printf("%d,%ld,%.4f,%.4f,%.4f,%.3f,%.3f,%.3f,%.2f,%d,%d\n", read_percent, nops, rate.median, rate.low, rate.high,
           latency.median, latency.low, latency.high, share.median, kept, disturbed);
    fflush(stdout);
    return 1;
}

int main(int count, char **words) {
    Options options = read_options(count, words);
    size_t chase_bytes = options.is_stand_in ? 1ul << 20 : 256ul << 20;
    size_t array_bytes = options.is_stand_in ? 1ul << 20 : 128ul << 20;
    int num_threads = num_cores() > 1 ? num_cores() - 1 : 1;
    if (num_threads > MAX_THREADS) num_threads = MAX_THREADS;
    char *base = new_pages(chase_bytes, 1, options.seed), *at = base;
    link_cycle(base, chase_bytes / LINE_BYTES, options.seed);
    check_cycle(base, chase_bytes / LINE_BYTES);
    atomic_store(&load_permille, 1000);
    atomic_store(&pause_nops, 1000000);
    for (int t = 0; t < num_threads; t++) {
        traffic[t].core = t + 1;
        traffic[t].seed = options.seed + 7 * (t + 1);
        traffic[t].array_bytes = array_bytes;
        if (pthread_create(&traffic[t].thread, 0, make_traffic, &traffic[t])) fail("pthread_create");
    }
    stay_on_core(0);
    while (atomic_load(&num_ready) < num_threads) usleep(1000);
    puts("read_percent,pause_nops,bandwidth_GBps,bandwidth_low_GBps,bandwidth_high_GBps,latency_ns,latency_low_ns,"
         "latency_high_ns,achieved_read_percent,repeats,disturbed");
    static const long all_nops[] = {200000, 20000, 5000, 2000, 1200, 800, 500, 300, 200, 140, 90, 60, 40, 20, 10, 0};
    int num_nops = sizeof all_nops / sizeof *all_nops, step = options.is_stand_in ? 8 : options.is_quick ? 3 : 1;
    int points = 0;
    for (int read_percent = 100; read_percent >= 50; read_percent -= options.is_quick || options.is_stand_in ? 25 : 10)
        for (int n = 0; n < num_nops; n += step) points += measure_point(&at, read_percent, all_nops[n], num_threads, options);
    atomic_store(&is_over, 1);
    for (int t = 0; t < num_threads; t++) pthread_join(traffic[t].thread, 0);
    if (!points) {
        fputs("other work on this machine took a core from every slice; measure again when it is quieter\n", stderr);
        return 1;
    }
    return 0;
}
