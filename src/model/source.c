/* source.c - where the numbers of each named row lie in files, and reading them as f32.
 *
 * A part is a tensor that the model has: some rows of a parameter under a published name. Its source is
 * found in one of five forms:
 *
 *     its own tensor      F32, F16 or BF16
 *     with block scales   F8_E4M3 [out, in] beside "<name>_scale_inv" F32 [ceil(out / 128),
 *                         ceil(in / 128)]: value = code * scale of its block; blocks at the edges are cut
 *     in blocks           "<name>.Q4_K", U8 [rows, bytes of a row]: the blocks of a GGUF file (quant.h)
 *     kv_b in two         keys [H, kr, n] and values [H, v, kr], in blocks or not, as deepseek2 files
 *                         have them: blocks that run along n cannot be turned into rows of kr
 *     fused experts       rows of "...experts.gate_up_proj" [E, 2 fe, d] or "...experts.down_proj"
 *                         [E, d, fe], which is the parameter as it stands here
 *
 * Then every tensor of the file must have been asked for by some part, so that nothing missing, extra or
 * misshapen goes unnamed, before any number is read. Three kinds are no parameters and are let pass:
 *   - the MTP layer's embed_tokens and shared_head.head, and lm_head beside a tied embedding, as long as
 *     they are, byte for byte, the matrix they repeat (anything else is another model);
 *   - rotary_emb.inv_freq, a table that follows from the configuration;
 *   - the scales of F8_E4M3 tensors.
 *
 * Mind: numbers are read where they lie in the mapping, aligned or not; nothing is copied but rows.
 */
#include "model/source.h"

#include "base/ending.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FP8_BLOCK 128

/* -- parts -- */

int64_t part_width(const model_part *p) {
    return p->param->rank == 1 ? 1 : p->param->dim[p->param->rank - 1];
}

int64_t part_first(const model_part *p) {
    return p->view->first_row * part_width(p);
}

int64_t part_count(const model_part *p) {
    return p->view->rows * part_width(p);
}

tensor part_tensor(const model_part *p, void *data, dtype type) {
    if (p->param->rank == 1) return tensor_1d(data, type, p->view->rows);
    return tensor_2d(data, type, p->view->rows, part_width(p));
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const model_part *)a)->view->name, ((const model_part *)b)->view->name);
}

status model_parts(const model *m, model_part **out, int *n) {
    size_t count = 0;
    for (int i = 0; i < m->params.n; i++)
        count += (size_t)m->params.all[i]->n_views;
    model_part *parts = mem_zalloc(count, sizeof *parts);
    *out = parts;
    *n = 0;
    if (parts == NULL) return STATUS_MEMORY;
    for (int i = 0; i < m->params.n; i++)
        for (int j = 0; j < m->params.all[i]->n_views; j++)
            parts[(*n)++] =
                (model_part){.param = m->params.all[i], .view = &m->params.all[i]->views[j]};
    qsort(parts, count, sizeof *parts, by_name);
    return STATUS_OK;
}

/* -- finding -- */

static status wrong_shape(const safetensors_entry *e, const char *wanted, const char *path) {
    char dims[256] = "";
    size_t at = 0;
    for (int i = 0; i < e->rank && at < sizeof dims; i++)
        at += (size_t)snprintf(dims + at, sizeof dims - at, "%s%" PRId64, i > 0 ? ", " : "",
                               e->dim[i]);
    return FAIL(F_SHAPE, text("tensor \"%s\" is [%s]", e->name, dims), path,
                text("the configuration makes it %s", wanted),
                "keep weights together with their own config.json");
}

static bool has_shape(const safetensors_entry *e, int rank, const int64_t *dim) {
    return e->rank == rank && memcmp(e->dim, dim, (size_t)rank * sizeof *dim) == 0;
}

/* Scales beside F8_E4M3 codes. */
static status find_scale(safetensors *f, weight_source *s, const char *path) {
    const safetensors_entry *e = s->entry;
    const char *name = text("%.900s_scale_inv", e->name);
    const safetensors_entry *scale = safetensors_lookup(f, name);
    if (scale == NULL)
        return FAIL(F_TENSOR_MISSING, text("tensor \"%s\" is missing", name), path,
                    text("\"%s\" holds F8_E4M3 codes, which mean nothing without scales", e->name),
                    "fetch the model again, with all its files");
    int64_t rows = e->rank == 2 ? e->dim[0] : 1, columns = e->rank > 0 ? e->dim[e->rank - 1] : 1;
    int64_t blocks[2] = {(rows + FP8_BLOCK - 1) / FP8_BLOCK, (columns + FP8_BLOCK - 1) / FP8_BLOCK};
    if (e->rank != 2)
        return FAIL(F_SAFETENSORS_DTYPE,
                    text("tensor \"%s\" of rank %d holds F8_E4M3", e->name, e->rank), path,
                    "block scales belong to matrices", "use a copy of the model in BF16");
    if (!has_shape(scale, 2, blocks))
        return wrong_shape(scale, text("[%" PRId64 ", %" PRId64 "]", blocks[0], blocks[1]), path);
    if (strcmp(scale->dtype, "F32") != 0)
        return FAIL(F_SAFETENSORS_DTYPE, text("tensor \"%s\" holds %s", name, scale->dtype), path,
                    "block scales are read from F32", "use a copy of the model in BF16");
    s->scale = scale;
    return STATUS_OK;
}

