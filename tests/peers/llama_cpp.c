/* llama_cpp.c - a GGUF file by fathom and by llama.cpp, token by token.
 *
 * What. `llama-cpp FILE.gguf TEXT...` reads the first 280 tokens of every text with both and prints
 * how often both have the same most likely next token, the mean Kullback-Leibler divergence, and the
 * largest gap at llama.cpp between its choice and ours. `--greedy N FILE.gguf` continues twenty
 * prompts by N tokens with both and counts equal answers. Exit status 0 if the bars hold: 98 % the
 * same, 0.1 nat, 1e-3; all answers equal.
 *
 * How. llama.cpp is asked for a key cache in F32 and no flash attention. Its CPU back end multiplies
 * quantised weights by activations rounded to 8 bits; built with a BLAS it takes batches of 32
 * tokens and more in F32, as we do, so that teacher-forced text compares arithmetic with
 * arithmetic. README.md beside this file says how to build it and what was measured.
 *
 * Mind. Not part of the normal build: see the option peer_llama_cpp.
 */
#include "autograd/tape.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/pool.h"
#include "infer/infer.h"
#include "kernels/kernels.h"

#include <llama.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_MOST 280
#define CONTEXT     1024

typedef struct peer {
    struct llama_model *model;
    struct llama_context *context;
    const struct llama_vocab *vocabulary;
    int n_vocab;
} peer;

static void be_quiet(enum ggml_log_level level, const char *words, void *unused) {
    (void)level, (void)words, (void)unused;
}

static status peer_open(peer *p, const char *path, int32_t n_vocab) {
    llama_log_set(be_quiet, NULL);
    llama_backend_init();
    p->model = llama_model_load_from_file(path, llama_model_default_params());
    struct llama_context_params c = llama_context_default_params();
    c.n_ctx = c.n_batch = c.n_ubatch = CONTEXT;
    c.type_k = c.type_v = GGML_TYPE_F32;
    c.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    if (p->model != NULL) p->context = llama_init_from_model(p->model, c);
    if (p->context == NULL)
        return FAIL(F_BAD_VALUE, "llama.cpp does not open the file", path, "it says no more",
                    "try it with llama.cpp's own programs");
    p->vocabulary = llama_model_get_vocab(p->model);
    p->n_vocab = llama_vocab_n_tokens(p->vocabulary);
    if (p->n_vocab == n_vocab) return STATUS_OK;
    return FAIL(F_BAD_VALUE, text("vocabularies of %d and %d tokens", n_vocab, p->n_vocab), path,
                "the two programs disagree about the file", "report it with the file");
}

static void peer_logits(peer *p, const int32_t *ids, int n, float *out) {
    llama_memory_clear(llama_get_memory(p->context), true);
    struct llama_batch b = llama_batch_init(n, 0, 1);
    b.n_tokens = n;
    for (int i = 0; i < n; i++) {
        b.token[i] = ids[i];
        b.pos[i] = i;
        b.n_seq_id[i] = 1;
        b.seq_id[i][0] = 0;
        b.logits[i] = 1;
    }
    bool failed = llama_decode(p->context, b) != 0;
    for (int i = 0; i < n && !failed; i++)
        memcpy(out + (size_t)i * p->n_vocab, llama_get_logits_ith(p->context, i),
               (size_t)p->n_vocab * sizeof *out);
    llama_batch_free(b);
}

static status our_logits(model *m, arena *a, const int32_t *ids, int n, float *out) {
    int64_t start[2] = {0, n};
    int32_t position[TOKENS_MOST], first[TOKENS_MOST] = {0};
    for (int i = 0; i < n; i++)
        position[i] = i;
    model_batch b = {
        .layout = {.n = n, .n_sequences = 1, .start = start, .position = position, .first = first},
        .ids = ids,
        .role = ROLE_PROMPT,
        .logit_rows = position,
        .n_logit_rows = n};
    model_result r = {0};
    tape t;
    TRY(tape_init(&t, a, &m->params, (tape_options){0}));
    TRY(model_forward(m, &t, &b, &r));
    memcpy(out, r.logits->value.data, (size_t)n * m->config.vocab_size * sizeof *out);
    arena_reset(a, 0);
    return STATUS_OK;
}

