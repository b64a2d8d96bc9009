/* test_archive.c - archives made in memory, read back, and every way they can be wrong. */
#include "archive_fixture.h"
#include "base/memory.h"
#include "test.h"

typedef struct seen {
    char log[2048];
    int members;
} seen;

static status member_log(void *context, const archive_member *m) {
    seen *s = context;
    size_t n = strlen(s->log);
    (void)snprintf(s->log + n, sizeof s->log - n, "%s=%.*s;", m->path, (int)m->n,
                   (const char *)m->bytes);
    s->members++;
    return STATUS_OK;
}

/* Two files, a folder and a link. */
static void small_tar(buffer *tar) {
    (void)tar_put(tar, "./usr/", '5', "", 0);
    (void)tar_put(tar, "./usr/one", '0', "first", 5);
    (void)tar_put(tar, "usr/two", '\0', "", 0);
    (void)tar_put(tar, "usr/link", '2', "", 0);
    tar_finish(tar);
}

#define SMALL_LOG "usr/one=first;usr/two=;"

/* Expects F_ARCHIVE whose report mentions `word`. */
static void expect_refused(status s, const char *word) {
    CHECK(s == STATUS_FORMAT, "status %d", (int)s);
    const error_report *r = error_last();
    CHECK(r->id == F_ARCHIVE, "error %d", (int)r->id);
    CHECK(strstr(r->what, word) || strstr(r->why, word), "\"%s\" not in \"%s\" / \"%s\"", word,
          r->what, r->why);
    CHECK(r->where[0] != '\0' && r->fix[0] != '\0', "parts are missing");
    CHECK(strstr(r->where, "t.tar") != NULL, "the archive is not named: %s", r->where);
}

TEST(tar_gives_regular_files) {
    buffer tar = {0};
    seen s = {0};
    small_tar(&tar);
    REQUIRE_OK(tar_each(tar.bytes, tar.n, "t.tar", member_log, &s));
    CHECK(strcmp(s.log, SMALL_LOG) == 0, "%s", s.log);
    buffer_clear(&tar);
}

TEST(tar_reads_long_names) {
    buffer tar = {0};
    seen s = {0};
    char name[301];
    memset(name, 'n', 300);
    name[300] = '\0';
    (void)tar_put(&tar, "././@LongLink", 'L', name, sizeof name);
    (void)tar_put(&tar, "nnnn", '0', "a", 1);
    (void)tar_put(&tar, "pax", 'x', "21 path=dir/in/paxes\n8 a=bcd\n10 size=3\n", 39);
    size_t at = tar_put(&tar, "wrong", '0', "bcd", 3);
    (void)tar_put(&tar, "plain", '0', "e", 1);
    /* a POSIX prefix, and a size of which only the pax header knows the truth */
    memcpy(tar.bytes + at + 124, "00000000000", 11);
    tar_seal(tar.bytes + at);
    size_t prefixed = tar_put(&tar, "tail", '0', "f", 1);
    memcpy(tar.bytes + prefixed + 345, "a/prefix", 8);
    tar_seal(tar.bytes + prefixed);
    tar_finish(&tar);
    REQUIRE_OK(tar_each(tar.bytes, tar.n, "t.tar", member_log, &s));
    CHECK(strncmp(s.log, name, 300) == 0, "long name lost");
    CHECK(strcmp(s.log + 300, "=a;dir/in/paxes=bcd;plain=e;a/prefix/tail=f;") == 0, "%s",
          s.log + 300);
    buffer_clear(&tar);
}

TEST(tar_reads_base_256_sizes) {
    buffer tar = {0};
    seen s = {0};
    size_t at = tar_put(&tar, "file", '0', "abc", 3);
    memset(tar.bytes + at + 124, 0, 12);
    tar.bytes[at + 124] = (char)0x80;
    tar.bytes[at + 135] = 3;
    tar_seal(tar.bytes + at);
    tar_finish(&tar);
    REQUIRE_OK(tar_each(tar.bytes, tar.n, "t.tar", member_log, &s));
    CHECK(strcmp(s.log, "file=abc;") == 0, "%s", s.log);
    memset(tar.bytes + at + 125, 0xFF, 11); /* 2^88 - 1 */
    tar_seal(tar.bytes + at);
    expect_refused(tar_each(tar.bytes, tar.n, "t.tar", member_log, &s), "size");
    buffer_clear(&tar);
}

TEST(tar_refuses_every_truncation) {
    buffer tar = {0};
    small_tar(&tar);
    size_t needed = tar.n - 512; /* one of the two zero blocks is enough */
    for (size_t n = 0; n < needed; n += n < 512 ? 37 : 256) {
        seen s = {0};
        status got = tar_each(tar.bytes, n, "t.tar", member_log, &s);
        CHECK(got == STATUS_FORMAT, "%zu of %zu bytes: status %d", n, tar.n, (int)got);
    }
    buffer_clear(&tar);
}

