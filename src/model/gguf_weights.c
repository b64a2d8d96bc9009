/* gguf_weights.c - masters from and to the tensors of a GGUF file.
 *
 * names.c says which rows of a parameter carry which published name; the table here gives the name
 * of the same rows in GGUF, and what its writers do to them:
 *
 *     rows     as they are
 *     rotary   queries and keys of llama: this architecture rotates neighbours (2i, 2i+1) where the
 *              published weights rotate halves (i, i + hd/2), so rows of each head are dealt out
 *              anew: row 2i + j of the file is row j hd/2 + i. qwen2 and qwen3 rotate halves there
 *              too, deepseek2 neighbours in both: nothing moves
 *     expert   one slice of a tensor that stacks all experts
 *     latent   kv_b in two: attn_k_b holds the key rows of each head transposed, [H, kr, n],
 *              attn_v_b the value rows, [H, v, kr]
 *
 * Loading resolves every name first and compares shapes and types, then decodes: a file that does
 * not fit is refused before a master is touched. Tensors that belong to nothing are named. Those let
 * pass: the factors of frequencies (gguf_config.c), and copies of embedding and head in a block of
 * multi-token prediction, if they are copies byte for byte.
 *
 * Mind: a sigmoid router without exp_probs_b has biases of zero.
 */
#include "model/model_gguf.h"

#include "base/memory.h"
#include "base/pool.h"
#include "base/watch.h"
#include "model/model_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef gguf_place place; /* short here */

