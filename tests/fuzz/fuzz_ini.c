/* fuzz_ini.c - any text as a file of settings: what is accepted must survive being written and read
 * again; what is refused must name a place. */
#include "fuzz.h"

#include "base/options.h"

#include <stdlib.h>
#include <string.h>

typedef struct settings {
    bool fast;
    int heads, shape;
    int64_t steps, memory;
    double rate, pause;
    option_every save;
    const char *name;
} settings;

static const char *const shapes[] = {"round", "square", NULL};
#define AT(field) offsetof(settings, field)
static const option rows[] = {
    {"", "fast", OPTION_BOOL, AT(fast), "false", "h"},
    {"train", "heads", OPTION_INT, AT(heads), "4", "h", 1, 64},
    {"train", "shape", OPTION_CHOICE, AT(shape), "round", "h", .choices = shapes},
    {"train", "max-steps", OPTION_COUNT, AT(steps), "1k", "h"},
    {"train", "memory", OPTION_SIZE, AT(memory), "64M", "h"},
    {"train", "rate", OPTION_REAL, AT(rate), "3e-4", "h"},
    {"run", "pause", OPTION_DURATION, AT(pause), "10s", "h"},
    {"run", "save-every", OPTION_EVERY, AT(save), "2min", "h"},
    {"run", "name", OPTION_STRING, AT(name), "first", "h"},
};
static const option_table table = {rows, sizeof rows / sizeof rows[0], sizeof(settings), NULL};
static const option_table *const tables[] = {&table};

const char *const fuzz_seeds[] = {
    "fast = true\n[train]\nheads = 8\nshape = square ; note\nmax-steps = 1.6M\nmemory = 1.5G\n",
    "[run]\n\tname = \"a \\\"b\\\" \\x3b \\n\"\nsave-every = 100\npause : 1h30min\r\n# end",
    "[train]\nheds = 1\nshape = sqare\n[trian]\nrate = 1e-3\n[run\nno equals\n",
    "[train]\nrate = 0.1\nrate = 0.2\n",
    NULL,
};

static char *write_ini(settings *s) {
    char *ini;
    if (options_write(tables, (void *[]){s}, 1, false, &ini) != STATUS_OK) abort();
    return ini;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *ini = mem_strndup((const char *)data, size);
    arena strings;
    settings s, again;
    if (ini == NULL || arena_init(&strings, "fuzz", 4 << 20) != STATUS_OK) abort();
    if (options_defaults(&table, &s) != STATUS_OK) abort();
    again = s;
    if (options_read(tables, (void *[]){&s}, 1, "f.ini", ini, &strings) == STATUS_OK) {
        char *first = write_ini(&s);
        if (options_read(tables, (void *[]){&again}, 1, "f.ini", first, &strings) != STATUS_OK)
            abort();
        char *second = write_ini(&again);
        if (strcmp(first, second) != 0) abort();
        mem_free(first);
        mem_free(second);
    } else if (error_last()->id != F_CONFIG || strstr(error_last()->where, "f.ini") == NULL) {
        abort();
    }
    arena_clear(&strings);
    mem_free(ini);
    return 0;
}
