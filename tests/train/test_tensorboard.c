/* test_tensorboard.c - event files, read back by a reader that knows nothing of their writer. */
#include "train_fixture.h"

#include "train/tensorboard.h"

#include "base/json.h"
#include "base/memory.h"

#include <math.h>
#include <unistd.h>

/* -- a reader: framing, then the fields of Event, Summary and Value -- */

#define SCALARS_MAX 24

typedef struct scalar {
    char tag[80];
    float value;
} scalar;

typedef struct event {
    double wall_time;
    int64_t step;
    char version[32];
    scalar scalars[SCALARS_MAX];
    int n;
} event;

typedef struct cursor {
    const uint8_t *p, *end;
    bool bad;
} cursor;

static uint64_t take_fixed(cursor *c, int bytes) {
    uint64_t v = 0;
    if (c->end - c->p < bytes) {
        c->bad = true;
        c->p = c->end;
        return 0;
    }
    for (int i = 0; i < bytes; i++)
        v |= (uint64_t)*c->p++ << 8 * i;
    return v;
}

static uint64_t take_number(cursor *c) {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        uint64_t byte = take_fixed(c, 1);
        v |= (byte & 127) << shift;
        if (byte < 128) return v;
    }
    c->bad = true;
    return 0;
}

static cursor take_part(cursor *c) {
    uint64_t n = take_number(c);
    cursor part = {c->p, c->p, false};
    if (n > (uint64_t)(c->end - c->p))
        c->bad = true;
    else
        part.end = c->p += n;
    return part;
}

static void take_text(cursor *c, char *out, size_t room) {
    cursor part = take_part(c);
    size_t n = (size_t)(part.end - part.p);
    if (n >= room) c->bad = true;
    if (n >= room) n = 0;
    memcpy(out, part.p, n);
    out[n] = 0;
}

static scalar take_scalar(cursor part) {
    scalar s = {"", NAN};
    uint32_t bits;
    while (part.p < part.end && !part.bad) {
        uint64_t key = take_number(&part);
        if (key == (1 << 3 | 2)) {
            take_text(&part, s.tag, sizeof s.tag);
        } else if (key == (2 << 3 | 5)) {
            bits = (uint32_t)take_fixed(&part, 4);
            memcpy(&s.value, &bits, 4);
        } else {
            part.bad = true;
        }
    }
    if (part.bad) s.tag[0] = 0;
    return s;
}

static bool take_event(cursor c, event *e) {
    *e = (event){.step = 0};
    while (c.p < c.end && !c.bad) {
        uint64_t key = take_number(&c), bits;
        if (key == (1 << 3 | 1)) {
            bits = take_fixed(&c, 8);
            memcpy(&e->wall_time, &bits, 8);
        } else if (key == (2 << 3 | 0)) {
            e->step = (int64_t)take_number(&c);
        } else if (key == (3 << 3 | 2)) {
            take_text(&c, e->version, sizeof e->version);
        } else if (key == (5 << 3 | 2)) {
            cursor summary = take_part(&c);
            while (summary.p < summary.end && e->n < SCALARS_MAX) {
                if (take_number(&summary) != (1 << 3 | 2)) return false;
                e->scalars[e->n] = take_scalar(take_part(&summary));
                if (e->scalars[e->n++].tag[0] == 0) return false;
            }
        } else {
            return false;
        }
    }
    return !c.bad;
}

/* CRC-32C bit by bit, and its mask. */
static uint32_t plain_masked(const uint8_t *p, size_t n) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    }
    crc = ~crc;
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

/* Events of a file (free), *n of them; -1 if it is not well formed. */
static event *read_events(const char *path, int *n) {
    char *bytes;
    size_t size;
    *n = -1;
    if (file_read(path, 0, &bytes, &size) != STATUS_OK) return NULL;
    cursor c = {(uint8_t *)bytes, (uint8_t *)bytes + size, false};
    event *events = calloc(size / 16 + 1, sizeof *events);
    int found = 0;
    while (events != NULL && c.p < c.end && !c.bad) {
        const uint8_t *head = c.p;
        uint64_t length = take_fixed(&c, 8), check = take_fixed(&c, 4);
        if (c.bad || check != plain_masked(head, 8) || length > (uint64_t)(c.end - c.p)) break;
        cursor data = {c.p, c.p + length, false};
        c.p += length;
        check = take_fixed(&c, 4);
        if (c.bad || check != plain_masked(data.p, length) || !take_event(data, &events[found++]))
            break;
        if (c.p == c.end) *n = found;
    }
    mem_free(bytes);
    return events;
}

static double value_of(const event *e, const char *tag) {
    for (int i = 0; i < e->n; i++)
        if (strcmp(e->scalars[i].tag, tag) == 0) return (double)e->scalars[i].value;
    return (double)NAN;
}