static const struct {
    const char *published, *name;
    gguf_place_kind kind;
} names[] = {
    {"input_layernorm.weight", "attn_norm.weight", PLACE_ROWS},
    {"post_attention_layernorm.weight", "ffn_norm.weight", PLACE_ROWS},
    {"self_attn.q_proj.weight", "attn_q.weight", PLACE_ROTARY},
    {"self_attn.k_proj.weight", "attn_k.weight", PLACE_ROTARY},
    {"self_attn.v_proj.weight", "attn_v.weight", PLACE_ROWS},
    {"self_attn.o_proj.weight", "attn_output.weight", PLACE_ROWS},
    {"self_attn.q_proj.bias", "attn_q.bias", PLACE_ROWS},
    {"self_attn.k_proj.bias", "attn_k.bias", PLACE_ROWS},
    {"self_attn.v_proj.bias", "attn_v.bias", PLACE_ROWS},
    {"self_attn.q_norm.weight", "attn_q_norm.weight", PLACE_ROWS},
    {"self_attn.k_norm.weight", "attn_k_norm.weight", PLACE_ROWS},
    {"self_attn.q_a_proj.weight", "attn_q_a.weight", PLACE_ROWS},
    {"self_attn.q_a_layernorm.weight", "attn_q_a_norm.weight", PLACE_ROWS},
    {"self_attn.q_b_proj.weight", "attn_q_b.weight", PLACE_ROWS},
    {"self_attn.kv_a_proj_with_mqa.weight", "attn_kv_a_mqa.weight", PLACE_ROWS},
    {"self_attn.kv_a_layernorm.weight", "attn_kv_a_norm.weight", PLACE_ROWS},
    {"self_attn.kv_b_proj.weight", "attn_k_b.weight", PLACE_LATENT},
    {"mlp.gate_proj.weight", "ffn_gate.weight", PLACE_ROWS},
    {"mlp.up_proj.weight", "ffn_up.weight", PLACE_ROWS},
    {"mlp.down_proj.weight", "ffn_down.weight", PLACE_ROWS},
    {"mlp.gate.weight", "ffn_gate_inp.weight", PLACE_ROWS},
    {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias", PLACE_ROWS},
    {"mlp.shared_experts.gate_proj.weight", "ffn_gate_shexp.weight", PLACE_ROWS},
    {"mlp.shared_experts.up_proj.weight", "ffn_up_shexp.weight", PLACE_ROWS},
    {"mlp.shared_experts.down_proj.weight", "ffn_down_shexp.weight", PLACE_ROWS},
    {"gate_proj.weight", "ffn_gate_exps.weight", PLACE_EXPERT},
    {"up_proj.weight", "ffn_up_exps.weight", PLACE_EXPERT},
    {"down_proj.weight", "ffn_down_exps.weight", PLACE_EXPERT},
    {"enorm.weight", "nextn.enorm.weight", PLACE_ROWS},
    {"hnorm.weight", "nextn.hnorm.weight", PLACE_ROWS},
    {"eh_proj.weight", "nextn.eh_proj.weight", PLACE_ROWS},
    {"shared_head.norm.weight", "nextn.shared_head_norm.weight", PLACE_ROWS},
    {"model.embed_tokens.weight", "token_embd.weight", PLACE_ROWS},
    {"model.norm.weight", "output_norm.weight", PLACE_ROWS},
    {"lm_head.weight", "output.weight", PLACE_ROWS},
};

/* After `prefix` and a number and '.', or NULL. */
static const char *after_number(const char *name, const char *prefix, int64_t *number) {
    size_t n = strlen(prefix);
    if (strncmp(name, prefix, n) != 0) return NULL;
    char *end;
    *number = strtoll(name + n, &end, 10);
    return end > name + n && *end == '.' ? end + 1 : NULL;
}

static status find_place(const model *m, const param *p, const param_view *v, place *out) {
    int64_t layer = -1, expert = -1;
    const char *rest = after_number(v->name, "model.layers.", &layer);
    if (rest == NULL) rest = v->name;
    const char *inner = after_number(rest, "mlp.experts.", &expert);
    if (inner != NULL) rest = inner;
    size_t i = 0, n = sizeof names / sizeof names[0];
    while (i < n && (strcmp(names[i].published, rest) != 0 ||
                     (names[i].kind == PLACE_EXPERT) != (expert >= 0)))
        i++;
    if (i == n)
        return FAIL(F_INTERNAL, text("\"%s\" has no name in GGUF files", v->name), "table of names",
                    "the model has a tensor that the table does not know", "report this as a bug");
    *out = (place){.param = p,
                   .view = v,
                   .first_row = v->first_row,
                   .rows = v->rows,
                   .width = p->rank == 1 ? 1 : p->dim[p->rank - 1],
                   .kind = names[i].kind,
                   .expert = expert,
                   .optional = p->kind == PARAM_STATE};
    bool llama = m->config.family == MODEL_LLAMA && !m->config.qkv_bias && !m->config.qk_norm;
    if (out->kind == PLACE_ROTARY && !llama) out->kind = PLACE_ROWS;
    const char *front = layer >= 0 ? text("blk.%" PRId64 ".", layer) : "";
    snprintf(out->name, sizeof out->name, "%s%s", front, names[i].name);
    if (out->kind == PLACE_LATENT)
        snprintf(out->second, sizeof out->second, "%sattn_v_b.weight", front);
    return STATUS_OK;
}

status model_gguf_places(const model *m, place **out, int *n) {
    size_t count = 0;
    for (int i = 0; i < m->params.n; i++)
        count += (size_t)m->params.all[i]->n_views;
    place *all = mem_zalloc(count, sizeof *all);
    *out = all;
    *n = 0;
    if (all == NULL) return STATUS_MEMORY;
    for (int i = 0; i < m->params.n; i++)
        for (int j = 0; j < m->params.all[i]->n_views; j++)
            TRY(find_place(m, m->params.all[i], &m->params.all[i]->views[j], &all[(*n)++]));
    return STATUS_OK;
}

int gguf_place_shape(const model *m, const place *p, bool second, int64_t dim[3]) {
    const model_config *c = &m->config;
    if (p->kind == PLACE_LATENT) {
        dim[0] = c->n_head;
        dim[1] = second ? c->v_head_dim : c->kv_lora_rank;
        dim[2] = second ? c->kv_lora_rank : c->qk_nope_head_dim;
        return 3;
    }
    int rank = 0;
    if (p->kind == PLACE_EXPERT) dim[rank++] = c->n_expert;
    dim[rank++] = p->rows;
    if (p->param->rank > 1) dim[rank++] = p->width;
    return rank;
}

int64_t gguf_place_row(const model *m, const place *p, int64_t row) {
    if (p->kind != PLACE_ROTARY) return row;
    int64_t width = m->config.head_dim, head = row / width, in = row % width;
    return head * width + in % 2 * (width / 2) + in / 2;
}

/* -- loading: what must be there -- */

static status check_shape(const model *m, const gguf *f, const place *p, bool second,
                          const gguf_tensor *t) {
    int64_t dim[3] = {1, 1, 1};
    int rank = gguf_place_shape(m, p, second, dim);
    bool same = t->rank == rank;
    for (int i = 0; i < rank && same; i++)
        same = t->dim[i] == dim[i];
    tensor found = {.rank = t->rank}, wanted = {.rank = rank};
    memcpy(found.dim, t->dim, sizeof found.dim);
    memcpy(wanted.dim, dim, sizeof dim);
    if (!same)
        return FAIL(F_SHAPE, text("tensor \"%s\" is %s", t->name, tensor_shape_text(&found)),
                    text("%s, byte %zu", gguf_path(f), t->at),
                    text("the keys of the file make it %s", tensor_shape_text(&wanted)),
                    "write the file again with the program it came from");
    return gguf_decode(f, t, 0, 0, NULL); /* is its type known? */
}

static status check_one(const model *m, const gguf *f, const place *p, bool second, bool *used) {
    const char *name = second ? p->second : p->name;
    const gguf_tensor *t = gguf_lookup(f, name);
    if (t == NULL && p->optional) return STATUS_OK;
    if (t == NULL) TRY(gguf_find(f, name, &t)); /* which says that it is missing */
    used[t - gguf_tensor_at(f, 0)] = true;
    return check_shape(m, f, p, second, t);
}

static bool same_bytes(const gguf_tensor *a, const gguf_tensor *b) {
    return b != NULL && a->type == b->type && a->bytes == b->bytes &&
           memcmp(a->data, b->data, a->bytes) == 0;
}

/* A tensor that is no parameter. */
static status check_extra(const model *m, const gguf *f, const gguf_tensor *t) {
    const char *front = text("blk.%" PRId64 ".nextn.", m->config.n_layer);
    const char *in = strncmp(t->name, front, strlen(front)) == 0 ? t->name + strlen(front) : "";
    const gguf_tensor *embedding = gguf_lookup(f, "token_embd.weight");
    const gguf_tensor *head = gguf_lookup(f, m->config.tied ? embedding->name : "output.weight");
    if (strcmp(t->name, "rope_freqs.weight") == 0) return STATUS_OK;
    if (m->config.n_mtp > 0 && strcmp(in, "embed_tokens.weight") == 0 && same_bytes(t, embedding))
        return STATUS_OK;
    if (m->config.n_mtp > 0 && strcmp(in, "shared_head_head.weight") == 0 && same_bytes(t, head))
        return STATUS_OK;
    return FAIL(F_TENSOR_EXTRA, text("the model has no tensor \"%s\"", t->name),
                text("%s, byte %zu", gguf_path(f), t->at),
                "the keys of the file describe a model without it",
                "choose a model of a family computed here without this feature");
}

status model_gguf_check(const model *m, const gguf *f, const place *all, int n) {
    bool *used = mem_zalloc((size_t)gguf_n_tensors(f) + 1, sizeof *used);
    status s = used != NULL ? STATUS_OK : STATUS_MEMORY;
    for (int i = 0; i < n && s == STATUS_OK; i++) {
        s = check_one(m, f, &all[i], false, used);
        if (s == STATUS_OK && all[i].kind == PLACE_LATENT) s = check_one(m, f, &all[i], true, used);
    }
    for (int i = 0; i < gguf_n_tensors(f) && s == STATUS_OK; i++)
        if (!used[i]) s = check_extra(m, f, gguf_tensor_at(f, i));
    mem_free(used);
    return s;
}

/* -- loading: values -- */

/* Row `row` of the place in the masters, as bytes. */
static void *master_row(const model *m, const place *p, int64_t row) {
    size_t element = dtype_size(m->params.dtype);
    return (char *)p->param->master + (size_t)((p->first_row + row) * p->width) * element;
}

static void store(const model *m, void *to, const float *from, int64_t n) {
    double *wide = to;
    if (m->params.dtype == DTYPE_F32)
        memcpy(to, from, (size_t)n * sizeof *from);
    else
        for (int64_t i = 0; i < n; i++)
            wide[i] = (double)from[i];
}

static status load_rows(const model *m, const gguf *f, const place *p, const gguf_tensor *t,
                        float *row) {
    int64_t n = p->rows * p->width, first = p->kind == PLACE_EXPERT ? p->expert * n : 0;
    bool plain = p->kind != PLACE_ROTARY && m->params.dtype == DTYPE_F32;
    if (plain) return gguf_decode(f, t, first, n, master_row(m, p, 0));
    int64_t width = p->param->rank == 1 ? n : p->width;
    for (int64_t i = 0; i * width < n; i++) {
        TRY(gguf_decode(f, t, first + i * width, width, row));
        store(m, master_row(m, p, gguf_place_row(m, p, i)), row, width);
    }
    return STATUS_OK;
}

/* Head h: rows 0..n-1 are columns of attn_k_b, rows n..n+v-1 are rows of attn_v_b. */
static status load_latent(const model *m, const gguf *f, const place *p, float *scratch) {
    const gguf_tensor *k = gguf_lookup(f, p->name), *v = gguf_lookup(f, p->second);
    int64_t n = m->config.qk_nope_head_dim, rows = n + m->config.v_head_dim, kr = p->width;
    float *column = scratch + kr * n;
    for (int64_t h = 0; h < m->config.n_head; h++) {
        TRY(gguf_decode(f, k, h * kr * n, kr * n, scratch));
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j < kr; j++)
                column[j] = scratch[j * n + i];
            store(m, master_row(m, p, h * rows + i), column, kr);
        }
        for (int64_t i = n; i < rows; i++) {
            TRY(gguf_decode(f, v, (h * (rows - n) + i - n) * kr, kr, column));
            store(m, master_row(m, p, h * rows + i), column, kr);
        }
    }
    return STATUS_OK;
}

