/* fuzz_manifest.c - any bytes as a MANIFEST: refused, or every entry is a sane file name. */
#include "fuzz.h"

#include "base/hash.h"
#include "train/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEX16 "0123456789abcdef"
static const char *const bodies[] = {
    "fathom-manifest 1\n",
    "fathom-manifest 1\n" HEX16 HEX16 HEX16 HEX16 " 4096 config.json\n",
    "fathom-manifest 1\n" HEX16 HEX16 HEX16 HEX16 " 0 a\n" HEX16 HEX16 HEX16 HEX16
    " 999999999999999999 model.safetensors\n",
};

size_t fuzz_seed(int i, uint8_t *out, size_t room) {
    if ((size_t)i >= sizeof bodies / sizeof *bodies) return 0;
    size_t n = strlen(bodies[i]);
    sha256_hex hash;
    if (sha256_bytes(bodies[i], n, &hash) != STATUS_OK) return 0;
    int all = snprintf((char *)out, room, "%send %s\n", bodies[i], hash.hex);
    return all > 0 && (size_t)all < room ? (size_t)all : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    manifest m;
    if (manifest_parse((const char *)data, size, "fuzz", &m) != STATUS_OK) return 0;
    if (m.n < 0 || m.n > MANIFEST_ENTRIES_MAX) abort();
    for (int i = 0; i < m.n; i++)
        if (m.entry[i].name[0] == 0 || m.entry[i].name[0] == '.' ||
            strchr(m.entry[i].name, '/') != NULL || m.entry[i].size < 0)
            abort();
    return 0;
}
