/* convert_verify.c - what was written is opened like a foreign model and compared with its input.
 *
 *     tensors   the list is the planned one, and every row is, byte for byte, what the input gives for it
 *     words     the ids of sample text in several scripts, with and without special tokens; a conversation
 *               rendered by the template
 *     numbers   both models are loaded by their own loaders, one after the other, and must give the same
 *               logits, to the bit, on a fixed prompt, and the same 64 greedy tokens. Where the conversion
 *               rounds (F32 to BF16), the weights of the input are rounded first, in memory
 *
 * The second and third do not share code with the writer: a recipe that puts a row in the wrong place
 * passes the first and fails there.
 *
 * Mind: the third needs the model in memory, in f32. One that does not fit is written all the same, and
 * the report says that its logits were not compared.
 */
#include "convert/convert_internal.h"

#include "base/clock.h"
#include "base/json.h"
#include "tensor/tensor.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MOST_PROMPT  48
#define MOST_GREEDY  64
#define FORGET_BYTES ((size_t)1 << 20) /* of the output, as it is compared */

static status differs(const convert_job *j, const char *what, const char *why) {
    return FAIL(F_CONVERT, what, j->out, why,
                "nothing was left there; report this with the kind of model and the command");
}

/* -- tensors -- */

/* Where tensor t is in the output; its type, shape and length are as planned. */
static status find_written(const convert_job *j, const convert_input *back, const recipe *t,
                           const uint8_t **data) {
    const char *name = back->file != NULL ? t->name : recipe_file_name(t);
    size_t bytes = 0;
    bool there = false;
    if (back->file != NULL) {
        const gguf_tensor *g = gguf_lookup(back->file, name);
        there = g != NULL && g->type == t->type && g->rank == t->rank &&
                memcmp(g->dim, t->dim, (size_t)t->rank * sizeof *t->dim) == 0;
        if (there) *data = g->data, bytes = g->bytes;
    } else {
        const safetensors_entry *e = safetensors_lookup(back->folder, name);
        there = e != NULL && e->rank == t->rank;
        for (int i = 0; there && i + 1 < t->rank; i++)
            there = e->dim[i] == t->dim[i];
        if (there) *data = e->data, bytes = e->bytes;
    }
    if (there && bytes == recipe_bytes(t)) return STATUS_OK;
    return differs(j, text("tensor \"%s\" was written otherwise", name),
                   "it is missing, or has another type or shape than planned");
}

static status compare_tensor(convert_job *j, const convert_input *back, const recipe *t,
                             row_room *r) {
    const uint8_t *written = NULL, *wanted;
    int64_t n;
    size_t at = 0, forgotten = 0;
    TRY(find_written(j, back, t, &written));
    for (int64_t row = 0; row < t->rows && t->width > 0; row += n) {
        TRY(recipe_rows(&j->plan, t, row, r, &wanted, &n));
        size_t size = (size_t)n * quant_bytes(t->type, t->width);
        if (memcmp(written + at, wanted, size) != 0)
            return differs(j, text("row %" PRId64 " of tensor \"%s\" differs", row, t->name),
                           "it was read back with other bytes than the input has");
        at += size;
        if (at - forgotten >= FORGET_BYTES) {
            mapped_forget(written + forgotten, at - forgotten);
            forgotten = at;
        }
        TRY(convert_step(j, size));
    }
    recipe_forget(t);
    mapped_forget(written, at);
    return STATUS_OK;
}

static status compare_tensors(convert_job *j, const convert_input *back) {
    row_room r;
    int n = back->file != NULL ? gguf_n_tensors(back->file) : safetensors_count(back->folder);
    if (n != j->plan.n)
        return differs(j, text("%d tensors were written, %d were planned", n, j->plan.n),
                       "the list of tensors is another one");
    TRY(row_room_make(&r, &j->plan));
    status s = STATUS_OK;
    for (int i = 0; i < j->plan.n && s == STATUS_OK; i++)
        s = compare_tensor(j, back, &j->plan.all[i], &r);
    row_room_clear(&r);
    return s;
}

/* -- words -- */

static const char *const samples[] = {
    "The quick brown fox jumps over the lazy dog. It's 3.14159, isn't it?\n\n",
    "  def f(x):\n\treturn x**2  # comment\r\n",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich; ¿qué pasó?",
    "Съешь же ещё этих мягких французских булок. Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.",
    "我能吞下玻璃而不伤身体。いろはにほへと ちりぬるを 키스의 고유조건은",
    "نص حكيم له سر قاطع וואו नमस्ते 👩‍👩‍👧‍👦 "
    "e\xCC\x81 "
    "\xEF\xBB\xBF",
    "<|im_start|>user\n<think></s><｜User｜><|begin_of_text|><|endoftext|>",
    "12345678901234567890 a\xC2\xA0"
    "b    c",
};