/* Floats that one place needs at most: a row, a vector, or a head of kv_b and a row. */
static size_t scratch_size(const model *m, const place *all, int n) {
    size_t most = 1;
    for (int i = 0; i < n; i++) {
        const place *p = &all[i];
        int64_t size = p->param->rank == 1 ? p->rows : p->width;
        if (p->kind == PLACE_LATENT) size = p->width * (m->config.qk_nope_head_dim + 1);
        if ((size_t)size > most) most = (size_t)size;
    }
    return most;
}

status model_load_gguf(model *m, const gguf *f) {
    place *all = NULL;
    float *scratch = NULL;
    int n = 0;
    status s;
    TRY_GOTO(s, model_gguf_places(m, &all, &n));
    TRY_GOTO(s, model_gguf_check(m, f, all, n));
    scratch = mem_zalloc(scratch_size(m, all, n), sizeof *scratch);
    if (scratch == NULL) {
        s = STATUS_MEMORY;
        goto done;
    }
    for (int i = 0; i < n; i++) {
        TRY_GOTO(s, watch_tell(i, n));
        const gguf_tensor *t = gguf_lookup(f, all[i].name);
        if (t == NULL) /* optional */
            memset(master_row(m, &all[i], 0), 0,
                   (size_t)(all[i].rows * all[i].width) * dtype_size(m->params.dtype));
        else if (all[i].kind == PLACE_LATENT)
            TRY_GOTO(s, load_latent(m, f, &all[i], scratch));
        else
            TRY_GOTO(s, load_rows(m, f, &all[i], t, scratch));
    }
    param_set_changed(&m->params);
done:
    mem_free(scratch);
    mem_free(all);
    return s;
}