TEST(tar_refuses_lies) {
    seen s = {0};
    buffer tar = {0};
    size_t at = tar_put(&tar, "file", '0', "abc", 3);
    tar_finish(&tar);
    tar.bytes[at + 3] ^= 1;
    expect_refused(tar_each(tar.bytes, tar.n, "t.tar", member_log, &s), "checksum");
    tar.bytes[at + 3] ^= 1;
    memcpy(tar.bytes + at + 124, "77777777777", 11); /* 8 GiB in 2 KiB */
    tar_seal(tar.bytes + at);
    expect_refused(tar_each(tar.bytes, tar.n, "t.tar", member_log, &s), "inside a member");
    memcpy(tar.bytes + at + 124, "12x", 4);
    tar_seal(tar.bytes + at);
    expect_refused(tar_each(tar.bytes, tar.n, "t.tar", member_log, &s), "not a number");
    buffer_clear(&tar);
    (void)tar_put(&tar, "pax", 'x', "999 path=x\n", 11);
    (void)tar_put(&tar, "a", '0', "", 0);
    tar_finish(&tar);
    expect_refused(tar_each(tar.bytes, tar.n, "t.tar", member_log, &s), "pax");
    CHECK(s.members == 0, "%d members of broken archives were given", s.members);
    buffer_clear(&tar);
}

TEST(tar_refuses_paths_that_leave) {
    static const char *const paths[] = {"/etc/passwd", "../up",  "a/../../b", "a/..",
                                        "..",          "./../x", "./"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        buffer tar = {0};
        seen s = {0};
        (void)tar_put(&tar, paths[i], '0', "x", 1);
        tar_finish(&tar);
        status got = tar_each(tar.bytes, tar.n, "t.tar", member_log, &s);
        bool folder = strcmp(paths[i], "./") == 0; /* a folder of old writers: skipped */
        if (folder)
            CHECK(got == STATUS_OK && s.members == 0, "%s: status %d", paths[i], (int)got);
        else
            expect_refused(got, "path");
        buffer_clear(&tar);
    }
    buffer tar = {0};
    seen s = {0};
    (void)tar_put(&tar, "pax", 'x', "19 path=/etc/shadow\n", 20);
    (void)tar_put(&tar, "innocent", '0', "x", 1);
    tar_finish(&tar);
    expect_refused(tar_each(tar.bytes, tar.n, "t.tar", member_log, &s), "pax");
    buffer_clear(&tar);
    (void)tar_put(&tar, "pax", 'x', "20 path=/etc/shadow\n", 20);
    (void)tar_put(&tar, "innocent", '0', "x", 1);
    tar_finish(&tar);
    expect_refused(tar_each(tar.bytes, tar.n, "t.tar", member_log, &s), "absolute");
    buffer_clear(&tar);
}

TEST(ar_reads_and_refuses) {
    buffer ar = {0};
    seen s = {0};
    ar_start(&ar);
    ar_put(&ar, "odd/", "abc", 3);
    ar_put(&ar, "even", "de", 2);
    REQUIRE_OK(ar_each(ar.bytes, ar.n, "t.tar", member_log, &s));
    CHECK(strcmp(s.log, "odd=abc;even=de;") == 0, "%s", s.log);
    expect_refused(ar_each(ar.bytes, ar.n - 1, "t.tar", member_log, &s), "inside a member");
    expect_refused(ar_each(ar.bytes, 40, "t.tar", member_log, &s), "inside a header");
    expect_refused(ar_each(ar.bytes, 7, "t.tar", member_log, &s), "not an ar archive");
    memcpy(ar.bytes + 8 + 48, "9999999999", 10);
    expect_refused(ar_each(ar.bytes, ar.n, "t.tar", member_log, &s), "inside a member");
    ar.bytes[8 + 48] = '-';
    expect_refused(ar_each(ar.bytes, ar.n, "t.tar", member_log, &s), "not a number");
    ar.bytes[8 + 58] = 'x';
    expect_refused(ar_each(ar.bytes, ar.n, "t.tar", member_log, &s), "end mark");
    buffer_clear(&ar);
}

static const compression all[] = {COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_XZ,
                                  COMPRESSION_ZSTD};

TEST(streams_round_trip) {
    static char data[300000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * i / 977 + i % 13);
    for (size_t k = 0; k < 4; k++) {
        for (size_t n = 0; n <= sizeof data; n = n * 7 + 1) {
            buffer packed = {0}, out = {0};
            pack(&packed, all[k], data, n);
            CHECK(compression_of(packed.bytes, packed.n) == all[k], "kind %zu not known again", k);
            REQUIRE_OK(stream_unpack(packed.bytes, packed.n, "t.tar", n, &out)); /* limit = size */
            CHECK(out.n == n && memcmp(out.bytes != NULL ? out.bytes : "", data, n) == 0,
                  "kind %zu, %zu bytes differ", k, n);
            buffer_clear(&packed);
            buffer_clear(&out);
        }
    }
}

