/* convert_internal.h - what the files of convert/ share: an opened input, and the plan of an output.
 *
 * A plan is a list of tensors to be written, each with a recipe that names where its rows are in the
 * input. Writing (convert_folder.c, convert_gguf.c) and comparing (convert_verify.c) both ask the same
 * function for rows, recipe_rows.
 */
#ifndef FATHOM_CONVERT_CONVERT_INTERNAL_H
#define FATHOM_CONVERT_CONVERT_INTERNAL_H

#include "convert/convert.h"

#include "base/file.h"
#include "base/progress.h"
#include "infer/infer.h"
#include "model/model_gguf.h"
#include "model/source.h"

/* -- what is read (convert_input.c) -- */

#define KEYS_FILE "gguf-keys.gguf" /* in a fathom folder: keys of the GGUF file it came from */

typedef struct convert_input {
    char path[PATH_SIZE]; /* the folder or file that was found */
    model m;              /* described only */
    bundle words;         /* tokenizer, template, ends of answers */
    safetensors *folder;  /* one of these two */
    gguf *file;
    model_part *parts; /* of a folder, with their sources; sorted by name */
    int n_parts;
    gguf_place *places; /* names in GGUF files of every part, in the order of files */
    int n_places;
} convert_input;

/* Everything about the tensors is checked: names, shapes, types. */
status convert_input_open(convert_input *in, const char *path) MUST_CHECK;
void convert_input_close(convert_input *in); /* accepts a zeroed one */
const model_part *convert_input_part(const convert_input *in, const char *name); /* NULL */

/* -- what is written (convert_plan.c) -- */

typedef enum row_order {
    ORDER_SAME,
    ORDER_TO_FILE,   /* row i of the output is gguf_place_row(i) of the input */
    ORDER_FROM_FILE, /* the other way round */
} row_order;

typedef enum recipe_kind {
    FROM_DATA,    /* rows lie one behind the other at `data`, as `from` says */
    FROM_PARTS,   /* rows of parts of a folder, one part behind the other */
    FROM_VALUES,  /* attn_v_b out of kv_b */
    FROM_KEYS,    /* attn_k_b out of kv_b: transposed per head */
    FROM_KV,      /* kv_b out of attn_k_b and attn_v_b */
    FROM_FACTORS, /* rope_freqs.weight */
} recipe_kind;

typedef struct recipe {
    const char *name; /* published, or of GGUF files */
    uint32_t type;    /* quant_type it is written in */
    uint32_t from;    /* and read in; F8_E4M3 counts as F32 */
    bool f8;
    int rank;
    int64_t dim[GGUF_MAX_RANK];
    int64_t rows, width; /* a vector is one row */
    recipe_kind kind;
    row_order order;
    const gguf_place *place; /* with an order: whose rows */
    const uint8_t *data;
    const model_part **parts;
    int n_parts;
    const gguf_tensor *keys, *values;
} recipe;

typedef struct recipes {
    const convert_input *in;
    const convert_options *o;
    arena memory;
    recipe *all;
    int n, room;
    float factors[GGUF_FACTORS];
    int64_t bytes, largest;
} recipes;

status recipes_make(recipes *p, const convert_input *in, const convert_options *o) MUST_CHECK;
void recipes_clear(recipes *p); /* accepts a zeroed one */
size_t recipe_bytes(const recipe *t);
/* Name in the files of a folder: with the type of its blocks behind. Lives like text(). */
const char *recipe_file_name(const recipe *t);
/* The type that most bytes have. */
uint32_t recipes_main_type(const recipes *p);
/* Did numbers change, not only their type? */
bool recipe_rounds(const recipe *t);

/* -- rows (convert_rows.c) -- */

/* Memory for rows of one plan; zeroed = none. */
typedef struct row_room {
    float *floats;    /* the widest row, or a head of kv_b */
    uint8_t *encoded; /* the widest row */
    int64_t head;     /* head in floats, -1 = none */
    const recipe *of;
} row_room;
status row_room_make(row_room *r, const recipes *p) MUST_CHECK;
void row_room_clear(row_room *r);
/* Rows from `row` on as they are written: at least one, *n of them, at *bytes until the next call. */
status recipe_rows(const recipes *p, const recipe *t, int64_t row, row_room *r,
                   const uint8_t **bytes, int64_t *n) MUST_CHECK;
/* The memory behind its rows in the input goes back to the system. */
void recipe_forget(const recipe *t);
/* To the type and back: what a number is in it. F_CONVERT_VALUE if it does not fit. */
status recipe_encode(uint32_t type, const char *name, const float *from, int64_t n,
                     uint8_t *to) MUST_CHECK;

/* -- writing -- */

typedef struct convert_job {
    const char *out;      /* as given */
    char part[PATH_SIZE]; /* OUT.part */
    char made[PATH_SIZE]; /* what is in it: itself, or the file */
    recipes plan;
    progress progress;
    double done; /* bytes, of twice plan.bytes */
    convert_report *report;
} convert_job;

/* Polls for Ctrl-C and shows progress after `bytes` more. */
status convert_step(convert_job *j, size_t bytes) MUST_CHECK;
status convert_write_folder(convert_job *j) MUST_CHECK;
status convert_write_gguf(convert_job *j) MUST_CHECK;
/* Configuration, tokenizer, template (convert_words.c). */
status convert_write_words(convert_job *j) MUST_CHECK;
status convert_put_words(convert_job *j, gguf_writer *w) MUST_CHECK;
status convert_verify(convert_job *j) MUST_CHECK;
void convert_note(convert_report *r, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
