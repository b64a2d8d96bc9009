/* tensorboard.c - see tensorboard.h.
 *
 * What: an event file is a sequence of records, each {u64 length, masked CRC32C of these 8 bytes,
 * data, masked CRC32C of the data}, little-endian (the TFRecord framing; the mask is a rotation by
 * 15 and an addition, so that a checksum stored inside checked data does no harm). The data is one
 * protobuf message Event: 1 wall_time (double), 2 step (int64), 3 file_version (string, first record
 * only) or 5 summary, which repeats 1 value {1 tag (string), 2 simple_value (float)}. Those six
 * fields are written by hand; a protobuf number is 7 bits a byte, low ones first.
 *
 * How: a record is a pure function of its metrics line and of the second in the file's name; its
 * wall time is that second plus the line's `time`, so pauses between the parts of a run leave no
 * hole in TensorBoard's "relative" axis. That makes continuing simple: after metrics.jsonl was cut
 * back to the checkpoint, the whole file is made again from it. Whatever a kill, a full disk or a
 * version without this file left behind is mended by that, nothing of the file is ever parsed,
 * and what TensorBoard has read of it stays a prefix.
 *
 * Mind: numbers become floats. Null (not finite) has no point. A number the table below does not
 * name gets its own name as tag. What does not fit into TENSORBOARD_RECORD bytes is left out; the
 * lines of fathom need an eighth of that.
 */
#include "train/tensorboard.h"

#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char prefix[] = "events.out.tfevents.", suffix[] = ".fathom";

/* -- checksums -- */

uint32_t crc32c(const void *bytes, size_t n) {
    /* remainders of the 16 half-bytes; polynomial 0x82F63B78 */
    static const uint32_t half[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
                                      0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                      0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                      0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    const uint8_t *p = bytes;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ half[crc & 15];
        crc = crc >> 4 ^ half[crc & 15];
    }
    return ~crc;
}

static uint32_t masked_crc(const void *bytes, size_t n) {
    uint32_t crc = crc32c(bytes, n);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* -- messages -- */

typedef struct message {
    uint8_t *bytes;
    size_t n, room; /* writers below expect that the caller has looked at the room */
} message;

static void put_fixed(message *m, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++)
        m->bytes[m->n++] = (uint8_t)(value >> 8 * i);
}

static void put_number(message *m, uint64_t value) {
    for (; value >= 0x80; value >>= 7)
        m->bytes[m->n++] = (uint8_t)(value | 0x80);
    m->bytes[m->n++] = (uint8_t)value;
}

enum { WIRE_NUMBER = 0, WIRE_8_BYTES = 1, WIRE_BYTES = 2, WIRE_4_BYTES = 5 };

static void put_key(message *m, int field, int wire) {
    put_number(m, (uint64_t)(field << 3 | wire));
}

static void put_bytes(message *m, int field, const void *bytes, size_t n) {
    put_key(m, field, WIRE_BYTES);
    put_number(m, n);
    memcpy(m->bytes + m->n, bytes, n);
    m->n += n;
}

static void put_double(message *m, int field, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(m, field, WIRE_8_BYTES);
    put_fixed(m, bits, 8);
}

static void put_float(message *m, int field, double value) {
    float narrow = value > (double)FLT_MAX    ? INFINITY
                   : value < -(double)FLT_MAX ? -INFINITY
                                              : (float)value;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    put_key(m, field, WIRE_4_BYTES);
    put_fixed(m, bits, 4);
}

#define FRAME_HEAD 12 /* length and its checksum */
#define FRAME_TAIL 4

/* Puts the frame around the n bytes of data at out + FRAME_HEAD. */
static size_t close_frame(uint8_t *out, size_t n) {
    message head = {out, 0, FRAME_HEAD}, tail = {out + FRAME_HEAD + n, 0, FRAME_TAIL};
    put_fixed(&head, n, 8);
    put_fixed(&head, masked_crc(out, 8), 4);
    put_fixed(&tail, masked_crc(out + FRAME_HEAD, n), 4);
    return FRAME_HEAD + n + FRAME_TAIL;
}

/* -- events -- */

