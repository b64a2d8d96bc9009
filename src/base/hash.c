/* hash.c - XXH3 through libxxhash, SHA-256 through libcrypto. */
#include "base/hash.h"

#include "base/file.h"

#include <openssl/evp.h>
#include <xxhash.h>

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

status sha256_file(const char *path, sha256_hex *out) {
    mapped_file m;
    TRY(mapped_open(&m, path));
    status result = sha256_bytes(m.data, m.size, out);
    mapped_close(&m);
    return result;
}