static bool plain_type(dtype type, uint32_t *out) {
    *out = type == DTYPE_F16 ? QUANT_F16 : type == DTYPE_BF16 ? QUANT_BF16 : QUANT_F32;
    return type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16;
}

static status check_type(safetensors *f, weight_source *s, const char *path) {
    const safetensors_entry *e = s->entry;
    bool known = dtype_find(e->dtype, &s->type);
    s->blocks = QUANT_F32;
    if (known && s->type == DTYPE_F8_E4M3) return find_scale(f, s, path);
    if (known && plain_type(s->type, &s->blocks)) return STATUS_OK;
    return FAIL(F_SAFETENSORS_DTYPE, text("tensor \"%s\" holds %s", e->name, e->dtype), path,
                "weights are read from F32, F16, BF16, or F8_E4M3 with block scales",
                "convert the file to one of these types");
}

/* The name under which newer files hold all experts of a layer at once; "" if there is none. */
static const char *fused_name(const param *p) {
    return p->rank == 3 ? text("%s_proj", p->name) : "";
}

const char *source_block_name(const char *name, uint32_t type) {
    return text("%.900s.%s", name, quant_name(type));
}

const char *source_latent_name(const char *name, bool values) {
    const char *end = strstr(name, "kv_b_proj");
    if (end == NULL) return "";
    return text("%.*s%s%s", (int)(end - name), name, values ? "v_b" : "k_b", end + strlen("kv_b"));
}

/* `name` in blocks of any type that can be decoded; NULL. */
static const safetensors_entry *find_blocks(const safetensors *f, const char *name,
                                            uint32_t *type) {
    for (*type = 0; *type < QUANT_LIMIT; ++*type) {
        if (quant_block(*type) <= 1 || !quant_can_decode(*type)) continue;
        const safetensors_entry *e = safetensors_lookup(f, source_block_name(name, *type));
        if (e != NULL) return e;
    }
    return NULL;
}

/* U8 [rows..., bytes of a row]. */
static status check_blocks(const safetensors_entry *e, uint32_t type, int rank, const int64_t *dim,
                           const char *path) {
    int64_t bytes[3] = {1, 1, 1}, width = dim[rank - 1];
    memcpy(bytes, dim, (size_t)rank * sizeof *dim);
    bytes[rank - 1] = (int64_t)quant_bytes(type, width);
    tensor wanted = {.rank = rank};
    memcpy(wanted.dim, bytes, sizeof bytes);
    if (strcmp(e->dtype, "U8") != 0 || width % quant_block(type) != 0)
        return FAIL(F_SAFETENSORS_DTYPE, text("tensor \"%s\" holds %s", e->name, e->dtype), path,
                    text("blocks of %s are kept as bytes, and rows of %" PRId64
                         " elements must be whole blocks",
                         quant_name(type), width),
                    "convert the model again");
    return has_shape(e, rank, bytes) ? STATUS_OK : wrong_shape(e, tensor_shape_text(&wanted), path);
}

/* One half of kv_b: in its own type or in blocks. */
static status find_half(safetensors *f, const char *name, const int64_t *dim, const char *path,
                        const safetensors_entry **entry, uint32_t *type) {
    tensor none, wanted = {.rank = 3};
    dtype plain;
    memcpy(wanted.dim, dim, 3 * sizeof *dim);
    if ((*entry = find_blocks(f, name, type)) != NULL)
        return check_blocks(*entry, *type, 3, dim, path);
    if ((*entry = safetensors_lookup(f, name)) == NULL) return safetensors_find(f, name, &none);
    if (!dtype_find((*entry)->dtype, &plain) || !plain_type(plain, type))
        return FAIL(F_SAFETENSORS_DTYPE, text("tensor \"%s\" holds %s", name, (*entry)->dtype),
                    path, "weights are read from F32, F16, BF16 or blocks",
                    "convert the model again");
    return has_shape(*entry, 3, dim) ? STATUS_OK
                                     : wrong_shape(*entry, tensor_shape_text(&wanted), path);
}