static status compare_ids(convert_job *j, const tokenizer *a, const tokenizer *b,
                          const char *sample, special_mode mode) {
    token_list x = {0}, y = {0};
    status s = tokenizer_encode(a, sample, strlen(sample), mode, &x);
    if (s == STATUS_OK) s = tokenizer_encode(b, sample, strlen(sample), mode, &y);
    if (s == STATUS_OK && (x.n != y.n || memcmp(x.ids, y.ids, x.n * sizeof *x.ids) != 0))
        s = differs(j, text("\"%.60s\" becomes other ids", sample),
                    "the tokenizer was written in a form that reads back as another one");
    j->report->ids += (int64_t)x.n;
    token_list_clear(&x);
    token_list_clear(&y);
    return s;
}

static status compare_template(convert_job *j, const chat_format *a, const chat_format *b) {
    template_output x = {0}, y = {0};
    if (a == NULL && b == NULL) return STATUS_OK;
    if (a == NULL || b == NULL)
        return differs(j, "the chat template is lost", "one side has a template, the other none");
    json_t *messages = json_pack("[{s:s, s:s}, {s:s, s:s}, {s:s, s:s}]", "role", "user", "content",
                                 "Hello <|im_end|>", "role", "assistant", "content", "Hi!", "role",
                                 "user", "content", "What is 2 + 2?");
    if (messages == NULL)
        return FAIL(F_NO_MEMORY, "cannot build a conversation", "verification", "memory ran out",
                    "close other programs");
    const chat_prompt p = {.messages = messages, .add_generation_prompt = true, .now = 1700000000};
    status first = chat_render(a, &p, &x), s = first;
    if (first == STATUS_OK) s = chat_render(b, &p, &y);
    if (s == STATUS_OK && (x.n != y.n || memcmp(x.text, y.text, x.n) != 0))
        s = differs(j, "a conversation is rendered otherwise",
                    "the template, or the names of BOS and EOS in it, changed");
    template_output_clear(&x);
    template_output_clear(&y);
    json_decref(messages);
    j->report->template_there = s == STATUS_OK;
    return s;
}

static status compare_words(convert_job *j, const convert_input *back) {
    const bundle *a = &j->plan.in->words, *b = &back->words;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        TRY(compare_ids(j, a->tokenizer, b->tokenizer, samples[i], SPECIAL_AS_TEXT));
        TRY(compare_ids(j, a->tokenizer, b->tokenizer, samples[i], SPECIAL_PARSE));
    }
    return compare_template(j, a->chat, b->chat);
}

/* -- numbers -- */

typedef struct answer {
    float *logits;
    int32_t greedy[MOST_GREEDY];
} answer;

static void round_rows(float *at, int64_t n, uint32_t type) {
    for (int64_t i = 0; i < n; i++)
        if (type == QUANT_F16)
            at[i] = f16_to_f32(f32_to_f16(at[i]));
        else if (type == QUANT_BF16)
            at[i] = bf16_to_f32(f32_to_bf16(at[i]));
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const recipe *const *)a)->name, (*(const recipe *const *)b)->name);
}

typedef struct by_names {
    const recipe **all;
    int n;
} by_names;

/* Type to which the tensor of this name is rounded; F32 if it is not. */
static uint32_t rounded_to(const by_names *names, const char *name) {
    const recipe key = {.name = name}, *at = &key;
    const recipe **found = bsearch(&at, names->all, (size_t)names->n, sizeof *names->all, by_name);
    return found != NULL && recipe_rounds(*found) ? (*found)->type : QUANT_F32;
}

static void round_place(const recipes *p, const by_names *names, const gguf_place *place,
                        float *at) {
    bool file = p->o->form == CONVERT_GGUF;
    uint32_t type = rounded_to(names, file ? place->name : place->view->name), second = type;
    if (file && place->kind == PLACE_LATENT) second = rounded_to(names, place->second);
    if (!file && place->kind == PLACE_EXPERT && type == QUANT_F32)
        type = second = rounded_to(names, text("%s_proj", place->param->name));
    const model_config *c = &p->in->m.config;
    int64_t keys = c->qk_nope_head_dim, head = keys + c->v_head_dim;
    for (int64_t row = 0; row < place->rows; row++) {
        bool value = place->kind == PLACE_LATENT && row % head >= keys;
        round_rows(at + row * place->width, place->width, value ? second : type);
    }
}

/* What the conversion does to the weights, done to those in memory. */
static status round_masters(const recipes *p, model *m) {
    by_names names = {mem_zalloc((size_t)p->n + 1, sizeof *names.all), p->n};
    if (names.all == NULL) return STATUS_MEMORY;
    for (int i = 0; i < p->n; i++)
        names.all[i] = &p->all[i];
    qsort(names.all, (size_t)p->n, sizeof *names.all, by_name);
    for (int i = 0; i < p->in->n_places; i++) {
        const gguf_place *place = &p->in->places[i];
        float *at =
            (float *)m->params.master + place->param->offset + place->first_row * place->width;
        round_place(p, &names, place, at);
    }
    mem_free(names.all);
    param_set_changed(&m->params);
    return STATUS_OK;
}

