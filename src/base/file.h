/* file.h - whole files, atomic writing, mapping, folders and paths.
 *
 * Nothing here leaves a half-written file behind under its final name: writers fill a sibling
 * "<path>.tmp", flush it to the device and rename it. Errors name the path (error_errno).
 */
#ifndef FATHOM_BASE_FILE_H
#define FATHOM_BASE_FILE_H

#include "base/memory.h"

#include <stdint.h>

#define PATH_SIZE 4096

/* Reads a file of at most `limit` bytes (0 = 1 GiB); `*bytes` is NUL-terminated, mem_free it.
 * "-" reads standard input. */
status file_read(const char *path, size_t limit, char **bytes, size_t *n) MUST_CHECK;
/* Replaces `path` by these bytes, atomically and durably. */
status file_write(const char *path, const void *bytes, size_t n) MUST_CHECK;

typedef struct mapped_file {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
} mapped_file;
status mapped_open(mapped_file *m, const char *path) MUST_CHECK;
void mapped_close(mapped_file *m); /* accepts a zeroed one */
/* Advice about bytes of a mapping: they are about to be read, all of them; or not soon again, so that
 * this process gives the pages back (the page cache keeps them). */
void mapped_expect(const void *data, size_t bytes);
void mapped_forget(const void *data, size_t bytes);

/* A buffered writer to the sibling of `path`. */
typedef struct file_writer file_writer;
status writer_open(file_writer **out, const char *path) MUST_CHECK;
status writer_put(file_writer *w, const void *bytes, size_t n) MUST_CHECK;
int64_t writer_bytes(const file_writer *w);
/* fsync, rename, fsync the folder, free. */
status writer_commit(file_writer *w) MUST_CHECK;
void writer_abandon(file_writer *w); /* removes the sibling and frees; accepts NULL */

/* Appends a whole line (a '\n' is added) with one write call; creates the file. */
status file_append_line(const char *path, const char *line) MUST_CHECK;

bool path_exists(const char *path);
bool path_is_folder(const char *path);
status path_size(const char *path, int64_t *bytes) MUST_CHECK;
/* Joins into `out` (PATH_SIZE); F_BAD_VALUE if it would be cut. */
status path_join(char out[PATH_SIZE], const char *folder, const char *name) MUST_CHECK;
/* The part after the last '/'; points into `path`. */
const char *path_name(const char *path);
status folder_create(const char *path) MUST_CHECK; /* with its parents; fine if it exists */
status folder_remove(const char *path) MUST_CHECK; /* with everything below; fine if absent */
/* Names in a folder, sorted bytewise, without "." and ".."; mem_free each and the array. */
status folder_list(const char *path, char ***names, int *n) MUST_CHECK;
void folder_list_free(char **names, int n);
status file_rename(const char *from, const char *to) MUST_CHECK; /* durable */
/* Free bytes on the file system that holds `path` (or its nearest existing parent). */
status disk_free(const char *path, int64_t *bytes) MUST_CHECK;
/* $XDG_CACHE_HOME/fathom or ~/.cache/fathom, created. */
status cache_folder(char out[PATH_SIZE]) MUST_CHECK;

#endif