static bool is_latent(const safetensors *f, const char *name) {
    uint32_t type;
    const char *keys = source_latent_name(name, false);
    return keys[0] != '\0' &&
           (safetensors_lookup(f, keys) != NULL || find_blocks(f, keys, &type) != NULL);
}

static status find_latent(const model *m, safetensors *f, model_part *p, const char *path) {
    const model_config *c = &m->config;
    weight_source *s = &p->source;
    int64_t keys[3] = {c->n_head, s->width, c->qk_nope_head_dim};
    int64_t values[3] = {c->n_head, c->v_head_dim, s->width};
    s->n_key = c->qk_nope_head_dim;
    s->n_value = c->v_head_dim;
    s->type = DTYPE_U8;
    TRY(find_half(f, source_latent_name(p->view->name, false), keys, path, &s->entry, &s->blocks));
    return find_half(f, source_latent_name(p->view->name, true), values, path, &s->values,
                     &s->value_blocks);
}

static status find_source(const model *m, safetensors *f, model_part *p, const char *path) {
    weight_source *s = &p->source;
    const safetensors_entry *fused = safetensors_lookup(f, fused_name(p->param));
    s->entry = safetensors_lookup(f, p->view->name);
    s->width = part_width(p);
    if (s->entry == NULL && fused != NULL) {
        if (!has_shape(fused, 3, p->param->dim))
            return wrong_shape(fused,
                               text("[%" PRId64 ", %" PRId64 ", %" PRId64 "]", p->param->dim[0],
                                    p->param->dim[1], p->param->dim[2]),
                               path);
        s->entry = fused;
        s->first = part_first(p);
        return check_type(f, s, path);
    }
    tensor wanted = part_tensor(p, NULL, DTYPE_F32);
    if (s->entry == NULL && (s->entry = find_blocks(f, p->view->name, &s->blocks)) != NULL) {
        s->type = DTYPE_U8;
        return check_blocks(s->entry, s->blocks, wanted.rank, wanted.dim, path);
    }
    if (s->entry == NULL && is_latent(f, p->view->name)) return find_latent(m, f, p, path);
    if (s->entry == NULL) {
        tensor none;
        return safetensors_find(f, p->view->name, &none); /* says that it is missing */
    }
    if (!has_shape(s->entry, wanted.rank, wanted.dim))
        return wrong_shape(s->entry, tensor_shape_text(&wanted), path);
    return check_type(f, s, path);
}

/* -- what nobody asked for -- */

/* The name of the matrix that `name` repeats in files of this model, NULL if none. */
static const char *repeats(const model *m, const char *name) {
    const char *head = m->config.tied ? "model.embed_tokens.weight" : "lm_head.weight";
    if (m->config.tied && strcmp(name, "lm_head.weight") == 0) return head;
    if (m->config.n_mtp == 0) return NULL;
    const char *layer = text("model.layers.%" PRId64 ".", m->config.n_layer);
    size_t prefix = strlen(layer);
    if (strncmp(name, layer, prefix) != 0) return NULL;
    if (strcmp(name + prefix, "embed_tokens.weight") == 0) return "model.embed_tokens.weight";
    if (strcmp(name + prefix, "shared_head.head.weight") == 0) return head;
    return NULL;
}

/* Scales of a tensor that a part reads. */
static bool is_used_scale(const safetensors *f, const model_part *parts, int n, const char *name) {
    const char *end = "_scale_inv";
    size_t length = strlen(name), cut = strlen(end);
    if (!ends_with(name, end)) return false;
    const char *of = text("%.*s", (int)(length - cut), name);
    const param_view view = {.name = of};
    const model_part key = {.view = &view};
    const model_part *p = bsearch(&key, parts, (size_t)n, sizeof *parts, by_name);
    return p != NULL && p->source.scale == safetensors_lookup(f, name);
}

/* Fused experts, blocks, and kv_b in two have names of their own. */
static bool is_used_otherwise(const model_part *parts, int n, const safetensors_entry *e) {
    bool latent = strstr(e->name, "k_b_proj") != NULL || strstr(e->name, "v_b_proj") != NULL;
    if (!ends_with(e->name, "_proj") && strcmp(e->dtype, "U8") != 0 && !latent) return false;
    for (int i = 0; i < n; i++)
        if (parts[i].source.entry == e || parts[i].source.values == e) return true;
    return false;
}