/* -- loading: matrices that live once -- */

/* The places of one parameter, by row. */
typedef struct place_rows {
    const model *m;
    const gguf *f;
    const place *places;
    int n;
    int64_t width;
    size_t size; /* of the numbers that rows are given in */
} place_rows;

static const place *place_of_row(const place_rows *r, int64_t row) {
    int i = 0;
    while (i + 1 < r->n && r->places[i + 1].first_row <= row)
        i++;
    return &r->places[i];
}

/* Row of the file that row `row` of a place is: published_row the other way round. */
static int64_t filed_row(const model *m, const place *p, int64_t row) {
    if (p->kind != PLACE_ROTARY) return row + (p->kind == PLACE_EXPERT ? p->expert * p->rows : 0);
    int64_t width = m->config.head_dim, head = row / width, in = row % width, half = width / 2;
    return head * width + in % half * 2 + in / half;
}

/* A row of kv_b; rows of keys are columns of attn_k_b, of which a head is decoded into `head`. */
static status latent_row(const place_rows *r, const place *p, int64_t row, float *head,
                         int64_t *has, float *to) {
    int64_t n = r->m->config.qk_nope_head_dim, rows = n + r->m->config.v_head_dim, kr = p->width;
    int64_t h = row / rows, in = row % rows;
    if (in >= n)
        return gguf_decode(r->f, gguf_lookup(r->f, p->second), (h * (rows - n) + in - n) * kr, kr,
                           to);
    if (*has != h) TRY(gguf_decode(r->f, gguf_lookup(r->f, p->name), h * kr * n, kr * n, head));
    *has = h;
    for (int64_t j = 0; j < kr; j++)
        to[j] = head[j * n + in];
    return STATUS_OK;
}