/* What a key of metrics.jsonl is called there; NULL = no scalar of its own. */
static const char *tag_of(const char *key) {
    static const struct {
        const char *key, *tag;
    } tags[] = {
        {"step", NULL},
        {"time", NULL},
        {"loss", "train/loss"},
        {"lr", "train/lr"},
        {"grad_norm", "train/grad_norm"},
        {"mtp_loss", "train/mtp_loss"},
        {"balance_loss", "train/balance_loss"},
        {"expert_max_violation", "train/expert_max_violation"},
        {"val_loss", "val/loss"},
        {"val_bpb", "val/bits_per_byte"},
        {"tok_per_sec", "tokens_per_second"},
        {"mfu", "model_flops_utilisation"},
        {"mem_bytes", "memory_bytes"},
    };
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (strcmp(tags[i].key, key) == 0) return tags[i].tag;
    return key;
}

/* One value of a summary, if there is room for it. */
static void put_scalar(message *summary, const char *tag, double value) {
    uint8_t bytes[256];
    message scalar = {bytes, 0, sizeof bytes};
    size_t length = strlen(tag);
    if (length > sizeof bytes - 16) return;
    put_bytes(&scalar, 1, tag, length);
    put_float(&scalar, 2, value);
    if (summary->n + scalar.n + 16 <= summary->room) put_bytes(summary, 1, bytes, scalar.n);
}

size_t tensorboard_header(uint8_t out[TENSORBOARD_RECORD], double began) {
    static const char version[] = "brain.Event:2";
    message event = {out + FRAME_HEAD, 0, TENSORBOARD_RECORD - FRAME_HEAD - FRAME_TAIL};
    put_double(&event, 1, began);
    put_bytes(&event, 3, version, sizeof version - 1);
    return close_frame(out, event.n);
}

/* An event being made: its scalars first, which need room for frame, time and step beside them. */
typedef struct event_parts {
    uint8_t scalars[TENSORBOARD_RECORD - 64];
    message summary;
} event_parts;

static void add_scalar(event_parts *e, const char *key, double value) {
    const char *tag = tag_of(key);
    if (tag != NULL) put_scalar(&e->summary, tag, value);
}

static size_t close_event(const event_parts *e, uint8_t out[TENSORBOARD_RECORD], double wall_time,
                          int64_t step) {
    message event = {out + FRAME_HEAD, 0, TENSORBOARD_RECORD - FRAME_HEAD - FRAME_TAIL};
    put_double(&event, 1, wall_time);
    put_key(&event, 2, WIRE_NUMBER);
    put_number(&event, (uint64_t)step);
    put_bytes(&event, 5, e->summary.bytes, e->summary.n);
    return close_frame(out, event.n);
}

size_t tensorboard_record(uint8_t out[TENSORBOARD_RECORD], double began, const json_t *line) {
    event_parts e;
    const char *key;
    json_t *value;
    e.summary = (message){e.scalars, 0, sizeof e.scalars};
    json_object_foreach((json_t *)(uintptr_t)line, key, value) /* reads only */
        if (json_is_number(value)) add_scalar(&e, key, json_number_value(value));
    return close_event(&e, out, began + json_number_value(json_object_get(line, "time")),
                       json_integer_value(json_object_get(line, "step")));
}

size_t tensorboard_values(uint8_t out[TENSORBOARD_RECORD], double began, const metric_line *line) {
    event_parts e;
    e.summary = (message){e.scalars, 0, sizeof e.scalars};
    for (int i = 0; i < line->n; i++) {
        const metric_value *v = &line->values[i];
        if (v->kind != METRIC_TRUE && isfinite(v->value)) add_scalar(&e, v->key, v->value);
    }
    return close_event(&e, out, began + metric_find(line, "time"),
                       (int64_t)metric_find(line, "step"));
}

/* -- the file -- */

/* Is this the name of one of our files? Then *began is the second it names. */
static bool parse_name(const char *name, double *began) {
    size_t n = strlen(name), head = sizeof prefix - 1, tail = sizeof suffix - 1;
    if (n <= head + tail || memcmp(name, prefix, head) != 0 ||
        strcmp(name + n - tail, suffix) != 0 || n - head - tail > 15)
        return false;
    *began = 0;
    for (size_t i = head; i < n - tail; i++) {
        if (name[i] < '0' || name[i] > '9') return false;
        *began = *began * 10 + (name[i] - '0');
    }
    return true;
}