static int most_likely(const float *logits, int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

static double log_sum(const float *logits, int n) {
    double most = logits[most_likely(logits, n)], sum = 0;
    for (int i = 0; i < n; i++)
        sum += exp((double)logits[i] - most);
    return most + log(sum);
}

typedef struct tally {
    long positions, same;
    double divergence, gap, difference;
} tally;

static void compare_rows(const float *ours, const float *theirs, int n, tally *t) {
    double our_sum = log_sum(ours, n), their_sum = log_sum(theirs, n);
    int our_top = most_likely(ours, n), their_top = most_likely(theirs, n);
    for (int i = 0; i < n; i++) {
        double p = (double)theirs[i] - their_sum;
        t->divergence += exp(p) * (p - ((double)ours[i] - our_sum));
        t->difference = fmax(t->difference, fabs((double)ours[i] - (double)theirs[i]));
    }
    t->positions++;
    t->same += our_top == their_top;
    t->gap = fmax(t->gap, (double)theirs[their_top] - (double)theirs[our_top]);
}

static status compare_text(bundle *b, peer *p, arena *a, const char *path, tally *t) {
    char *words;
    size_t n;
    token_list ids = {0};
    TRY(file_read(path, 0, &words, &n));
    TRY(tokenizer_encode(b->tokenizer, words, n, SPECIAL_AS_TEXT, &ids));
    mem_free(words);
    int count = ids.n < TOKENS_MOST ? (int)ids.n : TOKENS_MOST;
    float *ours = mem_alloc((size_t)count * p->n_vocab * sizeof *ours),
          *theirs = mem_zalloc((size_t)count * p->n_vocab, sizeof *theirs);
    if (ours == NULL || theirs == NULL) return STATUS_MEMORY;
    TRY(our_logits(&b->model, a, ids.ids, count, ours));
    peer_logits(p, ids.ids, count, theirs);
    for (int i = 0; i < count; i++)
        compare_rows(ours + (size_t)i * p->n_vocab, theirs + (size_t)i * p->n_vocab, p->n_vocab, t);
    mem_free(ours);
    mem_free(theirs);
    token_list_clear(&ids);
    return STATUS_OK;
}

static status compare_texts(bundle *b, peer *p, arena *a, char **paths, int n, bool *good) {
    tally t = {0};
    for (int i = 0; i < n; i++)
        TRY(compare_text(b, p, a, paths[i], &t));
    double same = 100.0 * (double)t.same / (double)t.positions,
           divergence = t.divergence / (double)t.positions;
    printf("%ld positions: same top token %.2f %%, mean KL %.2e, largest gap %.4f nat, largest "
           "difference of logits %.4f\n",
           t.positions, same, divergence, t.gap, t.difference);
    *good = same >= 98 && divergence <= 1e-3 && t.gap <= 0.1;
    return STATUS_OK;
}

/* -- greedy answers -- */

static const char *const prompts[] = {"The capital of France is",
                                      "Once upon a time",
                                      "Water boils at",
                                      "def add(a, b):",
                                      "The three primary colours are",
                                      "In 1969, humans",
                                      "A recipe for bread:",
                                      "The moon is",
                                      "My favourite book",
                                      "To be or not to be",
                                      "Photosynthesis is the process",
                                      "The largest planet",
                                      "Q: What is 2+2?\nA:",
                                      "Dear Sir,",
                                      "import numpy as np\n",
                                      "The mitochondria",
                                      "Shakespeare wrote",
                                      "How do I tie a knot?",
                                      "Hello there",
                                      "List of fruits: apple,"};
#define PROMPTS (int)(sizeof prompts / sizeof *prompts)

/* How many of the tokens that we choose are llama.cpp's choice, too, up to the first that is not. */
static status follow(session *s, engine *e, peer *p, token_list *ids, int most, float *logits,
                     int *same) {
    llama_memory_clear(llama_get_memory(p->context), true);
    struct llama_batch b = llama_batch_get_one(ids->ids, (int32_t)ids->n);
    int32_t ours = 0;
    session_cut(s, 0);
    TRY(session_prompt(s, ids->ids, ids->n, logits));
    for (*same = 0; *same < most; ++*same) {
        ours = most_likely(logits, p->n_vocab);
        if (llama_decode(p->context, b) != 0) return STATUS_OK;
        if (most_likely(llama_get_logits_ith(p->context, -1), p->n_vocab) != ours) return STATUS_OK;
        session_feed feed = {s, &ours, 1};
        TRY(engine_step(e, &feed, 1, ROLE_GENERATED, logits));
        b = llama_batch_get_one(&ours, 1);
    }
    return STATUS_OK;
}

static status compare_answers(bundle *b, peer *p, int most, bool *good) {
    engine *e;
    session *s;
    int equal = 0;
    float *logits = mem_alloc((size_t)p->n_vocab * sizeof *logits);
    if (logits == NULL) return STATUS_MEMORY;
    TRY(engine_new(&e, &b->model, CONTEXT));
    TRY(session_new(&s, e));
    for (int i = 0; i < PROMPTS; i++) {
        token_list ids = {0};
        int same = 0;
        TRY(tokenizer_encode(b->tokenizer, prompts[i], strlen(prompts[i]), SPECIAL_AS_TEXT, &ids));
        TRY(follow(s, e, p, &ids, most, logits, &same));
        if (same < most) printf("prompt %d: the answers part at token %d\n", i, same);
        equal += same == most;
        token_list_clear(&ids);
    }
    printf("%d of %d answers of %d tokens are equal\n", equal, PROMPTS, most);
    *good = equal == PROMPTS;
    session_free(s);
    engine_free(e);
    mem_free(logits);
    return STATUS_OK;
}

static status compare(int n, char **words, bool *good) {
    bundle b;
    arena a;
    peer p = {0};
    int greedy = strcmp(words[0], "--greedy") == 0 ? (int)strtol(words[1], NULL, 10) : 0;
    const char *path = words[greedy > 0 ? 2 : 0];
    TRY(kernels_init(NULL));
    TRY(pool_start(0));
    TRY(bundle_open(&b, path));
    TRY(arena_init(&a, "compare", (size_t)16 << 30));
    TRY(peer_open(&p, path, (int32_t)b.model.config.vocab_size));
    TRY(greedy > 0 ? compare_answers(&b, &p, greedy, good)
                   : compare_texts(&b, &p, &a, words + 1, n - 1, good));
    llama_free(p.context);
    llama_model_free(p.model);
    arena_clear(&a);
    bundle_close(&b);
    return STATUS_OK;
}

int main(int argc, char **argv) {
    bool good = false;
    if (argc < 3 || (strcmp(argv[1], "--greedy") == 0 && argc != 4)) {
        fputs("usage: llama-cpp FILE.gguf TEXT...\n       llama-cpp --greedy N FILE.gguf\n",
              stderr);
        return 64;
    }
    if (compare(argc - 1, argv + 1, &good) != STATUS_OK) {
        error_print(stderr, error_last());
        return 1;
    }
    return good ? 0 : 1;
}
