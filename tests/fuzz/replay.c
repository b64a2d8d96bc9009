/* replay.c - drives a fuzz target inside the normal test run: the empty input, every seed, and
 * deterministic mutations of the seeds for at most three seconds.
 *
 * How. Mutations are counter-based (base/rng.h), so run n of a target is the same input on every
 * machine: flip bits, overwrite with boundary bytes, cut, repeat or insert a stretch, swap numbers
 * for extreme ones, splice two seeds. A crash prints the input's number and leaves its bytes in
 * "crash-<target>"; passing that file as an argument replays it alone. "--write-seeds FOLDER" only
 * writes the seeds.
 *
 * Mind. Inputs lie in blocks of exactly their size, so that the address sanitizer sees one byte too
 * many. The clock only ends the run early on a slow machine; it changes no input.
 */
#include "fuzz.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEEDS_MOST 256
#define INPUT_MOST ((size_t)64 << 10)
#define MUTATIONS  20000
#define SECONDS    3.0

typedef struct input {
    uint8_t *data;
    size_t size;
} input;

static input seeds[SEEDS_MOST];
static int n_seeds;
static const uint8_t *running;
static size_t running_size;
static char crash_path[PATH_SIZE];

static void on_crash(int number) {
    int fd = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd >= 0) {
        if (write(fd, running, running_size) < 0) _exit(3);
        close(fd);
    }
    static const char note[] = "\ncrashed; the input is in the file crash-<target>\n"
                               "0 passed, 1 failed, 0 skipped\n";
    if (write(STDOUT_FILENO, note, sizeof note - 1) < 0) _exit(3);
    signal(number, SIG_DFL);
    raise(number);
}

static void die(void) {
    error_print(stdout, error_last());
    printf("0 passed, 1 failed, 0 skipped\n");
    exit(1);
}

static void run_one(const uint8_t *data, size_t size) {
    uint8_t *exact = malloc(size > 0 ? size : 1);
    if (exact == NULL) exit(2);
    if (size > 0) memcpy(exact, data, size);
    running = exact;
    running_size = size;
    if (LLVMFuzzerTestOneInput(exact, size) != 0) abort();
    free(exact);
}

static void seed_add(const void *data, size_t size) {
    if (n_seeds == SEEDS_MOST || size > INPUT_MOST) return;
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL) exit(2);
    memcpy(copy, data, size);
    seeds[n_seeds++] = (input){copy, size};
}

static void seed_add_hex(const char *hex) {
    static uint8_t bytes[INPUT_MOST];
    size_t n = 0;
    int half = -1;
    for (; *hex != '\0' && n < sizeof bytes; hex++) {
        if (!isxdigit((unsigned char)*hex)) continue;
        int digit = isdigit((unsigned char)*hex) ? *hex - '0' : tolower(*hex) - 'a' + 10;
        if (half < 0) {
            half = digit;
        } else {
            bytes[n++] = (uint8_t)(half * 16 + digit);
            half = -1;
        }
    }
    seed_add(bytes, n);
}

static void seed_add_file(const char *relative) {
    const char *root = getenv("FATHOM_TEST_DATA");
    if (root == NULL || root[0] == '\0') return;
    const char *path = text("%s/%s", root, relative);
    if (!path_exists(path)) return;
    char *bytes;
    size_t n;
    if (file_read(path, 0, &bytes, &n) != STATUS_OK) die();
    seed_add(bytes, n < INPUT_MOST ? n : INPUT_MOST); /* the head of a large file */
    mem_free(bytes);
}

static void seeds_collect(void) {
    const char *const *texts = fuzz_seeds; /* weak: NULL when the target has none */
    for (int i = 0; texts != NULL && texts[i] != NULL; i++) {
        const char *seed = texts[i];
        if (seed[0] == '@')
            seed_add_file(seed + 1);
        else if (seed[0] == '#')
            seed_add_hex(seed + 1);
        else
            seed_add(seed, strlen(seed));
    }
    static uint8_t room[INPUT_MOST];
    for (int i = 0; fuzz_seed != NULL; i++) {
        size_t n = fuzz_seed(i, room, sizeof room);
        if (n == 0) break;
        seed_add(room, n);
    }
    seed_add("", 0);
}