TEST(streams_may_follow_each_other) {
    for (size_t k = 1; k < 4; k++) {
        buffer packed = {0}, out = {0};
        pack(&packed, all[k], "one ", 4);
        pack(&packed, all[k], "two", 3);
        REQUIRE_OK(stream_unpack(packed.bytes, packed.n, "t.tar", 100, &out));
        CHECK(out.n == 7 && memcmp(out.bytes, "one two", 7) == 0, "kind %zu: %zu bytes", k, out.n);
        buffer_clear(&packed);
        buffer_clear(&out);
    }
}

TEST(streams_stop_at_the_limit) {
    buffer zeros = {0};
    REQUIRE(buffer_reserve(&zeros, (size_t)8 << 20), "no memory");
    memset(zeros.bytes, 0, (size_t)8 << 20);
    zeros.n = (size_t)8 << 20;
    for (size_t k = 0; k < 4; k++) {
        buffer bomb = {0}, out = {0};
        pack(&bomb, all[k], zeros.bytes, zeros.n);
        expect_refused(stream_unpack(bomb.bytes, bomb.n, "t.tar", 100000, &out), "allowed here");
        CHECK(out.n <= 100000, "%zu bytes came out", out.n);
        CHECK(out.capacity < 1000000, "%zu bytes were allocated", out.capacity);
        buffer_clear(&bomb);
        buffer_clear(&out);
    }
    buffer_clear(&zeros);
}

TEST(streams_refuse_truncation_and_damage) {
    static char data[5000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i % 251);
    for (size_t k = 1; k < 4; k++) {
        buffer packed = {0};
        pack(&packed, all[k], data, sizeof data);
        for (size_t n = 6; n < packed.n; n += 1 + packed.n / 40) {
            buffer out = {0};
            expect_refused(stream_unpack(packed.bytes, n, "t.tar", 1 << 20, &out),
                           "cannot be unpacked");
            buffer_clear(&out);
        }
        if (k != 3) { /* this zstd frame carries no checksum */
            buffer out = {0};
            packed.bytes[packed.n / 2] ^= 0x10;
            expect_refused(stream_unpack(packed.bytes, packed.n, "t.tar", 1 << 20, &out),
                           "cannot be unpacked");
            buffer_clear(&out);
        }
        buffer_clear(&packed);
    }
}

TEST(deb_gives_its_tar) {
    buffer tar = {0};
    small_tar(&tar);
    for (size_t k = 0; k < 4; k++) {
        buffer deb = {0}, out = {0};
        seen s = {0};
        deb_put(&deb, all[k], &tar);
        REQUIRE_OK(deb_unpack(deb.bytes, deb.n, "t.tar", ARCHIVE_OUTPUT_LIMIT, &out));
        REQUIRE_OK(tar_each(out.bytes, out.n, "t.tar", member_log, &s));
        CHECK(strcmp(s.log, SMALL_LOG) == 0, "kind %zu: %s", k, s.log);
        buffer_clear(&out);
        expect_refused(deb_unpack(deb.bytes, deb.n, "t.tar", 1000, &out), "allowed here");
        buffer_clear(&out);
        buffer_clear(&deb);
    }
    buffer ar = {0}, out = {0};
    ar_start(&ar);
    ar_put(&ar, "data.tar", tar.bytes, tar.n);
    expect_refused(deb_unpack(ar.bytes, ar.n, "t.tar", 1 << 20, &out), "debian-binary");
    buffer_clear(&ar);
    buffer_clear(&tar);
    buffer_clear(&out);
}

static status stop_at_once(void *context, const archive_member *m) {
    (void)context;
    return FAIL(F_DISK_FULL, "stop", m->path, "the test wants it", "none");
}

TEST(walk_passes_a_failure_on) {
    buffer tar = {0};
    small_tar(&tar);
    CHECK(tar_each(tar.bytes, tar.n, "t.tar", stop_at_once, NULL) == STATUS_IO, "not passed on");
    CHECK(error_last()->id == F_DISK_FULL, "other error");
    buffer_clear(&tar);
}

TEST(archive_survives_failing_allocations) {
    buffer tar = {0}, deb = {0};
    (void)tar_put(&tar, "././@LongLink", 'L', "a/long/name", 12);
    (void)tar_put(&tar, "x", '0', "first", 5);
    tar_finish(&tar);
    deb_put(&deb, COMPRESSION_XZ, &tar);
    int64_t blocks = mem_live_blocks();
    for (int64_t n = 1;; n++) {
        buffer out = {0};
        seen s = {0};
        mem_fail_at(n);
        status got = deb_unpack(deb.bytes, deb.n, "t.tar", 1 << 20, &out);
        if (got == STATUS_OK) got = tar_each(out.bytes, out.n, "t.tar", member_log, &s);
        bool failed = mem_failed();
        mem_fail_at(0);
        buffer_clear(&out);
        CHECK(mem_live_blocks() == blocks, "allocation %" PRId64 " leaks", n);
        CHECK(got == (failed ? STATUS_MEMORY : STATUS_OK), "allocation %" PRId64 ": %d", n,
              (int)got);
        if (!failed) break;
        REQUIRE(n < 100, "never passes");
    }
    buffer_clear(&tar);
    buffer_clear(&deb);
}