static status fetch_latent(const place_rows *r, int64_t first, int n, float *room) {
    arena *scratch = pool_scratch();
    if (scratch == NULL) return STATUS_MEMORY;
    size_t mark = arena_mark(scratch);
    size_t size = (size_t)(r->width * r->m->config.qk_nope_head_dim) * sizeof(float);
    float *head = arena_alloc(scratch, size);
    status s = head != NULL ? STATUS_OK : STATUS_MEMORY;
    int64_t has = -1;
    for (int j = 0; j < n && s == STATUS_OK; j++)
        s = latent_row(r, &r->places[0], first + j, head, &has, room + j * r->width);
    arena_reset(scratch, mark);
    return s;
}

static status fetch_place_rows(void *context, int64_t first, int n, void *room, const void **rows) {
    const place_rows *r = context;
    if (r->places[0].kind == PLACE_LATENT) return fetch_latent(r, first, n, room);
    for (int j = 0; j < n; j++) {
        const place *p = place_of_row(r, first + j);
        const gguf_tensor *t = gguf_lookup(r->f, p->name);
        int64_t at = filed_row(r->m, p, first + j - p->first_row) * r->width;
        if (r->size == sizeof(uint16_t))
            rows[j] = t->data + (size_t)at * sizeof(uint16_t);
        else
            TRY(gguf_decode(r->f, t, at, r->width, (float *)room + j * r->width));
    }
    return STATUS_OK;
}

/* F16 and BF16 stay, F32 too; blocks of integers are decoded and rounded to bf16. */
static gemm_type held_type(const gguf *f, const place *places, int n, size_t *size) {
    bool f16 = true, bf16 = true, any_f32 = false, latent = places[0].kind == PLACE_LATENT;
    for (int i = 0; i < n; i++) {
        uint32_t type = gguf_lookup(f, places[i].name)->type;
        f16 = f16 && type == QUANT_F16;
        bf16 = bf16 && type == QUANT_BF16;
        any_f32 = any_f32 || type == QUANT_F32;
    }
    *size = (f16 || bf16) && !latent ? sizeof(uint16_t) : sizeof(float);
    return any_f32 ? GEMM_F32 : f16 ? GEMM_F32_F16 : GEMM_F32_BF16;
}

static int run_length(const place *all, int n) {
    int run = 1;
    while (run < n && all[run].param == all[0].param)
        run++;
    return run;
}

