/* tokenizer_open.c - finding and reading the files of a tokenizer.
 *
 * How. A path is a tokenizer.json (gzipped ones are recognised by their first two bytes), or a
 * folder that holds one, or GPT-2's pair of files. Then a tokenizer_config.json in the same folder,
 * if there is one, has the last word on BOS and EOS: null there means "none", and a name that is no
 * added token is an error. With add_bos_token false texts begin without BOS: there is none.
 */
#include "base/file.h"
#include "base/json.h"
#include "tokens/tokens_internal.h"

#include <zlib.h>

#define FILE_MOST ((size_t)512 << 20)

/* Inflates a gzip file in memory; the result is NUL-terminated like that of file_read. */
static status gunzip(const char *packed, size_t n, const char *where, char **out, size_t *out_n) {
    size_t room = 4 * n + 4096, used = 0;
    char *bytes = mem_alloc(room);
    z_stream z = {0};
    if (bytes == NULL) return STATUS_MEMORY;
    if (inflateInit2(&z, 15 + 16) != Z_OK) {
        mem_free(bytes);
        return FAIL(F_NO_MEMORY, "zlib could not start", where, "memory ran out",
                    "close other programs");
    }
    z.next_in = (z_const Bytef *)(uintptr_t)packed;
    z.avail_in = (uInt)n;
    int code = Z_OK;
    while (code == Z_OK && used < FILE_MOST) {
        if (used + 1 >= room) {
            char *more = mem_resize(bytes, room, 2);
            if (more == NULL) break;
            bytes = more;
            room *= 2;
        }
        z.next_out = (Bytef *)bytes + used;
        z.avail_out = (uInt)(room - used - 1 < FILE_MOST ? room - used - 1 : FILE_MOST);
        code = inflate(&z, Z_NO_FLUSH);
        used = (size_t)((char *)z.next_out - bytes);
    }
    inflateEnd(&z);
    if (code == Z_STREAM_END) {
        bytes[used] = 0;
        *out = bytes;
        *out_n = used;
        return STATUS_OK;
    }
    mem_free(bytes);
    if (code == Z_OK && used < FILE_MOST) return STATUS_MEMORY;
    if (code == Z_OK)
        return FAIL(F_OVERFLOW, text("%s unpacks to more than 512 MiB", where), where,
                    "no tokenizer is that large", "check that it is the file you meant");
    return tokenizer_damaged(text("%s does not unpack", where), where,
                             code == Z_BUF_ERROR ? "the gzip data ends early"
                                                 : "the gzip data is damaged");
}

static status read_json_file(tokenizer **out, const char *path) {
    char *bytes, *plain = NULL;
    size_t n;
    TRY(file_read(path, FILE_MOST, &bytes, &n));
    status s = STATUS_OK;
    if (n >= 2 && (uint8_t)bytes[0] == 0x1F && (uint8_t)bytes[1] == 0x8B)
        s = gunzip(bytes, n, path, &plain, &n);
    if (s == STATUS_OK) s = tokenizer_parse(out, plain != NULL ? plain : bytes, n, path);
    mem_free(plain);
    mem_free(bytes);
    return s;
}

const char *token_config_word(const json_t *config, const char *key) {
    const json_t *v = json_object_get(config, key);
    return json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
}

/* "bos_token" of a tokenizer_config.json: absent, null, a name or an object with "content". */
static status read_named(const tokenizer *t, const json_t *config, const char *key,
                         const char *where, int32_t *id) {
    const json_t *value = json_object_get(config, key);
    if (value == NULL) return STATUS_OK;
    *id = -1;
    if (json_is_null(value)) return STATUS_OK;
    const char *name = token_config_word(config, key);
    if (name == NULL)
        return tokenizer_damaged(text("%s names no token", key), where,
                                 "it must be null, a name, or an object with \"content\"");
    *id = tokenizer_find_added(t, name);
    if (*id >= 0) return STATUS_OK;
    return tokenizer_damaged(text("%s is \"%.80s\"", key, name), where,
                             "the tokenizer has no such added token");
}

static status read_config(tokenizer *t, const char *folder) {
    char path[PATH_SIZE];
    TRY(path_join(path, folder, "tokenizer_config.json"));
    if (!path_exists(path)) return STATUS_OK;
    json_t *config;
    TRY(json_read(path, &config));
    status s = read_named(t, config, "bos_token", path, &t->bos);
    if (s == STATUS_OK) s = read_named(t, config, "eos_token", path, &t->eos);
    if (json_is_false(json_object_get(config, "add_bos_token"))) t->bos = -1;
    json_decref(config);
    return s;
}

/* The tokenizer file in a folder; *found is false if there is none. */
static status find_in_folder(const char *folder, char file[PATH_SIZE], bool *found) {
    /* the last one: of a run, which keeps its best model in model/ */
    static const char *const names[] = {"tokenizer.json", "tokenizer.json.gz",
                                        "model/tokenizer.json"};
    for (int i = 0; i < 3; i++) {
        TRY(path_join(file, folder, names[i]));
        *found = path_exists(file);
        if (*found) return STATUS_OK;
    }
    return STATUS_OK;
}

static status read_any(tokenizer **out, const char *path, char folder[PATH_SIZE]) {
    char file[PATH_SIZE];
    if (path_is_folder(path)) {
        bool found;
        TRY(path_join(folder, path, "."));
        TRY(find_in_folder(path, file, &found));
        return found ? read_json_file(out, file) : tokenizer_read_gpt2(out, path);
    }
    size_t n = (size_t)(path_name(path) - path);
    if (n >= PATH_SIZE - 1)
        return FAIL(F_BAD_VALUE, "the path of the tokenizer is too long", path,
                    text("paths have at most %d bytes", PATH_SIZE - 1), "use a shorter path");
    memcpy(folder, path, n);
    memcpy(folder + n, ".", 2);
    return read_json_file(out, path);
}

status tokenizer_open(tokenizer **out, const char *path) {
    char folder[PATH_SIZE];
    *out = NULL;
    TRY(read_any(out, path, folder));
    status s = read_config(*out, folder);
    if (s == STATUS_OK) return s;
    tokenizer_free(*out);
    *out = NULL;
    return s;
}
