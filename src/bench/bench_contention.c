/* bench_contention.c - training beside programs that want the same CPUs.
 *
 * How. Children that only count are started and ended around each turn of steps: none, one, two, none,
 * one, two ... Whole turns are compared, not medians of steps, because what a shared machine does to
 * a step now and then belongs to the answer. With n CPUs and k busy processes a fair scheduler leaves
 * training of n threads 1 - k / (n + k) of the machine, if none of its threads waits for another.
 *
 * Mind: the children end with this process, however that ends: they ask the kernel to be killed with
 * their parent, and every way out of a turn kills and reaps them.
 */
#include "bench/bench_loop.h"

#include "base/clock.h"
#include "base/pool.h"
#include "bench/bench_folder.h"
#include "train/plan.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUSY_MOST 2
#define ROUNDS    5

typedef struct contention {
    double seconds;
    bench_folder *folder;
    arena *strings;
} contention;

static void be_busy(pid_t parent) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(0);
    for (volatile unsigned long long n = 0;; n++) {
    }
}

static void end_busy(const pid_t *child, int n) {
    for (int i = 0; i < n; i++) {
        kill(child[i], SIGKILL);
        while (waitpid(child[i], NULL, 0) < 0 && errno == EINTR) {
        }
    }
}

static status start_busy(pid_t *child, int n) {
    pid_t self = getpid();
    for (int i = 0; i < n; i++) {
        child[i] = fork();
        if (child[i] == 0) be_busy(self);
        if (child[i] > 0) continue;
        int failure = errno;
        end_busy(child, i);
        return error_errno(failure, "start a busy process", "bench contention");
    }
    return STATUS_OK;
}

/* Steps until `seconds` have gone, at least one. */
static status turn(train_probe *p, int busy, double seconds, double *steps, double *taken) {
    pid_t child[BUSY_MOST];
    TRY(start_busy(child, busy));
    status s = STATUS_OK;
    double began = clock_seconds(), one;
    do {
        s = train_probe_step(p, &one);
        ++*steps;
    } while (s == STATUS_OK && clock_seconds() - began < seconds && !interrupted());
    *taken += clock_seconds() - began;
    end_busy(child, busy);
    if (s == STATUS_OK && interrupted())
        s = interrupt_status("bench contention", "run the same command again");
    return s;
}

static status measure(train_probe *p, const char *name, double seconds, bench_table *t) {
    double steps[BUSY_MOST + 1] = {0}, taken[BUSY_MOST + 1] = {0}, alone = 0, one;
    TRY(train_probe_step(p, &one)); /* page faults */
    for (int round = 0; round < ROUNDS; round++)
        for (int busy = 0; busy <= BUSY_MOST; busy++)
            TRY(turn(p, busy, seconds / (ROUNDS * (BUSY_MOST + 1)), &steps[busy], &taken[busy]));
    for (int busy = 0; busy <= BUSY_MOST; busy++) {
        double rate = steps[busy] * (double)train_probe_tokens(p) / taken[busy];
        const char *beside = busy == 0   ? "alone"
                             : busy == 1 ? "one busy process"
                                         : "two busy processes";
        if (busy == 0) alone = rate;
        TRY(bench_table_put(t, text("contention/%s %s", beside, name), rate, "tokens/s",
                            busy > 0 ? alone : 0));
    }
    return STATUS_OK;
}

static status contention_one(const char *name, void *context, bench_table *t) {
    const contention *c = context;
    train_settings s;
    train_probe *p;
    TRY(bench_recipe(&s, name, c->folder, c->strings));
    s.minutes = 0;
    s.tokens = 0;
    s.max_steps = 1000000;
    TRY(train_probe_open(&p, &s));
    status result = measure(p, name, c->seconds, t);
    train_probe_close(p);
    return result;
}

status bench_contention(const char *names, double seconds, bench_table *t) {
    static bench_folder folder; /* too large for the stack of a command */
    arena strings;
    TRY(bench_folder_make(&folder));
    contention c = {.seconds = seconds, .folder = &folder, .strings = &strings};
    status s = arena_init(&strings, "settings", 1 << 20);
    if (s == STATUS_OK) s = bench_each(names, contention_one, &c, t);
    arena_clear(&strings);
    bench_folder_remove(&folder);
    return s;
}