/* The event file of a run. */
static const char *events_of(const char *run) {
    static char path[PATH_SIZE];
    char **names;
    int n, found = 0;
    path[0] = 0;
    if (folder_list(run, &names, &n) != STATUS_OK) return path;
    for (int i = 0; i < n; i++)
        if (strncmp(names[i], "events.out.tfevents.", 20) == 0 && ++found == 1)
            snprintf(path, sizeof path, "%s/%s", run, names[i]);
    folder_list_free(names, n);
    CHECK(found < 2, "%d event files", found);
    return path;
}

/* -- tests -- */

TEST(crc32c_has_its_known_values) {
    uint8_t zeros[32] = {0};
    CHECK(crc32c("123456789", 9) == 0xE3069283u, "%08x", crc32c("123456789", 9));
    CHECK(crc32c("", 0) == 0, "%08x", crc32c("", 0));
    CHECK(crc32c(zeros, 32) == 0x8A9136AAu, "%08x: RFC 3720, B.4", crc32c(zeros, 32));
}

TEST(an_event_holds_the_numbers_of_its_line) {
    static const char line[] = "{\"step\":7,\"tokens\":1792,\"time\":2.5,\"loss\":3.25,\"lr\":0.5,"
                               "\"grad_norm\":null,\"val_bpb\":1e300,\"text\":\"x\",\"new\":-1}";
    uint8_t record[TENSORBOARD_RECORD];
    json_t *o;
    event e;
    REQUIRE_OK(json_parse(line, sizeof line - 1, "line", &o));
    size_t n = tensorboard_record(record, 1000, o);
    json_decref(o);
    REQUIRE(take_event((cursor){record + 12, record + n - 4, false}, &e), "not an event");
    CHECK(e.step == 7 && e.wall_time == 1002.5, "step %" PRId64 " at %g", e.step, e.wall_time);
    CHECK(e.n == 5, "%d scalars", e.n);
    CHECK(value_of(&e, "train/loss") == 3.25 && value_of(&e, "train/lr") == 0.5, "scalars");
    CHECK(value_of(&e, "new") == -1 && value_of(&e, "tokens") == 1792, "unknown names stay");
    CHECK(isinf(value_of(&e, "val/bits_per_byte")), "beyond a float is infinite");
}

TEST(a_line_with_too_many_numbers_keeps_what_fits) {
    uint8_t record[TENSORBOARD_RECORD];
    json_t *o = json_pack("{s:i}", "step", 1);
    for (int i = 0; i < 500; i++)
        json_object_set_new(o, text("%0200d", i), json_integer(i));
    json_object_set_new(o, text("%0500d", 1), json_integer(1));
    size_t n = tensorboard_record(record, 0, o);
    json_decref(o);
    CHECK(n <= sizeof record && n > 3800, "%zu bytes", n);
    cursor data = {record + 12, record + n - 4, false};
    CHECK(plain_masked(data.p, n - 16) ==
              (record[n - 4] | (uint32_t)record[n - 3] << 8 | (uint32_t)record[n - 2] << 16 |
               (uint32_t)record[n - 1] << 24),
          "checksum");
}

/* Every line of metrics.jsonl has its event with its numbers, after the version. */
static void check_events(const char *run, int64_t steps) {
    char *bytes;
    size_t size;
    int n;
    event *events = read_events(events_of(run), &n);
    CHECK(n == steps + 1 && strcmp(events[0].version, "brain.Event:2") == 0, "%d events", n);
    if (n != steps + 1 || file_read(text("%s/metrics.jsonl", run), 0, &bytes, &size) != 0) {
        free(events);
        return;
    }
    int at = 1;
    for (char *line = bytes, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, at++) {
        json_t *o;
        double loss = (double)NAN, bpb = (double)NAN;
        if (json_parse(line, (size_t)(end - line), "metrics", &o) != STATUS_OK) break;
        CHECK(json_get_real(o, "loss", &loss, "metrics") == STATUS_OK &&
                  value_of(&events[at], "train/loss") == (double)(float)loss,
              "loss of line %d", at);
        bool looked = json_object_get(o, "val_bpb") != NULL;
        CHECK(!looked || (json_get_real(o, "val_bpb", &bpb, "metrics") == STATUS_OK &&
                          value_of(&events[at], "val/bits_per_byte") == (double)(float)bpb),
              "validation of line %d", at);
        CHECK(looked || isnan(value_of(&events[at], "val/loss")), "line %d was not validated", at);
        CHECK(events[at].step == at && value_of(&events[at], "tokens") == at * 256, "line %d", at);
        json_decref(o);
    }
    CHECK(at == steps + 1, "%d lines", at - 1);
    mem_free(bytes);
    free(events);
}

