/* test_shard.c - shards: what goes in comes out, and every damaged byte is found and placed. */
#include "data/shard.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/rng.h"
#include "test.h"

static const char *in(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", test_folder(), name);
    return path;
}

/* n documents of 1 .. 2 * mean tokens with ids below the vocabulary. */
static status make(const char *path, int vocab_size, int n, int mean, shard_entry *entry) {
    shard_facts facts = {vocab_size, 0, vocab_size > 1 ? 1 : -1, 0x1234};
    shard_writer *w;
    TRY(shard_begin(&w, path, &facts));
    rng r = rng_at(7, RNG_TEST, (uint64_t)n);
    int32_t *ids = mem_alloc((size_t)mean * 2 * sizeof *ids);
    status s = ids != NULL ? STATUS_OK : STATUS_MEMORY;
    uint64_t at = 0;
    for (int d = 0; d < n && s == STATUS_OK; d++) {
        int64_t length = 1 + (int64_t)rng_below(r, at++, (uint64_t)mean * 2);
        for (int64_t i = 0; i < length; i++)
            ids[i] = (int32_t)rng_below(r, at++, (uint64_t)vocab_size);
        s = shard_add(w, ids, length, length * 3, (uint64_t)d + 100);
    }
    mem_free(ids);
    if (s != STATUS_OK) {
        shard_abandon(w);
        return s;
    }
    return shard_commit(w, entry);
}

static void round_trip(int vocab_size, int n, int mean) {
    const char *path = in("x.shard");
    shard_entry entry;
    REQUIRE_OK(make(path, vocab_size, n, mean, &entry));
    shard *s;
    REQUIRE_OK(shard_open(&s, path));
    CHECK(shard_tokens(s) == entry.n_tokens && shard_documents(s) == n, "counts");
    CHECK(shard_text_bytes(s) == entry.text_bytes && shard_hash(s) == entry.hash, "entry");
    int64_t size = 0;
    REQUIRE_OK(path_size(path, &size));
    CHECK(size == entry.file_bytes, "%" PRId64, size);
    const shard_facts *facts = shard_get_facts(s);
    CHECK(facts->vocab_size == vocab_size && facts->tokenizer == 0x1234 && facts->bos_id == 0,
          "facts");
    rng r = rng_at(7, RNG_TEST, (uint64_t)n);
    int32_t *ids = mem_alloc((size_t)mean * 2 * sizeof *ids);
    REQUIRE(ids != NULL, "memory");
    uint64_t at = 0;
    int64_t place = 0;
    for (int d = 0; d < n; d++) {
        int64_t length = 1 + (int64_t)rng_below(r, at++, (uint64_t)mean * 2);
        shard_document doc = shard_document_at(s, d);
        CHECK(doc.start == place && doc.id == (uint64_t)d + 100 && doc.text_bytes == length * 3,
              "%d", d);
        CHECK(shard_document_end(s, d) == place + length, "end of %d", d);
        CHECK(shard_find_document(s, place) == d, "first token of %d", d);
        CHECK(shard_find_document(s, place + length - 1) == d, "last token of %d", d);
        REQUIRE_OK(shard_read(s, place, length, ids));
        for (int64_t i = 0; i < length; i++) {
            int32_t want = (int32_t)rng_below(r, at++, (uint64_t)vocab_size);
            if (ids[i] != want) CHECK(ids[i] == want, "document %d token %" PRId64, d, i);
        }
        place += length;
    }
    CHECK(place == shard_tokens(s), "all read");
    for (int64_t b = 0; b < shard_blocks(s); b++)
        REQUIRE_OK(shard_check_block(s, b));
    mem_free(ids);
    shard_close(s);
}

TEST(shard_round_trip_narrow) {
    round_trip(65536, 300, 700);
}
TEST(shard_round_trip_wide) {
    round_trip(65537, 200, 700);
}
TEST(shard_round_trip_one_token) {
    round_trip(1, 1, 1);
}
TEST(shard_of_no_documents) {
    round_trip(300, 0, 1);
    int64_t size;
    const char *path = in("y.shard");
    shard_entry entry;
    REQUIRE_OK(make(path, 300, 0, 1, &entry));
    REQUIRE_OK(path_size(path, &size));
    CHECK(size == 128, "%" PRId64, size);
}

TEST(shard_refuses_tokens_outside_the_vocabulary) {
    shard_facts facts = {10, 0, 1, 0}, wrong = {10, 10, 1, 0};
    const char *path = in("x.shard");
    shard_writer *w;
    CHECK(shard_begin(&w, path, &wrong) == STATUS_FORMAT && w == NULL, "BOS outside");
    REQUIRE_OK(shard_begin(&w, path, &facts));
    int32_t high = 10, negative = -1;
    CHECK(shard_add(w, &high, 1, 1, 0) == STATUS_FORMAT && error_last()->id == F_TOKEN_RANGE,
          "high");
    CHECK(shard_add(w, &negative, 1, 1, 0) == STATUS_FORMAT, "negative");
    CHECK(shard_add(w, &high, 0, 1, 0) == STATUS_INTERNAL, "empty");
    shard_abandon(w);
    CHECK(!path_exists(path), "nothing was written");
}

