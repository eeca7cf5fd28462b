/* Bandwidth of reads, writes and copies of host memory against size and threads.

   `bytes` is what each thread reads, writes or copies at once; `bandwidth_GBps` counts the bytes that the program names (a
   copy reads and writes: twice its size), not the lines that a store reads first. A round counts only if every thread had
   its core; where too few did, all rounds are used and `undisturbed` says so. */
#include "host.h"

#define MAX_ROUNDS 96
#define MAX_THREADS 256
#define LARGEST_BYTES (64ul << 20) /* longer copies are always interrupted */

enum { READ, WRITE, COPY, NUM_OPS };
static const char *op_names[] = {"read", "write", "copy"};

/* What one core reads and writes; made once, by a thread on that core, so that it lies near it. */
typedef struct {
    char *from, *to;
} Arena;

typedef struct {
    pthread_t thread;
    Arena *arena;
    int core, op, rounds, inner;
    size_t num_bytes, arena_bytes;
    uint64_t seed, sum;
    int64_t wall_ns[MAX_ROUNDS], cpu_ns[MAX_ROUNDS];
    int is_wrong;
} Worker;

static pthread_barrier_t together;

static uint64_t sum_words(const uint64_t *words, size_t count) {
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) sum += words[i];
    return sum;
}

static void once(Worker *mine, char *from, char *to, int round) {
    if (mine->op == READ) mine->sum += sum_words((uint64_t *)from, mine->num_bytes / 8);
    else if (mine->op == WRITE) memset(to, 1 + round % 200, mine->num_bytes);
    else memcpy(to, from, mine->num_bytes);
}

static void check(Worker *mine, char *from, char *to) {
    once(mine, from, to, 41);
    if (mine->op == READ) {
        uint64_t seed = mine->seed, expected = 0;
        for (size_t i = 0; i < mine->num_bytes / 8; i++) expected += next_random(&seed);
        mine->is_wrong = mine->sum != expected;
    } else if (mine->op == WRITE) {
        for (size_t i = 0; i < mine->num_bytes; i++) mine->is_wrong |= to[i] != 42;
    } else mine->is_wrong = memcmp(from, to, mine->num_bytes) != 0;
}

static void *work(void *argument) {
    Worker *mine = argument;
    stay_on_core(mine->core);
    if (!mine->arena->from) {
        mine->arena->from = new_pages(mine->arena_bytes, 1, mine->seed);
        mine->arena->to = new_pages(mine->arena_bytes, 1, ~mine->seed);
    }
    char *from = mine->arena->from, *to = mine->arena->to;
    check(mine, from, to);
    size_t slots = mine->arena_bytes / mine->num_bytes, slot = 0;
    for (int round = 0; round < mine->rounds; round++) {
        pthread_barrier_wait(&together);
        int64_t wall_ns = clock_ns(CLOCK_MONOTONIC), cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        for (int i = 0; i < mine->inner; i++) {
            size_t offset = slot++ % slots * mine->num_bytes;
            once(mine, from + offset, to + offset, round);
        }
        mine->wall_ns[round] = clock_ns(CLOCK_MONOTONIC) - wall_ns;
        mine->cpu_ns[round] = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
    }
    return 0;
}

static void measure(int op, size_t num_bytes, int num_threads, Options options) {
    static Worker workers[MAX_THREADS];
    static Arena arenas[MAX_THREADS];
    int rounds = options.is_stand_in ? 4 : options.is_quick ? 24 : MAX_ROUNDS;
    size_t arena_bytes = options.is_stand_in ? 16384 : LARGEST_BYTES;
    size_t moved = options.is_stand_in ? num_bytes : 8ul << 20; /* in one round: some 0.3 ms, less than a scheduler's turn */
    if (pthread_barrier_init(&together, 0, num_threads)) fail("pthread_barrier_init");
    memset(workers, 0, sizeof workers);
    for (int t = 0; t < num_threads; t++) {
        Worker *w = &workers[t];
        w->core = t, w->op = op, w->rounds = rounds, w->num_bytes = num_bytes, w->arena_bytes = arena_bytes, w->arena = &arenas[t];
        w->inner = moved > num_bytes ? moved / num_bytes : 1, w->seed = options.seed + 1000 * t;
        if (pthread_create(&w->thread, 0, work, w)) fail("pthread_create");
    }
    int is_wrong = 0;
    for (int t = 0; t < num_threads; t++) {
        pthread_join(workers[t].thread, 0);
        is_wrong |= workers[t].is_wrong;
    }
    pthread_barrier_destroy(&together);
    if (is_wrong) {
        fprintf(stderr, "%s of %zu bytes gave wrong data\n", op_names[op], num_bytes);
        exit(1);
    }
    double good_us[MAX_ROUNDS], all_us[MAX_ROUNDS];
    int num_good = 0;
    for (int round = 0; round < rounds; round++) {
        double slowest_ns = 0;
        int is_good = 1;
        for (int t = 0; t < num_threads; t++) {
            Worker *w = &workers[t];
            if (w->wall_ns[round] > slowest_ns) slowest_ns = w->wall_ns[round];
            is_good &= was_undisturbed(w->wall_ns[round], w->cpu_ns[round], 0.02);
        }
        all_us[round] = slowest_ns / 1e3 / workers[0].inner;
        if (is_good) good_us[num_good++] = all_us[round];
    }
    int is_enough = num_good >= 5;
    Quartiles q = is_enough ? quartiles(good_us, num_good) : quartiles(all_us, rounds);
    double factor = op == COPY ? 2 : 1;
    printf("%s,%zu,%d,%.4f,%.4f,%.4f,%.4f,%d,%d\n", op_names[op], num_bytes, num_threads, q.median, q.low, q.high,
           factor * num_bytes * num_threads / q.median / 1e3, is_enough ? num_good : rounds, num_good);
    fflush(stdout);
}

int main(int count, char **words) {
    Options options = read_options(count, words);
    size_t smallest = options.is_stand_in ? 4096 : 64ul << 10;
    size_t largest = options.is_stand_in ? 16384 : options.is_quick ? 16ul << 20 : LARGEST_BYTES;
    int cores = num_cores() > MAX_THREADS ? MAX_THREADS : num_cores();
    puts("op,bytes,threads,time_us,time_low_us,time_high_us,bandwidth_GBps,repeats,undisturbed");
    for (int threads = 1; threads <= cores; threads = threads < cores && 2 * threads > cores ? cores : 2 * threads)
        for (int op = 0; op < NUM_OPS; op++)
            for (size_t num_bytes = smallest; num_bytes <= largest; num_bytes *= options.is_quick ? 4 : 2)
                measure(op, num_bytes, threads, options);
    return 0;
}
