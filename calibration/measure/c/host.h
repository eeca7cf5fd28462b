/* What the host programs share: options, clocks, random numbers, pages, pointer chains and quartiles. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 64
#define HUGE_BYTES (2ul << 20)

typedef struct {
    int is_quick, is_stand_in;
    uint64_t seed;
} Options;

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static Options read_options(int count, char **words) {
    Options options = {0, 0, 1};
    for (int i = 1; i < count; i++) {
        if (!strcmp(words[i], "--quick")) options.is_quick = 1;
        else if (!strcmp(words[i], "--stand-in")) options.is_stand_in = 1;
        else if (!strcmp(words[i], "--seed") && i + 1 < count) options.seed = strtoull(words[++i], 0, 10);
        else if (!strcmp(words[i], "--oversubscribe") && i + 1 < count) i++; /* concerns GPUs only */
        else {
            fprintf(stderr, "unknown option %s\n", words[i]);
            exit(1);
        }
    }
    return options;
}

static int64_t clock_ns(clockid_t clock) {
    struct timespec now;
    if (clock_gettime(clock, &now)) fail("clock_gettime");
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

/* SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* Memory of our own, filled with random words so that every page is present. */
static void *new_pages(size_t num_bytes, int is_huge, uint64_t seed) {
    size_t rounded = (num_bytes + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
    void *pages = aligned_alloc(HUGE_BYTES, rounded);
    if (!pages) fail("aligned_alloc");
    madvise(pages, rounded, is_huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    uint64_t *words = pages;
    for (size_t i = 0; i < num_bytes / 8; i++) words[i] = next_random(&seed);
    return pages;
}

/* A single random cycle through all lines (Sattolo 1986): the first word of each line holds the address of the next. */
static void link_cycle(char *base, size_t num_lines, uint64_t seed) {
    uint32_t *order = malloc(num_lines * sizeof *order);
    if (!order) fail("malloc");
    for (size_t i = 0; i < num_lines; i++) order[i] = i;
    for (size_t i = num_lines - 1; i > 0; i--) {
        size_t j = next_random(&seed) % i;
        uint32_t swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
    for (size_t i = 0; i < num_lines; i++)
        *(char **)(base + (size_t)order[i] * LINE_BYTES) = base + (size_t)order[(i + 1) % num_lines] * LINE_BYTES;
    free(order);
}

/* A chain that does not visit every line once before it returns is wrong, and so would be every latency. */
static void check_cycle(char *base, size_t num_lines) {
    size_t steps = 0;
    char *at = base;
    do {
        at = *(char **)at;
        steps++;
    } while (at != base && steps <= num_lines);
    if (steps != num_lines) {
        fprintf(stderr, "the chain has a cycle of %zu instead of %zu lines\n", steps, num_lines);
        exit(1);
    }
}

static char *chase(char *at, size_t steps) {
    for (size_t i = 0; i < steps; i++) at = *(char *volatile *)at;
    return at;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct {
    double low, median, high;
} Quartiles;

static Quartiles quartiles(double *values, int count) {
    qsort(values, count, sizeof *values, by_value);
    Quartiles found = {values[count / 4], values[count / 2], values[count - 1 - count / 4]};
    return found;
}

static int num_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set)) fail("sched_getaffinity");
    return CPU_COUNT(&set);
}

/* Keeps the calling thread on the n-th core that we may use. */
static void stay_on_core(int n) {
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed)) fail("sched_getaffinity");
    CPU_ZERO(&one);
    for (int core = 0; core < CPU_SETSIZE; core++)
        if (CPU_ISSET(core, &allowed) && n-- == 0) {
            CPU_SET(core, &one);
            pthread_setaffinity_np(pthread_self(), sizeof one, &one);
            return;
        }
}

/* True if a thread had its core to itself: what others took is at most `share` of the time. */
static int was_undisturbed(int64_t wall_ns, int64_t cpu_ns, double share) { return cpu_ns >= (1 - share) * wall_ns; }
