/* Load-to-use latency of the host against footprint, by a random pointer chase, with huge and with small pages.

   A slice counts only if the thread had its core for at least 98 % of it: on a machine that others use too, the rest shows
   the scheduler and not the memory. */
#include "host.h"

#define MAX_SLICES 31

/* Slices are shorter than a scheduler's turn, or on a busy machine hardly one would be undisturbed. */
static size_t steps_of_half_a_ms(char *at) {
    int64_t cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    chase(at, 2000);
    cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
    size_t steps = 500000ull * 2000 / (cpu_ns > 0 ? cpu_ns : 1);
    return steps < 1000 ? 1000 : steps > 300000 ? 300000 : steps;
}

int main(int count, char **words) {
    Options options = read_options(count, words);
    size_t largest = options.is_stand_in ? 64ul << 10 : options.is_quick ? 64ul << 20 : 512ul << 20;
    int wanted = options.is_stand_in ? 3 : options.is_quick ? 7 : 21;
    stay_on_core(0);
    puts("pages,footprint_bytes,latency_ns,latency_low_ns,latency_high_ns,repeats,disturbed");
    for (int is_huge = 1; is_huge >= 0; is_huge--) {
        for (size_t footprint = 4096; footprint <= largest; footprint *= 2) {
            size_t num_lines = footprint / LINE_BYTES;
            char *base = new_pages(footprint, is_huge, options.seed + footprint);
            link_cycle(base, num_lines, options.seed ^ footprint);
            check_cycle(base, num_lines); /* and warms the caches that hold it */
            double latencies_ns[MAX_SLICES];
            int kept = 0, disturbed = 0;
            size_t steps = options.is_stand_in ? 1000 : steps_of_half_a_ms(base);
            char *at = base;
            while (kept < wanted && disturbed < 40 * wanted) {
                int64_t wall_ns = clock_ns(CLOCK_MONOTONIC), cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
                at = chase(at, steps);
                wall_ns = clock_ns(CLOCK_MONOTONIC) - wall_ns;
                cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
                if (was_undisturbed(wall_ns, cpu_ns, 0.02)) latencies_ns[kept++] = (double)wall_ns / steps;
                else disturbed++;
            }
            if (kept >= 3) {
                Quartiles q = quartiles(latencies_ns, kept);
                printf("%s,%zu,%.3f,%.3f,%.3f,%d,%d\n", is_huge ? "huge" : "small", footprint, q.median, q.low, q.high,
                       kept, disturbed);
                fflush(stdout);
            }
            free(base);
        }
    }
    return 0;
}
