/* train_fixture.c - see train_fixture.h. */
#include "train_fixture.h"

#include "train/checkpoint.h"

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/progress.h"
#include "base/rng.h"
#include "kernels/kernels.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* In memory where that is possible: these tests make thousands of durable writes. */
const char *fixture_folder(void) {
    static char folder[1024];
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0);
    if (folder[0] == 0 || !path_exists(folder))
        snprintf(folder, sizeof folder, "%s", test_folder());
    return folder;
}

const char *fixture_path(const char *name) {
    static char ring[8][PATH_SIZE];
    static int at;
    char *out = ring[at++ % 8];
    snprintf(out, PATH_SIZE, "%s/%s", fixture_folder(), name);
    return out;
}

const char *fixture_text(size_t bytes) {
    static const char *const words[] = {"the ", "sea ",  "is ",   "deep ", "and ", "cold, ", "but ",
                                        "we ",  "sail ", "on.\n", "home ", "far ", "light "};
    static char path[1200];
    snprintf(path, sizeof path, "%s/text.txt", fixture_folder());
    if (path_exists(path)) return path;
    char *text = malloc(bytes + 16);
    size_t n = 0;
    rng r = rng_at(7, RNG_TEST, 0);
    for (uint64_t i = 0; text != NULL && n < bytes; i++) {
        const char *word = words[rng_below(r, i, sizeof words / sizeof *words)];
        memcpy(text + n, word, strlen(word));
        n += strlen(word);
    }
    bool ok = text != NULL && file_write(path, text, n) == STATUS_OK;
    free(text);
    return ok ? path : "text-missing";
}

status fixture_settings(train_settings *s, const char *name, fixture_model kind, int64_t steps) {
    TRY(kernels_init(NULL));
    TRY(train_settings_defaults(s));
    log_set_level(LOG_ERROR);
    progress_set_mode(PROGRESS_NONE);
    s->run = fixture_path(name);
    s->input = fixture_text(40000);
    s->size = kind == FIXTURE_DENSE ? "shakespeare-char" : "f-1m";
    s->n_layer = 2;
    s->d_model = 32;
    s->d_ff = 64;
    s->context = 32;
    if (kind == FIXTURE_DENSE) {
        s->n_head = s->n_kv_head = 2;
        s->head_dim = 16;
    } else {
        s->n_expert = 4;
        s->d_expert = 32;
        s->n_mtp = 1;
    }
    s->seq_len = 32;
    s->batch_tokens = 256;
    s->grad_lanes = 4;
    s->max_steps = steps;
    s->learning_rate = 3e-3;
    s->eval_every = 10;
    s->eval_tokens = 512;
    s->sample_every = 0;
    s->save_every = (option_every){.steps = 5};
    return STATUS_OK;
}

static void run_and_exit(const train_settings *s, int threads) {
    train_result r;
    int code = 99;
    if (pool_start(threads) == STATUS_OK) {
        code = train_run(s, &r) == STATUS_OK ? 0 : error_exit_code(error_last()->id);
        if (code != 0) error_print(stdout, error_last());
        fflush(stdout);
        pool_stop();
    }
    _exit(code);
}

int fixture_run_process(const train_settings *s, int threads, double kill_after) {
    pool_stop(); /* a fork has only the thread that calls it */
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) run_and_exit(s, threads);
    if (child < 0) return -1000;
    if (kill_after > 0) {
        struct timespec nap = {(time_t)kill_after,
                               (long)((kill_after - (double)(time_t)kill_after) * 1e9)};
        nanosleep(&nap, NULL);
        kill(child, SIGKILL);
    }
    int result = 0;
    if (waitpid(child, &result, 0) != child) return -1001;
    return WIFSIGNALED(result) ? -WTERMSIG(result) : WEXITSTATUS(result);
}

sha256_hex fixture_run_hash(const char *run) {
    sha256_hex weights = {""}, moments = {""}, both = {""};
    char path[PATH_SIZE], pair[129];
    int64_t *steps;
    int n;
    if (checkpoint_list(run, &steps, &n) != STATUS_OK) return both;
    int64_t last = n > 0 ? steps[n - 1] : -1;
    mem_free(steps);
    if (last < 0) return both;
    snprintf(path, sizeof path, "%s/checkpoints/step-%lld/model.safetensors", run, (long long)last);
    if (sha256_file(path, &weights) != STATUS_OK) return both;
    snprintf(path, sizeof path, "%s/checkpoints/step-%lld/optimizer.safetensors", run,
             (long long)last);
    if (sha256_file(path, &moments) != STATUS_OK) return both;
    snprintf(pair, sizeof pair, "%s%s", weights.hex, moments.hex);
    if (sha256_bytes(pair, 128, &both) != STATUS_OK) both.hex[0] = 0;
    return both;
}
