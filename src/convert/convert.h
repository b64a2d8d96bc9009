/* convert.h - checkpoints from one form to another: Hugging Face folders, fathom folders, GGUF files.
 *
 *     convert_options o = {.form = CONVERT_GGUF, .type = CONVERT_KEEP, .max_shard = 5000000000};
 *     convert_report r;
 *     TRY(convert_model("runs/first", "first.gguf", &o, &r));
 *     printf("%d tensors, %s\n", r.tensors, r.logits_compared ? "logits equal" : "logits not compared");
 *
 * Any form is read, any is written; docs/formats/convert.md says what each holds and what is lost.
 * Tensors pass one at a time, a piece of a row or a few rows in memory; the output is written beside
 * OUT as OUT.part, opened again, compared with the input tensor by tensor, by its ids, its rendered
 * template, its logits and 64 greedy tokens, and only then gets its name. After a failure or a kill
 * there is nothing at OUT, or what was there before.
 */
#ifndef FATHOM_CONVERT_CONVERT_H
#define FATHOM_CONVERT_CONVERT_H

#include "base/status.h"

#include <stdint.h>

typedef enum convert_form {
    CONVERT_HF,     /* a folder every reader of the Hugging Face layout takes: F32, F16, BF16 */
    CONVERT_FATHOM, /* the same layout, in which tensors may stay in the blocks of a GGUF file */
    CONVERT_GGUF,   /* one file */
} convert_form;

#define CONVERT_KEEP (-1)
typedef struct convert_options {
    convert_form form;
    int type;          /* quant_type F32, F16 or BF16 of the matrices, or CONVERT_KEEP */
    int64_t max_shard; /* bytes of tensors in one file of a folder; 0 = no bound */
    bool force;        /* replace what is at OUT */
    bool plan_only;    /* check and count; nothing is written */
    bool no_logits;    /* leave out the comparison by logits (tests of memory) */
} convert_options;

#define CONVERT_NOTES 16
typedef struct convert_report {
    int tensors, files;  /* written; files that hold tensors */
    int64_t bytes;       /* of tensors written */
    int64_t largest;     /* bytes of the largest tensor, read or written */
    int64_t peak;        /* resident bytes when all tensors were written and compared; -1 unknown */
    int64_t base;        /* before the first tensor */
    int64_t ids;         /* of sample text, equal */
    bool template_there; /* and its rendering is equal */
    bool logits_compared; /* and they are equal; otherwise a note says why not */
    int n_prompt, n_greedy;
    double seconds;
    char notes[CONVERT_NOTES][400]; /* what is not as it was */
    int n_notes;
} convert_report;

/* F_CANNOT_CREATE: OUT exists; F_DISK_FULL: before the first byte; F_CONVERT_VALUE: the form or type
 * cannot hold a value; F_CONVERT: what was written reads back differently; and all errors of reading
 * and writing. */
status convert_model(const char *in, const char *out, const convert_options *options,
                     convert_report *report) MUST_CHECK;

#endif
