/* fuzz_manifest.c - any bytes as a MANIFEST: refused, or every entry is a sane file name. */
#include "fuzz.h"

#include "base/hash.h"
#include "train/manifest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const bodies[] = {
    "fathom-manifest 1\n",
    "fathom-manifest 1\n0123456789abcdef0123456789abcdef 4096 config.json\n",
    "fathom-manifest 1\n00000000000000000000000000000000 0 a\n"
    "ffffffffffffffffffffffffffffffff 999999999999999999 model.safetensors\n",
};

size_t fuzz_seed(int i, uint8_t *out, size_t room) {
    if ((size_t)i >= sizeof bodies / sizeof *bodies) return 0;
    size_t n = strlen(bodies[i]);
    hash128_value h = hash128(bodies[i], n);
    int all = snprintf((char *)out, room, "%send %016" PRIx64 "%016" PRIx64 "\n", bodies[i], h.high, h.low);
    return all > 0 && (size_t)all < room ? (size_t)all : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    manifest m;
    if (manifest_parse((const char *)data, size, "fuzz", &m) != STATUS_OK) return 0;
    if (m.n < 0 || m.n > MANIFEST_ENTRIES_MAX) abort();
    for (int i = 0; i < m.n; i++)
        if (m.entry[i].name[0] == 0 || m.entry[i].name[0] == '.' || strchr(m.entry[i].name, '/') != NULL ||
            m.entry[i].size < 0)
            abort();
    return 0;
}