/* One change at a place chosen by r; draws are numbered from `at`. */
static size_t mutate(uint8_t *data, size_t size, rng r, uint64_t at) {
    static const uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xff, '"', '\\', '{', '[', '<', '.', '\n'};
    uint64_t kind = rng_below(r, at, 8);
    size_t where = size > 0 ? rng_below(r, at + 1, size) : 0;
    size_t length = 1 + rng_below(r, at + 2, 1u << rng_below(r, at + 3, 8));
    if (size == 0 || kind == 0) { /* insert */
        if (size + length > INPUT_MOST) return size;
        memmove(data + where + length, data + where, size - where);
        for (size_t i = 0; i < length; i++)
            data[where + i] = (uint8_t)rng_u64(r, at + 4 + i);
        return size + length;
    }
    if (length > size - where) length = size - where;
    switch (kind) {
    case 1: return where; /* cut the tail */
    case 2:               /* remove a stretch */
        memmove(data + where, data + where + length, size - where - length);
        return size - length;
    case 3: /* repeat a stretch */
        if (size + length > INPUT_MOST) return size;
        memmove(data + where + length, data + where, size - where);
        return size + length;
    case 4: data[where] ^= (uint8_t)(1u << rng_below(r, at + 4, 8)); return size;
    case 5: data[where] = edges[rng_below(r, at + 4, sizeof edges)]; return size;
    case 6: /* an extreme number of up to 8 bytes, either end */
        for (size_t i = 0; i < length && i < 8; i++)
            data[where + i] = (uint8_t)(rng_below(r, at + 4, 2) ? 0xff : i == 0 ? 1 : 0);
        return size;
    default: { /* splice with another seed */
        const input *other = &seeds[rng_below(r, at + 4, (uint64_t)n_seeds)];
        size_t from = other->size > 0 ? rng_below(r, at + 5, other->size) : 0;
        size_t n = other->size - from;
        if (n > INPUT_MOST - where) n = INPUT_MOST - where;
        memcpy(data + where, other->data + from, n);
        return where + n > size ? where + n : size;
    }
    }
}

static void replay_file(const char *path) {
    char *bytes;
    size_t n;
    if (file_read(path, 0, &bytes, &n) != STATUS_OK) die();
    run_one((const uint8_t *)bytes, n);
    mem_free(bytes);
}

/* For libFuzzer, which wants its first corpus as files. */
static void write_seeds(const char *folder) {
    seeds_collect();
    for (int i = 0; i < n_seeds; i++)
        if (file_write(text("%s/seed-%03d", folder, i), seeds[i].data, seeds[i].size) != STATUS_OK)
            die();
}

int main(int argc, char **argv) {
    snprintf(crash_path, sizeof crash_path, "crash-%s", path_name(argv[0]));
    signal(SIGSEGV, on_crash);
    signal(SIGABRT, on_crash);
    signal(SIGFPE, on_crash);
    signal(SIGBUS, on_crash);
    if (argc == 3 && strcmp(argv[1], "--write-seeds") == 0) {
        write_seeds(argv[2]);
        return 0;
    }
    for (int i = 1; i < argc; i++)
        replay_file(argv[i]);
    if (argc > 1) return 0;
    seeds_collect();
    for (int i = 0; i < n_seeds; i++)
        run_one(seeds[i].data, seeds[i].size);
    static uint8_t data[INPUT_MOST];
    double end = clock_seconds() + SECONDS;
    int done = 0;
    for (; done < MUTATIONS && clock_seconds() < end; done++) {
        rng r = rng_at(0, RNG_TEST, (uint64_t)done);
        const input *seed = &seeds[rng_below(r, 0, (uint64_t)n_seeds)];
        memcpy(data, seed->data, seed->size);
        size_t size = seed->size;
        uint64_t changes = 1 + rng_below(r, 1, 4);
        for (uint64_t c = 0; c < changes; c++)
            size = mutate(data, size, r, 2 + c * 1024);
        run_one(data, size);
    }
    printf("ok   %s: %d seeds, %d mutations\n", path_name(argv[0]), n_seeds, done);
    for (int i = 0; i < n_seeds; i++)
        free(seeds[i].data);
    printf("1 passed, 0 failed, 0 skipped\n");
    return 0;
}
