/* test_hash.c - hashes against published values. */
#include "test.h"

#include "base/file.h"
#include "base/hash.h"

TEST(sha256_known_answers) { /* FIPS 180-2, appendix B */
    sha256_hex h;
    REQUIRE_OK(sha256_bytes("abc", 3, &h));
    CHECK(strcmp(h.hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") == 0,
          "%s", h.hex);
    REQUIRE_OK(sha256_bytes("", 0, &h));
    CHECK(strcmp(h.hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855") == 0,
          "%s", h.hex);
}

TEST(sha256_in_pieces_and_of_files) {
    static char bytes[100000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 31);
    sha256_hex whole, pieces, file;
    REQUIRE_OK(sha256_bytes(bytes, sizeof bytes, &whole));
    sha256_state *s;
    REQUIRE_OK(sha256_new(&s));
    for (size_t i = 0; i < sizeof bytes; i += 1000)
        REQUIRE_OK(sha256_add(s, bytes + i, 1000));
    REQUIRE_OK(sha256_end(s, &pieces));
    char path[PATH_SIZE];
    REQUIRE_OK(path_join(path, test_folder(), "f"));
    REQUIRE_OK(file_write(path, bytes, sizeof bytes));
    REQUIRE_OK(sha256_file(path, &file));
    CHECK(strcmp(whole.hex, pieces.hex) == 0 && strcmp(whole.hex, file.hex) == 0, "differ");
    sha256_free(NULL);
    CHECK(sha256_file("/no/such/file", &file) == STATUS_IO, "hash of nothing");
}

TEST(xxh3_known_answers) { /* XXH3 of the empty input, from its specification's test vectors */
    CHECK(hash64("", 0, 0) == 0x2D06800538D394C2u, "%" PRIx64, hash64("", 0, 0));
    hash128_value h = hash128("", 0);
    CHECK(h.high == 0x99AA06D3014798D8u && h.low == 0x6001C324468D497Fu, "%" PRIx64, h.high);
    CHECK(hash64("a", 1, 0) != hash64("a", 1, 1), "the seed changes nothing");
}