static status hold_matrix(model *m, const gguf *f, param *p, const place *places, int n) {
    place_rows r = {.m = m, .f = f, .places = places, .n = n, .width = p->dim[p->rank - 1]};
    int64_t out = p->dim[p->rank - 2], all = p->count / r.width;
    TRY(param_hold(&m->params, p, held_type(f, places, n, &r.size)));
    for (int64_t row = 0; row < all; row += out)
        TRY(param_hold_rows(p, row, out, r.size, fetch_place_rows, &r));
    for (int i = 0; i < n; i++) {
        gguf_forget(f, gguf_lookup(f, places[i].name));
        if (places[i].kind == PLACE_LATENT) gguf_forget(f, gguf_lookup(f, places[i].second));
    }
    return STATUS_OK;
}

static status load_small(const model *m, const gguf *f, const place *p, float *scratch) {
    const gguf_tensor *t = gguf_lookup(f, p->name);
    return t != NULL ? load_rows(m, f, p, t, scratch) : STATUS_OK; /* optional: zero */
}

status model_hold_gguf(model *m, const gguf *f) {
    place *all = NULL;
    float *scratch = NULL;
    int n = 0;
    status s;
    TRY_GOTO(s, model_gguf_places(m, &all, &n));
    TRY_GOTO(s, model_gguf_check(m, f, all, n));
    TRY_GOTO(s, param_set_hold(&m->params));
    scratch = mem_zalloc(scratch_size(m, all, n), sizeof *scratch);
    if (scratch == NULL) s = STATUS_MEMORY;
    for (int i = 0, k = 0, run; i < n && s == STATUS_OK; i += run, k++) {
        run = run_length(all + i, n - i);
        TRY_GOTO(s, watch_tell(i, n));
        if (param_is_held(all[i].param))
            s = hold_matrix(m, f, m->params.all[k], all + i, run);
        else
            for (int j = i; j < i + run && s == STATUS_OK; j++)
                s = load_small(m, f, &all[j], scratch);
    }
done:
    mem_free(scratch);
    mem_free(all);
    return s;
}

int64_t model_held_bytes_gguf(const model *m, const gguf *f) {
    place *all = NULL;
    int n = 0;
    int64_t bytes = 0;
    if (model_gguf_places(m, &all, &n) == STATUS_OK && model_gguf_check(m, f, all, n) == STATUS_OK)
        for (int i = 0, run; i < n; i += run) {
            const param *p = all[i].param;
            size_t size;
            run = run_length(all + i, n - i);
            bytes += param_held_bytes(p, param_is_held(p) ? held_type(f, all + i, run, &size)
                                                          : GEMM_F32);
        }
    mem_free(all);
    return bytes > 0 ? bytes : m->params.count * (int64_t)sizeof(float);
}

/* -- writing -- */

typedef struct output {
    gguf_writer *w;
    const model *m;
    float *floats;   /* scratch_size */
    uint16_t *words; /* as many */
} output;

/* They decide much and weigh nothing. */
bool gguf_place_small(const gguf_place *p) {
    return !param_is_held(p->param);
}

static uint32_t type_of(const place *p, uint32_t type) {
    return gguf_place_small(p) ? QUANT_F32 : type;
}