static status check_extra(const model *m, const safetensors *f, const safetensors_entry *extra,
                          const char *path) {
    if (ends_with(extra->name, ".rotary_emb.inv_freq")) return STATUS_OK;
    const char *of = repeats(m, extra->name);
    if (of == NULL)
        return FAIL(F_TENSOR_EXTRA, text("the model has no tensor \"%s\"", extra->name), path,
                    "its config.json describes a model without it",
                    "keep weights together with their own config.json");
    const safetensors_entry *original = safetensors_lookup(f, of);
    if (original != NULL && original->bytes == extra->bytes &&
        strcmp(original->dtype, extra->dtype) == 0 &&
        memcmp(original->data, extra->data, extra->bytes) == 0)
        return STATUS_OK;
    return FAIL(F_TENSOR_EXTRA, text("\"%s\" differs from \"%s\"", extra->name, of), path,
                "this model shares one matrix between both", "choose a model that shares them too");
}

/* Walks the sorted lists of tensors and of parts side by side. */
static status check_extras(const model *m, const safetensors *f, const model_part *parts, int n,
                           const char *path) {
    int i = 0;
    for (int j = 0; j < safetensors_count(f); j++) {
        const safetensors_entry *e = safetensors_at(f, j);
        while (i < n && strcmp(parts[i].view->name, e->name) < 0)
            i++;
        if (i < n && parts[i].source.entry == e) continue;
        if (is_used_scale(f, parts, n, e->name) || is_used_otherwise(parts, n, e)) continue;
        TRY(check_extra(m, f, e, path));
    }
    return STATUS_OK;
}

status model_sources(const model *m, safetensors *f, model_part *parts, int n, const char *path) {
    for (int i = 0; i < n; i++)
        TRY(find_source(m, f, &parts[i], path));
    return check_extras(m, f, parts, n, path);
}

/* -- reading -- */

static void read_f8(const weight_source *s, int64_t first, int64_t n, float *to) {
    const uint8_t *codes = s->entry->data;
    const uint8_t *scales = s->scale->data;
    for (int64_t i = 0; i < n; i++) {
        int64_t row = (first + i) / s->width, column = (first + i) % s->width;
        int64_t block = row / FP8_BLOCK * s->scale->dim[1] + column / FP8_BLOCK;
        float scale;
        memcpy(&scale, scales + (size_t)block * sizeof scale, sizeof scale);
        to[i] = f8_e4m3_to_f32(codes[first + i]) * scale;
    }
}

static void read_half(const weight_source *s, int64_t first, int64_t n, float *to) {
    const uint8_t *from = (const uint8_t *)s->entry->data + (size_t)first * sizeof(uint16_t);
    for (int64_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, from + (size_t)i * sizeof half, sizeof half);
        to[i] = s->type == DTYPE_BF16 ? bf16_to_f32(half) : f16_to_f32(half);
    }
}

/* One element after the other, each out of its block, the last of which stays decoded. */
typedef struct block_cursor {
    const uint8_t *data;
    uint32_t type;
    int64_t held; /* block in `block`, -1 = none */
    float block[256];
} block_cursor;

static float block_element(block_cursor *c, int64_t index) {
    int64_t size = quant_block(c->type), number = index / size;
    if (number != c->held)
        quant_decode(c->type, c->data + quant_bytes(c->type, number * size), size, c->block);
    c->held = number;
    return c->block[index % size];
}

static void read_latent(const weight_source *s, int64_t first, int64_t n, float *to) {
    block_cursor keys = {.data = s->entry->data, .type = s->blocks, .held = -1};
    block_cursor values = {.data = s->values->data, .type = s->value_blocks, .held = -1};
    int64_t rows = s->n_key + s->n_value;
    for (int64_t i = 0; i < n; i++) {
        int64_t row = (first + i) / s->width, column = (first + i) % s->width;
        int64_t head = row / rows, in = row % rows;
        to[i] =
            in < s->n_key
                ? block_element(&keys, (head * s->width + column) * s->n_key + in)
                : block_element(&values, (head * s->n_value + in - s->n_key) * s->width + column);
    }
}

const uint8_t *source_bytes(const weight_source *s, int64_t first) {
    if (s->values != NULL || s->scale != NULL) return NULL;
    return (const uint8_t *)s->entry->data + quant_bytes(s->blocks, s->first + first);
}

void source_read(const weight_source *s, int64_t first, int64_t n, float *to) {
    if (s->values != NULL) {
        read_latent(s, first, n, to);
        return;
    }
    first += s->first;
    switch (s->type) {
    case DTYPE_U8: quant_decode(s->blocks, source_bytes(s, first - s->first), n, to); return;
    case DTYPE_F32:
        memcpy(to, (const uint8_t *)s->entry->data + (size_t)first * sizeof *to,
               (size_t)n * sizeof *to);
        return;
    case DTYPE_F8_E4M3: read_f8(s, first, n, to); return;
    default: read_half(s, first, n, to); return;
    }
}
