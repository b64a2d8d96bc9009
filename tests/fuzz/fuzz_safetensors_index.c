/* fuzz_safetensors_index.c - any bytes as model.safetensors.index.json beside two good files: refused with
 * a report, or exactly the tensors of these files. Names in it may not lead out of the folder. */
#include "fuzz.h"

#include "base/file.h"
#include "base/memory.h"
#include "tensor/safetensors.h"

#include <stdlib.h>
#include <string.h>

const char *const fuzz_seeds[] = {
    "{\"metadata\": {\"total_size\": 24}, \"weight_map\": {\"a\": \"1.safetensors\", \"b\": "
    "\"1.safetensors\", \"c\": \"2.safetensors\"}}",
    "{\"weight_map\": {\"a\": \"1.safetensors\", \"b\": \"1.safetensors\"}}",
    "{\"weight_map\": {\"c\": \"2.safetensors\"}}",
    "{\"weight_map\": {\"c\": \"../2.safetensors\"}}",
    NULL,
};

static char folder[] = "/tmp/fathom-fuzz-index-XXXXXX";

static void remove_folder(void) {
    if (folder_remove(folder) != STATUS_OK) error_clear();
}

static void write_part(const char *name, const char *const *names, int n) {
    static float data[2] = {1, 2};
    char path[PATH_SIZE];
    safetensors_item items[2];
    for (int i = 0; i < n; i++)
        items[i] = (safetensors_item){names[i], tensor_1d(data, DTYPE_F32, 2)};
    if (path_join(path, folder, name) != STATUS_OK ||
        safetensors_write(path, items, n, NULL, 0) != STATUS_OK)
        abort();
}

static void prepare(void) {
    static bool ready;
    if (ready) return;
    if (mkdtemp(folder) == NULL) abort();
    atexit(remove_folder);
    write_part("1.safetensors", (const char *const[]){"a", "b"}, 2);
    write_part("2.safetensors", (const char *const[]){"c"}, 1);
    ready = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[PATH_SIZE];
    safetensors *f;
    prepare();
    if (path_join(path, folder, "model.safetensors.index.json") != STATUS_OK) abort();
    FILE *out = fopen(path, "wb"); /* not file_write: nothing here has to survive a crash */
    if (out == NULL || fwrite(data, 1, size, out) != size || fclose(out) != 0) abort();
    int64_t before = mem_live_blocks();
    if (safetensors_open(&f, folder) == STATUS_OK) {
        if (safetensors_count(f) < 1 || safetensors_count(f) > 3) abort();
        for (int i = 0; i < safetensors_count(f); i++)
            if (safetensors_at(f, i)->bytes != 8) abort();
        safetensors_close(f);
    } else if (error_last()->what[0] == '\0') {
        abort();
    }
    if (mem_live_blocks() != before) abort();
    return 0;
}