/* Puts a right checksum on a changed header: the lies behind it must be found by themselves. */
static void sign(uint8_t *bytes) {
    uint64_t hash = hash64(bytes, 120, 0);
    memcpy(bytes + 120, &hash, 8);
}

static status open_copy(const uint8_t *bytes, size_t n, shard **out) {
    static _Alignas(16) uint8_t copy[1 << 20];
    if (n > sizeof copy) return STATUS_LIMIT;
    memcpy(copy, bytes, n);
    return shard_open_bytes(out, copy, n, "copy.shard");
}

/* Every field of the header, with a checksum that fits. */
TEST(shard_refuses_lying_headers) {
    static const struct {
        const char *label;
        int at, size;
        uint64_t value;
    } lies[] = {
        {"magic", 0, 1, 'G'},
        {"version", 8, 4, 2},
        {"width", 12, 4, 4},
        {"width 0", 12, 4, 0},
        {"vocabulary 0", 16, 4, 0},
        {"vocabulary beyond 31 bits", 16, 4, 0x80000000u},
        {"vocabulary needs wide tokens", 16, 4, 70000},
        {"BOS outside", 20, 4, 500},
        {"BOS below -1", 20, 4, 0xFFFFFFFEu},
        {"EOS outside", 24, 4, 500},
        {"block size", 28, 4, 65535},
        {"one token more", 40, 8, 0}, /* value filled in below */
        {"tokens beyond the file", 40, 8, UINT64_MAX},
        {"tokens overflow", 40, 8, (uint64_t)1 << 62},
        {"documents beyond tokens", 48, 8, (uint64_t)1 << 40},
        {"no documents", 48, 8, 0},
        {"text bytes", 56, 8, 1},
        {"text bytes negative", 56, 8, UINT64_MAX},
        {"file length", 64, 8, 5},
        {"document table hash", 72, 8, 5},
        {"block table hash", 80, 8, 5},
        {"reserved", 88, 8, 1},
        {"reserved", 112, 8, 1},
    };
    shard_entry entry;
    const char *path = in("x.shard");
    REQUIRE_OK(make(path, 500, 20, 50, &entry));
    char *bytes;
    size_t n;
    REQUIRE_OK(file_read(path, 0, &bytes, &n));
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        uint8_t *lie = mem_alloc(n);
        REQUIRE(lie != NULL, "memory");
        memcpy(lie, bytes, n);
        uint64_t value = i == 11 ? (uint64_t)entry.n_tokens + 1 : lies[i].value;
        memcpy(lie + lies[i].at, &value, (size_t)lies[i].size);
        sign(lie);
        shard *s;
        int64_t before = mem_live_blocks();
        CHECK(open_copy(lie, n, &s) == STATUS_FORMAT && s == NULL, "%s", lies[i].label);
        CHECK(error_last()->id == F_SHARD, "%s: %s", lies[i].label, error_last()->what);
        CHECK(strstr(error_last()->what, "copy.shard") != NULL, "%s names the file", lies[i].label);
        CHECK(strstr(error_last()->where, "byte") != NULL, "%s: %s", lies[i].label,
              error_last()->where);
        CHECK(error_last()->why[0] != '\0' && error_last()->fix[0] != '\0', "%s: parts",
              lies[i].label);
        CHECK(mem_live_blocks() == before, "%s leaks", lies[i].label);
        memcpy(lie, bytes, n); /* the same without a new checksum */
        memcpy(lie + lies[i].at, &value, (size_t)lies[i].size);
        CHECK(open_copy(lie, n, &s) == STATUS_FORMAT, "%s, not signed", lies[i].label);
        mem_free(lie);
    }
    mem_free(bytes);
}

/* Each byte of a small shard changed in turn: header and tables refuse at once, tokens when read,
 * with the block's number. Nothing passes. */