static void put_floats(const output *o, const float *from, int64_t n, uint32_t type) {
    if (type == QUANT_F32) {
        gguf_put_data(o->w, from, (size_t)n * sizeof *from);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        o->words[i] = type == QUANT_F16 ? f32_to_f16(from[i]) : f32_to_bf16(from[i]);
    gguf_put_data(o->w, o->words, (size_t)n * sizeof *o->words);
}

/* n elements of a row of the masters, as f32. */
static const float *fetch(const output *o, const void *row, int64_t n) {
    if (o->m->params.dtype == DTYPE_F32) return row;
    for (int64_t i = 0; i < n; i++)
        o->floats[i] = (float)((const double *)row)[i];
    return o->floats;
}

static void put_rows(const output *o, const place *p, uint32_t type) {
    int64_t width = p->param->rank == 1 ? p->rows : p->width;
    int64_t rows = p->param->rank == 1 ? 1 : p->rows;
    int64_t experts = p->kind == PLACE_EXPERT ? o->m->config.n_expert : 1;
    for (int64_t e = 0; e < experts; e++)
        for (int64_t i = 0; i < rows; i++) {
            int64_t row = gguf_place_row(o->m, p, i) + e * p->param->dim[1];
            put_floats(o, fetch(o, master_row(o->m, p, row), width), width, type);
        }
}

static void put_latent(const output *o, const place *p, bool values, uint32_t type) {
    int64_t n = o->m->config.qk_nope_head_dim, rows = n + o->m->config.v_head_dim, kr = p->width;
    for (int64_t h = 0; h < o->m->config.n_head; h++) {
        for (int64_t i = n; values && i < rows; i++)
            put_floats(o, fetch(o, master_row(o->m, p, h * rows + i), kr), kr, type);
        for (int64_t j = 0; !values && j < kr; j++) {
            for (int64_t i = 0; i < n; i++) {
                const void *row = master_row(o->m, p, h * rows + i);
                o->floats[i] = o->m->params.dtype == DTYPE_F32 ? ((const float *)row)[j]
                                                               : (float)((const double *)row)[j];
            }
            put_floats(o, o->floats, n, type);
        }
    }
}

/* Experts after the first are in the tensor of the first. */
static bool has_tensor(const place *p) {
    return p->kind != PLACE_EXPERT || p->expert == 0;
}

static void put_directory(const output *o, const place *all, int n, uint32_t type) {
    int64_t dim[3];
    for (int i = 0; i < n; i++) {
        if (!has_tensor(&all[i])) continue;
        int rank = gguf_place_shape(o->m, &all[i], false, dim);
        gguf_put_tensor(o->w, all[i].name, type_of(&all[i], type), rank, dim);
        if (all[i].kind != PLACE_LATENT) continue;
        rank = gguf_place_shape(o->m, &all[i], true, dim);
        gguf_put_tensor(o->w, all[i].second, type_of(&all[i], type), rank, dim);
    }
}

int64_t model_gguf_factors(const model *m, float out[GGUF_FACTORS]) {
    model_config plain = m->config;
    int64_t n = m->rope.dim / 2;
    double frequency[GGUF_FACTORS];
    model_rope rope = {.dim = m->rope.dim, .frequency = frequency};
    if (m->config.rope.kind != ROPE_LLAMA3 || n > GGUF_FACTORS) return 0;
    plain.rope = (rope_scaling){0};
    model_rope_fill(&plain, &rope);
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)(frequency[i] / m->rope.frequency[i]);
    return n;
}

status model_put_gguf_tensors(gguf_writer *w, const model *m, uint32_t type) {
    place *all = NULL;
    float factors[GGUF_FACTORS];
    int n = 0;
    output o = {.w = w, .m = m};
    status s;
    TRY_GOTO(s, model_gguf_places(m, &all, &n));
    size_t size = scratch_size(m, all, n);
    o.floats = mem_zalloc(size, sizeof *o.floats);
    o.words = mem_zalloc(size, sizeof *o.words);
    if (o.floats == NULL || o.words == NULL) {
        s = STATUS_MEMORY;
        goto done;
    }
    int64_t n_factors = model_gguf_factors(m, factors);
    put_directory(&o, all, n, type);
    if (n_factors > 0) gguf_put_tensor(w, "rope_freqs.weight", QUANT_F32, 1, &n_factors);
    for (int i = 0; i < n; i++) {
        uint32_t stored = type_of(&all[i], type);
        if (!has_tensor(&all[i])) continue;
        if (all[i].kind == PLACE_LATENT) {
            put_latent(&o, &all[i], false, stored);
            put_latent(&o, &all[i], true, stored);
        } else {
            put_rows(&o, &all[i], stored);
        }
    }
    if (n_factors > 0) gguf_put_data(w, factors, (size_t)n_factors * sizeof *factors);
done:
    mem_free(o.floats);
    mem_free(o.words);
    mem_free(all);
    return s;
}
