/* hash.c - XXH3 through libxxhash, SHA-256 through libcrypto. */
#include "base/hash.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>
#include <xxhash.h>

#define FILE_PIECE ((size_t)1 << 20)

uint64_t hash64(const void *bytes, size_t n, uint64_t seed) {
    return XXH3_64bits_withSeed(bytes, n, seed);
}

hash128_value hash128(const void *bytes, size_t n) {
    XXH128_hash_t h = XXH3_128bits(bytes, n);
    return (hash128_value){.low = h.low64, .high = h.high64};
}

struct sha256_state {
    EVP_MD_CTX *context;
};

static status crypto_failed(const char *step) {
    return FAIL(F_INTERNAL, "SHA-256 failed", step, "libcrypto refused or is damaged",
                "reinstall the package libssl3");
}

status sha256_new(sha256_state **out) {
    *out = NULL;
    sha256_state *s = mem_zalloc(1, sizeof *s);
    if (s == NULL) return STATUS_MEMORY;
    s->context = EVP_MD_CTX_new();
    if (s->context == NULL || EVP_DigestInit_ex(s->context, EVP_sha256(), NULL) != 1) {
        sha256_free(s);
        return crypto_failed("start");
    }
    *out = s;
    return STATUS_OK;
}

status sha256_add(sha256_state *s, const void *bytes, size_t n) {
    return EVP_DigestUpdate(s->context, bytes, n) == 1 ? STATUS_OK : crypto_failed("update");
}

status sha256_end(sha256_state *s, sha256_hex *out) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    int ok = EVP_DigestFinal_ex(s->context, digest, &n);
    sha256_free(s);
    out->hex[0] = '\0';
    if (ok != 1 || n != 32) return crypto_failed("end");
    static const char digits[] = "0123456789abcdef";
    for (unsigned i = 0; i < n; i++) {
        out->hex[2 * i] = digits[digest[i] >> 4];
        out->hex[2 * i + 1] = digits[digest[i] & 15];
    }
    out->hex[64] = '\0';
    return STATUS_OK;
}

void sha256_free(sha256_state *s) {
    if (s == NULL) return;
    EVP_MD_CTX_free(s->context);
    mem_free(s);
}

status sha256_bytes(const void *bytes, size_t n, sha256_hex *out) {
    sha256_state *s;
    TRY(sha256_new(&s));
    status result = sha256_add(s, bytes, n);
    if (result != STATUS_OK) {
        sha256_free(s);
        return result;
    }
    return sha256_end(s, out);
}

/* In pieces, not through a mapping: pages of a mapped file would count as memory of the process. */
static status add_file(sha256_state *state, int file, const char *path) {
    unsigned char *piece = mem_alloc(FILE_PIECE);
    if (piece == NULL) return STATUS_MEMORY;
    status result = STATUS_OK;
    ssize_t n;
    while (result == STATUS_OK && (n = read(file, piece, FILE_PIECE)) != 0) {
        if (n > 0) result = sha256_add(state, piece, (size_t)n);
        if (n < 0 && errno != EINTR) result = error_errno(errno, text("read %s", path), path);
    }
    mem_free(piece);
    return result;
}

status sha256_file(const char *path, sha256_hex *out) {
    sha256_state *state;
    TRY(sha256_new(&state));
    int file = open(path, O_RDONLY | O_CLOEXEC);
    status result =
        file < 0 ? error_errno(errno, text("open %s", path), path) : add_file(state, file, path);
    if (file >= 0) close(file);
    if (result == STATUS_OK) return sha256_end(state, out);
    sha256_free(state);
    return result;
}