TEST(shard_finds_every_damaged_byte) {
    shard_entry entry;
    const char *path = in("x.shard");
    REQUIRE_OK(make(path, 500, 8, 30, &entry));
    char *bytes;
    size_t n;
    REQUIRE_OK(file_read(path, 0, &bytes, &n));
    int at_open = 0, at_read = 0;
    int32_t ids[1024];
    REQUIRE(entry.n_tokens <= 1024, "small");
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (char)(bytes[i] ^ 0x10);
        shard *s;
        if (open_copy((uint8_t *)bytes, n, &s) != STATUS_OK) {
            at_open++;
        } else {
            status r = shard_read(s, 0, entry.n_tokens, ids);
            CHECK(r == STATUS_FORMAT && error_last()->id == F_SHARD, "byte %zu passed", i);
            CHECK(strstr(error_last()->where, "block 0 of 1") != NULL, "%s", error_last()->where);
            CHECK(strstr(error_last()->where, "8 documents affected") != NULL, "%s",
                  error_last()->where);
            CHECK(shard_read(s, 0, 1, ids) == STATUS_FORMAT, "and again");
            at_read++;
            shard_close(s);
        }
        bytes[i] = (char)(bytes[i] ^ 0x10);
    }
    CHECK(at_read == entry.n_tokens * 2, "%d of %" PRId64, at_read, entry.n_tokens * 2);
    CHECK(at_open + at_read == (int)n, "every byte");
    for (size_t cut = 0; cut < n; cut++) {
        shard *s;
        CHECK(open_copy((uint8_t *)bytes, cut, &s) == STATUS_FORMAT, "cut at %zu", cut);
    }
    mem_free(bytes);
}

TEST(shard_finds_each_damaged_block) {
    shard_entry entry;
    const char *path = in("x.shard");
    REQUIRE_OK(make(path, 70000, 40, 9000, &entry));
    char *bytes;
    size_t n;
    REQUIRE_OK(file_read(path, 0, &bytes, &n));
    size_t tokens = n - (size_t)entry.n_tokens * 4;
    int64_t blocks = (entry.n_tokens + SHARD_BLOCK_TOKENS - 1) / SHARD_BLOCK_TOKENS;
    REQUIRE(blocks >= 4, "%" PRId64, blocks);
    for (int64_t b = 0; b < blocks; b++) {
        size_t at = tokens + (size_t)b * SHARD_BLOCK_TOKENS * 4 + 40;
        bytes[at] = (char)(bytes[at] ^ 1);
        REQUIRE_OK(file_write(path, bytes, n));
        shard *s;
        REQUIRE_OK(shard_open(&s, path));
        int32_t id;
        for (int64_t other = 0; other < blocks; other++) {
            status r = shard_read(s, other * SHARD_BLOCK_TOKENS, 1, &id);
            CHECK((r == STATUS_FORMAT) == (other == b),
                  "block %" PRId64 " damaged, %" PRId64 " read", b, other);
        }
        CHECK(shard_check_block(s, b) == STATUS_FORMAT, "check");
        CHECK(strstr(error_last()->what, text("block %" PRId64, b)) != NULL, "%s",
              error_last()->what);
        shard_close(s);
        bytes[at] = (char)(bytes[at] ^ 1);
    }
    mem_free(bytes);
}

/* A whole checksum over an impossible id. */
TEST(shard_refuses_signed_impossible_tokens) {
    shard_entry entry;
    const char *path = in("x.shard");
    REQUIRE_OK(make(path, 500, 1, 30, &entry));
    char *bytes;
    size_t n;
    REQUIRE_OK(file_read(path, 0, &bytes, &n));
    size_t hashes = 128 + 24, tokens = n - (size_t)entry.n_tokens * 2;
    bytes[tokens + 1] = (char)0xFF;
    uint64_t hash = hash64(bytes + tokens, (size_t)entry.n_tokens * 2, 0);
    memcpy(bytes + hashes, &hash, 8);
    hash = hash64(bytes + hashes, 8, 0);
    memcpy(bytes + 80, &hash, 8);
    sign((uint8_t *)bytes);
    shard *s;
    REQUIRE_OK(open_copy((uint8_t *)bytes, n, &s));
    int32_t id;
    CHECK(shard_read(s, 0, 1, &id) == STATUS_FORMAT && error_last()->id == F_SHARD, "refused");
    CHECK(strstr(error_last()->why, "vocabulary has 500") != NULL, "%s", error_last()->why);
    shard_close(s);
    mem_free(bytes);
}

static status make_and_read(const char *path) {
    shard_entry entry;
    TRY(make(path, 500, 3, 2000, &entry));
    shard *s;
    TRY(shard_open(&s, path));
    int32_t id;
    status r = shard_read(s, entry.n_tokens - 1, 1, &id);
    shard_close(s);
    return r;
}

TEST(shard_survives_every_allocation_failure) {
    const char *path = in("x.shard");
    REQUIRE_OK(make_and_read(path));
    int64_t before = mem_live_blocks(), n = 1;
    for (;; n++) {
        mem_fail_at(n);
        status s = make_and_read(path);
        bool failed = mem_failed();
        mem_fail_at(0);
        CHECK(mem_live_blocks() == before, "allocation %" PRId64 " leaks", n);
        CHECK(s == (failed ? STATUS_MEMORY : STATUS_OK), "allocation %" PRId64 ": %d", n, (int)s);
        if (!failed || n > 1000) break;
    }
    CHECK(n > 5 && n < 1000, "%" PRId64, n);
}