TEST(an_interrupted_run_has_the_events_of_an_uninterrupted_one) {
    static const char *const same[] = {"train/loss", "train/lr", "train/grad_norm", "val/loss",
                                       "val/bits_per_byte"};
    train_settings s;
    train_result r;
    int n, m;
    REQUIRE_OK(fixture_settings(&s, "events-whole", FIXTURE_DENSE, 20));
    REQUIRE_OK(train_run(&s, &r));
    check_events(s.run, 20);
    event *whole = read_events(events_of(s.run), &n);
    s.run = fixture_path("events-parts");
    s.schedule_steps = 20;
    s.max_steps = 9;
    REQUIRE_OK(train_run(&s, &r));
    const char *path = events_of(s.run);
    int64_t size;
    REQUIRE_OK(path_size(path, &size));
    REQUIRE(truncate(path, size - 5) == 0, "truncate");
    REQUIRE_OK(folder_remove(text("%s/checkpoints/step-9", s.run))); /* back to step 5 */
    s.max_steps = 20;
    REQUIRE_OK(train_run(&s, &r));
    CHECK(r.resumed_from == 5, "resumed from %" PRId64, r.resumed_from);
    check_events(s.run, 20);
    event *parts = read_events(events_of(s.run), &m);
    CHECK(n == m && n == 21, "%d and %d events", n, m);
    for (int i = 0; i < n && n == m; i++) {
        CHECK(whole[i].step == parts[i].step && whole[i].n == parts[i].n, "event %d", i);
        for (size_t k = 0; k < sizeof same / sizeof *same; k++) {
            double a = value_of(&whole[i], same[k]), b = value_of(&parts[i], same[k]);
            CHECK(a == b || (isnan(a) && isnan(b)), "%s of event %d: %g and %g", same[k], i, a, b);
        }
    }
    free(whole);
    free(parts);
}

TEST(appending_and_rebuilding_give_the_same_bytes) {
    train_settings s;
    train_result r;
    tensorboard_file t;
    char *first, *second;
    size_t n, m;
    REQUIRE_OK(fixture_settings(&s, "events-again", FIXTURE_EXPERTS, 6));
    REQUIRE_OK(train_run(&s, &r));
    REQUIRE_OK(file_read(events_of(s.run), 0, &first, &n));
    REQUIRE_OK(train_run(&s, &r)); /* done already: only rebuilds */
    REQUIRE_OK(file_read(events_of(s.run), 0, &second, &m));
    CHECK(n == m && memcmp(first, second, n) == 0, "%zu and %zu bytes", n, m);
    mem_free(first);
    mem_free(second);
    s.tensorboard = false;
    s.resume = RESUME_NO;
    REQUIRE_OK(train_run(&s, &r));
    CHECK(events_of(s.run)[0] == 0, "written although switched off, or not forgotten");
    s.resume = RESUME_AUTO;
    s.tensorboard = true;
    bool given[128] = {false};
    const option *row = option_find(&train_options, "train", "tensorboard");
    given[row - train_options.rows] = true;
    s.given = given;
    REQUIRE_OK(train_run(&s, &r)); /* switched on later: all steps are there */
    check_events(s.run, 6);
    REQUIRE_OK(tensorboard_open(&t, s.run, 0));
    CHECK(strcmp(t.path, events_of(s.run)) == 0, "%s", t.path);
}

TEST(a_full_disk_leaves_no_half_event) {
    tensorboard_file t = {.began = 5};
    metric_line line = {.n = 0};
    int n;
    metric_whole(&line, "step", 1);
    metric_real(&line, "loss", 2);
    snprintf(t.path, sizeof t.path, "/dev/full");
    CHECK(tensorboard_append(&t, &line) == STATUS_IO && error_last()->id == F_DISK_FULL, "F%04d",
          (int)error_last()->id);
    snprintf(t.path, sizeof t.path, "%s", fixture_path("events.out.tfevents.5.fathom"));
    REQUIRE_OK(tensorboard_append(&t, &line));
    event *events = read_events(t.path, &n);
    CHECK(n == 2 && events[1].step == 1 && value_of(&events[1], "train/loss") == 2, "%d", n);
    free(events);
}

TEST(rebuilding_without_memory_keeps_the_old_file) {
    tensorboard_file t = {.began = 5};
    const char *metrics = fixture_path("metrics.jsonl");
    int n;
    int64_t live = mem_live_blocks();
    snprintf(t.path, sizeof t.path, "%s", fixture_path("events.out.tfevents.5.fathom"));
    REQUIRE_OK(file_append_line(metrics, "{\"step\":1,\"loss\":2}"));
    REQUIRE_OK(tensorboard_rebuild(&t, metrics));
    REQUIRE_OK(file_append_line(metrics, "{\"step\":2,\"loss\":1}"));
    status s = STATUS_MEMORY;
    for (int64_t at = 1; s != STATUS_OK; at++) {
        mem_fail_at(at);
        s = tensorboard_rebuild(&t, metrics);
        mem_fail_at(0);
        CHECK(mem_live_blocks() == live, "allocation %" PRId64 " leaks", at);
        event *events = read_events(t.path, &n);
        CHECK(n == (s == STATUS_OK ? 3 : 2), "%d events after failure %" PRId64, n, at);
        free(events);
    }
}