status tensorboard_open(tensorboard_file *t, const char *run, double seconds) {
    char **names;
    int n, at = 0;
    TRY(folder_list(run, &names, &n));
    while (at < n && !parse_name(names[at], &t->began))
        at++;
    if (at == n) t->began = floor((double)time(NULL) - seconds);
    if (!(t->began >= 0)) t->began = 0;
    status s =
        path_join(t->path, run, at < n ? names[at] : text("%s%010.0f%s", prefix, t->began, suffix));
    folder_list_free(names, n);
    return s;
}

static status put_line(const tensorboard_file *t, file_writer *w, const char *bytes, size_t n) {
    uint8_t record[TENSORBOARD_RECORD];
    json_t *line;
    TRY(json_parse(bytes, n, "metrics.jsonl", &line));
    status s = writer_put(w, record, tensorboard_record(record, t->began, line));
    json_decref(line);
    return s;
}

static status put_file(const tensorboard_file *t, file_writer *w, const char *bytes, size_t n) {
    uint8_t record[TENSORBOARD_RECORD];
    TRY(writer_put(w, record, tensorboard_header(record, t->began)));
    for (size_t at = 0; at < n;) {
        const char *end = memchr(bytes + at, '\n', n - at);
        size_t length = end != NULL ? (size_t)(end - bytes) - at : n - at;
        TRY(put_line(t, w, bytes + at, length));
        at += length + 1;
    }
    return STATUS_OK;
}

status tensorboard_rebuild(const tensorboard_file *t, const char *metrics) {
    char *bytes = NULL;
    size_t n = 0;
    file_writer *w;
    if (path_exists(metrics)) TRY(file_read(metrics, (size_t)4 << 30, &bytes, &n));
    status s = writer_open(&w, t->path);
    if (s == STATUS_OK) {
        s = put_file(t, w, bytes, n);
        if (s == STATUS_OK)
            s = writer_commit(w);
        else
            writer_abandon(w);
    }
    mem_free(bytes);
    return s;
}

/* Appends n bytes to an open file; takes back a part that was written. */
static status append_bytes(int fd, const char *path, const uint8_t *bytes, size_t n, off_t size) {
    ssize_t put;
    do
        put = write(fd, bytes, n);
    while (put < 0 && errno == EINTR);
    if (put == (ssize_t)n) return STATUS_OK;
    int failed = put < 0 ? errno : ENOSPC;
    if (put > 0 && ftruncate(fd, size) != 0) failed = errno;
    return error_errno(failed, text("append to %s", path), path);
}

status tensorboard_append(const tensorboard_file *t, const metric_line *line) {
    uint8_t record[2 * TENSORBOARD_RECORD];
    struct stat now;
    int fd = open(t->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0) return error_errno(errno, text("append to %s", t->path), t->path);
    status s = STATUS_OK;
    if (fstat(fd, &now) != 0) {
        s = error_errno(errno, text("look at %s", t->path), t->path);
    } else {
        /* a file that someone removed begins anew */
        size_t n = now.st_size == 0 ? tensorboard_header(record, t->began) : 0;
        n += tensorboard_values(record + n, t->began, line);
        s = append_bytes(fd, t->path, record, n, now.st_size);
    }
    if (close(fd) != 0 && s == STATUS_OK)
        s = error_errno(errno, text("append to %s", t->path), t->path);
    return s;
}

status tensorboard_forget(const char *run) {
    char **names, path[PATH_SIZE];
    int n;
    double began;
    TRY(folder_list(run, &names, &n));
    status s = STATUS_OK;
    for (int i = 0; s == STATUS_OK && i < n; i++) {
        if (!parse_name(names[i], &began)) continue;
        s = path_join(path, run, names[i]);
        if (s == STATUS_OK && unlink(path) != 0 && errno != ENOENT)
            s = error_errno(errno, text("remove %s", path), path);
    }
    folder_list_free(names, n);
    return s;
}