static status ask(bundle *b, const token_list *ids, const convert_report *r, answer *out) {
    engine *e = NULL;
    session *one = NULL;
    int64_t vocab = b->model.config.vocab_size;
    float *logits = mem_zalloc((size_t)vocab, sizeof *logits);
    status s;
    out->logits = mem_zalloc((size_t)vocab, sizeof *logits);
    if (logits == NULL || out->logits == NULL) {
        s = STATUS_MEMORY;
        goto done;
    }
    TRY_GOTO(s, engine_new(&e, &b->model, r->n_prompt + r->n_greedy));
    TRY_GOTO(s, session_new(&one, e));
    TRY_GOTO(s, session_prompt(one, ids->ids, r->n_prompt, logits));
    memcpy(out->logits, logits, (size_t)vocab * sizeof *logits);
    for (int i = 0; i < r->n_greedy; i++) {
        token_logprob likeliest;
        logits_top(logits, vocab, &likeliest, 1);
        out->greedy[i] = likeliest.id;
        const session_feed feed = {one, &out->greedy[i], 1};
        TRY_GOTO(s, engine_step(e, &feed, 1, ROLE_GENERATED, logits));
        TRY_GOTO(s, interrupt_status("the conversion is being verified", "start it again"));
    }
done:
    mem_free(logits);
    session_free(one);
    engine_free(e);
    return s;
}

static status answer_of(const char *path, const recipes *rounding, const token_list *ids,
                        const convert_report *r, answer *out) {
    bundle b;
    TRY(bundle_open_masters(&b, path));
    status s = rounding != NULL ? round_masters(rounding, &b.model) : STATUS_OK;
    if (s == STATUS_OK) s = ask(&b, ids, r, out);
    bundle_close(&b);
    return s;
}

static status compare_answers(convert_job *j, const token_list *ids, answer *a, answer *b) {
    convert_report *r = j->report;
    TRY(answer_of(j->plan.in->path, &j->plan, ids, r, a));
    TRY(answer_of(j->made, NULL, ids, r, b));
    int64_t vocab = j->plan.in->m.config.vocab_size;
    for (int64_t i = 0; i < vocab; i++)
        if (memcmp(&a->logits[i], &b->logits[i], sizeof(float)) != 0)
            return differs(j,
                           text("the logit of token %" PRId64 " is %.9g, not %.9g", i,
                                (double)b->logits[i], (double)a->logits[i]),
                           "the model that was written computes something else");
    if (memcmp(a->greedy, b->greedy, (size_t)r->n_greedy * sizeof *a->greedy) != 0)
        return differs(j, "greedy text differs",
                       "the model that was written computes something else");
    r->logits_compared = true;
    return STATUS_OK;
}

static status compare_numbers(convert_job *j) {
    const model *m = &j->plan.in->m;
    int64_t needed = model_bytes(m), room = memory_available(), context = m->config.max_position;
    token_list ids = {0};
    answer a = {0}, b = {0};
    if (needed > room - room / 8) {
        convert_note(j->report,
                     "LOGITS NOT COMPARED: the model takes %.1f GB in memory, there are %.1f GB; "
                     "tensors and words were",
                     (double)needed / 1e9, (double)room / 1e9);
        return STATUS_OK;
    }
    status s = tokenizer_encode(j->plan.in->words.tokenizer, samples[0], strlen(samples[0]),
                                SPECIAL_AS_TEXT, &ids);
    if (s == STATUS_OK) {
        int64_t prompt = (int64_t)ids.n < MOST_PROMPT ? (int64_t)ids.n : MOST_PROMPT;
        if (prompt > context / 2) prompt = context / 2;
        int64_t greedy = context - prompt < MOST_GREEDY ? context - prompt : MOST_GREEDY;
        j->report->n_prompt = (int)prompt;
        j->report->n_greedy = (int)greedy;
        s = prompt > 0 ? compare_answers(j, &ids, &a, &b) : STATUS_OK;
    }
    token_list_clear(&ids);
    mem_free(a.logits);
    mem_free(b.logits);
    return s;
}

/* -- the whole -- */

status convert_verify(convert_job *j) {
    convert_input back;
    TRY(error_context(convert_input_open(&back, j->made), "what was written, read back"));
    status s = compare_tensors(j, &back);
    j->report->peak = memory_peak_rss();
    if (s == STATUS_OK) s = compare_words(j, &back);
    convert_input_close(&back);
    if (s == STATUS_OK && !j->plan.o->no_logits) s = compare_numbers(j);
    return s;
}
