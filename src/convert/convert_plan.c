/* convert_plan.c - the list of tensors that an output has, and where the rows of each come from.
 *
 * Four ways, by what is read and what is written:
 *
 *     folder -> folder   tensor by tensor, under the names they have: fused experts stay fused, copies
 *                        of the embedding stay copies. F8_E4M3 loses its scales and becomes BF16; blocks
 *                        stay in a fathom folder and become F32 for Hugging Face
 *     folder -> GGUF     one tensor per place (model_gguf.h): experts stacked, rows of llama's heads dealt
 *                        out, kv_b cut in two
 *     GGUF -> folder     one tensor per published name, the other way round. kv_b stays in two if it is
 *                        in blocks, or in two types, and the target is a fathom folder
 *     GGUF -> GGUF       as they are, in their order; for --type
 *
 * Types. KEEP keeps each tensor's own, except where the target has none: blocks to Hugging Face become
 * F32, which holds their values exactly; vectors and routers in GGUF are F32. With --type matrices take
 * that type, in folders vectors too (published folders have one type), but never the bias of a router:
 * it decides by differences that BF16 has not.
 */
#include "convert/convert_internal.h"

#include "base/ending.h"

#include <stdlib.h>
#include <string.h>

#define PLAN_MEMORY ((size_t)1 << 30) /* of address space: names and lists of parts */

/* -- facts about a planned tensor -- */

size_t recipe_bytes(const recipe *t) {
    return quant_bytes(t->type, t->rows * t->width);
}

const char *recipe_file_name(const recipe *t) {
    return quant_block(t->type) > 1 ? source_block_name(t->name, t->type) : text("%s", t->name);
}

uint32_t recipes_main_type(const recipes *p) {
    int64_t elements[QUANT_LIMIT] = {0};
    uint32_t best = QUANT_F32;
    for (int i = 0; i < p->n; i++)
        elements[p->all[i].type] += p->all[i].rank > 1 ? p->all[i].rows * p->all[i].width : 0;
    for (uint32_t type = 0; type < QUANT_LIMIT; type++)
        if (elements[type] > elements[best]) best = type;
    return best;
}

bool recipe_rounds(const recipe *t) {
    return t->f8 || (t->type != t->from && t->type != QUANT_F32);
}

/* -- adding one -- */

static status add(recipes *p, recipe t) {
    if (p->n == p->room)
        return FAIL(F_INTERNAL, "the plan of a conversion is too small", p->in->path,
                    text("%d tensors were counted", p->room), "report this as a bug");
    const char *name = t.name;
    t.name = arena_strdup(&p->memory, name);
    if (t.name == NULL) return STATUS_MEMORY;
    t.width = t.rank > 0 ? t.dim[t.rank - 1] : 1;
    t.rows = 1;
    for (int i = 0; i + 1 < t.rank; i++)
        t.rows *= t.dim[i];
    if (t.width % quant_block(t.type) != 0 || t.rank > TENSOR_MAX_RANK)
        return FAIL(F_CONVERT_VALUE,
                    text("tensor \"%s\" cannot be written as %s", name, quant_name(t.type)),
                    p->in->path, "its shape does not fit the type", "choose another --type");
    int64_t read = (int64_t)quant_bytes(t.from, t.rows * t.width),
            written = (int64_t)recipe_bytes(&t);
    p->bytes += written;
    if (written > p->largest) p->largest = written;
    if (read > p->largest && !t.f8) p->largest = read;
    p->all[p->n++] = t;
    return STATUS_OK;
}

/* Type of a tensor in the output. `small`: vectors and routers; `state`: the bias of a router. */
static uint32_t type_for(const recipes *p, uint32_t from, bool f8, bool small, bool state) {
    uint32_t kept = f8 ? QUANT_BF16 : from;
    bool blocks = quant_block(kept) > 1;
    if (p->o->form == CONVERT_GGUF && small && p->in->folder != NULL) return QUANT_F32;
    if (p->o->type != CONVERT_KEEP && !state && !(p->o->form == CONVERT_GGUF && small))
        return (uint32_t)p->o->type;
    return blocks && p->o->form == CONVERT_HF ? QUANT_F32 : kept;
}

static const model_part **part_list(recipes *p, int n) {
    return arena_zalloc(&p->memory, (size_t)n * sizeof(model_part *));
}

/* -- folder to folder -- */

static bool is_state(const char *name) {
    return strstr(name, "e_score_correction_bias") != NULL;
}

/* Rows of one published tensor, read through its source. */
static status add_part(recipes *p, const model_part *part) {
    const weight_source *s = &part->source;
    bool vector = part->param->rank == 1, f8 = s->scale != NULL;
    recipe t = {.name = part->view->name,
                .kind = FROM_PARTS,
                .from = s->values != NULL ? QUANT_F32 : s->blocks,
                .f8 = f8,
                .n_parts = 1,
                .rank = vector ? 1 : 2,
                .parts = part_list(p, 1)};
    if (t.parts == NULL) return STATUS_MEMORY;
    t.parts[0] = part;
    t.dim[0] = part->view->rows;
    t.dim[1] = part_width(part);
    t.type = type_for(p, t.from, f8, false, is_state(t.name));
    return add(p, t);
}

/* Half of kv_b as the folder has it. */
static status add_half(recipes *p, const model_part *part, bool values) {
    const weight_source *s = &part->source;
    const safetensors_entry *e = values ? s->values : s->entry;
    const model_config *c = &p->in->m.config;
    recipe t = {.name = source_latent_name(part->view->name, values),
                .kind = FROM_DATA,
                .from = values ? s->value_blocks : s->blocks,
                .rank = 3,
                .dim = {c->n_head, values ? s->n_value : s->width, values ? s->width : s->n_key},
                .data = e->data};
    t.type = type_for(p, t.from, false, false, false);
    return add(p, t);
}

/* Parts whose entries are not plain tensors of their own. */
static status add_packed_part(recipes *p, const model_part *part) {
    const weight_source *s = &part->source;
    if (s->scale == NULL && s->type != DTYPE_U8) return STATUS_OK;
    if (s->values != NULL && p->o->form == CONVERT_FATHOM && p->o->type == CONVERT_KEEP) {
        TRY(add_half(p, part, false));
        return add_half(p, part, true);
    }
    return add_part(p, part);
}

static bool is_half(const convert_input *in, const safetensors_entry *e) {
    if (strstr(e->name, "self_attn.k_b_proj") == NULL &&
        strstr(e->name, "self_attn.v_b_proj") == NULL)
        return false;
    for (int i = 0; i < in->n_parts; i++)
        if (in->parts[i].source.values == e ||
            (in->parts[i].source.values != NULL && in->parts[i].source.entry == e))
            return true;
    return false;
}

static status add_entry(recipes *p, const safetensors_entry *e) {
    dtype type;
    if (!dtype_find(e->dtype, &type) || ends_with(e->name, "_scale_inv")) return STATUS_OK;
    if ((type != DTYPE_F32 && type != DTYPE_F16 && type != DTYPE_BF16) || is_half(p->in, e))
        return STATUS_OK;
    recipe t = {.name = e->name,
                .kind = FROM_DATA,
                .from = type == DTYPE_F32   ? QUANT_F32
                        : type == DTYPE_F16 ? QUANT_F16
                                            : QUANT_BF16,
                .rank = e->rank,
                .data = e->data};
    if (e->rank > GGUF_MAX_RANK) return add(p, t); /* which refuses it */
    memcpy(t.dim, e->dim, (size_t)e->rank * sizeof *e->dim);
    t.type = type_for(p, t.from, false, false, is_state(e->name));
    return add(p, t);
}

static status folder_to_folder(recipes *p) {
    for (int i = 0; i < safetensors_count(p->in->folder); i++)
        TRY(add_entry(p, safetensors_at(p->in->folder, i)));
    for (int i = 0; i < p->in->n_parts; i++)
        TRY(add_packed_part(p, &p->in->parts[i]));
    return STATUS_OK;
}

/* -- folder to GGUF -- */

static status take_part(recipes *p, const gguf_place *place, const model_part **out) {
    *out = convert_input_part(p->in, place->view->name);
    if (*out != NULL) return STATUS_OK;
    return FAIL(F_INTERNAL, text("\"%s\" has no source", place->view->name), p->in->path,
                "every part was found when the folder was opened", "report this as a bug");
}

/* kv_b: already in two, or cut here. */
static status add_latent(recipes *p, const gguf_place *place, bool second) {
    recipe t = {.name = second ? place->second : place->name,
                .kind = second ? FROM_VALUES : FROM_KEYS,
                .place = place,
                .n_parts = 1,
                .parts = part_list(p, 1)};
    if (t.parts == NULL) return STATUS_MEMORY;
    TRY(take_part(p, place, &t.parts[0]));
    const weight_source *s = &t.parts[0]->source;
    t.rank = gguf_place_shape(&p->in->m, place, second, t.dim);
    t.f8 = s->scale != NULL;
    t.from = second && s->values != NULL ? s->value_blocks : s->blocks;
    if (s->values != NULL) {
        t.kind = FROM_DATA;
        t.data = second ? s->values->data : s->entry->data;
    } else if (quant_block(t.from) > 1) {
        t.from = QUANT_F32; /* its blocks run along other rows */
    }
    t.type = type_for(p, t.from, t.f8, false, false);
    return add(p, t);
}

/* The stack of all experts, or one part. They have one type, or the stack has F32. */
static status add_place(recipes *p, int index) {
    const gguf_place *place = &p->in->places[index];
    int n = place->kind == PLACE_EXPERT ? p->in->m.config.n_expert : 1, found = 0;
    recipe t = {.name = place->name,
                .kind = FROM_PARTS,
                .place = place,
                .order = place->kind == PLACE_ROTARY ? ORDER_TO_FILE : ORDER_SAME,
                .n_parts = n,
                .parts = part_list(p, n)};
    if (t.parts == NULL) return STATUS_MEMORY;
    for (int i = index; i < p->in->n_places && found < n; i++)
        if (strcmp(p->in->places[i].name, place->name) == 0)
            TRY(take_part(p, &p->in->places[i], &t.parts[found++]));
    const weight_source *first = &t.parts[0]->source;
    t.from = first->values == NULL ? first->blocks : QUANT_F32;
    t.f8 = first->scale != NULL;
    for (int i = 1; i < n; i++) {
        t.f8 |= t.parts[i]->source.scale != NULL;
        if (t.parts[i]->source.blocks != t.from) t.from = QUANT_F32;
    }
    t.rank = gguf_place_shape(&p->in->m, place, false, t.dim);
    t.type = type_for(p, t.from, t.f8, gguf_place_small(place), false);
    return add(p, t);
}

static status add_factors(recipes *p) {
    int64_t n = model_gguf_factors(&p->in->m, p->factors);
    if (n == 0) return STATUS_OK;
    return add(p, (recipe){.name = "rope_freqs.weight",
                           .kind = FROM_FACTORS,
                           .rank = 1,
                           .dim = {n},
                           .data = (const uint8_t *)p->factors});
}

static status folder_to_gguf(recipes *p) {
    TRY(add_factors(p));
    for (int i = 0; i < p->in->n_places; i++) {
        const gguf_place *place = &p->in->places[i];
        if (place->kind == PLACE_LATENT) {
            TRY(add_latent(p, place, false));
            TRY(add_latent(p, place, true));
        } else if (place->kind != PLACE_EXPERT || place->expert == 0) {
            TRY(add_place(p, i));
        }
    }
    return STATUS_OK;
}

/* -- GGUF to folder -- */

static status add_kv(recipes *p, const gguf_place *place) {
    const gguf_tensor *k = gguf_lookup(p->in->file, place->name);
    const gguf_tensor *v = gguf_lookup(p->in->file, place->second);
    bool plain = k->type == v->type && quant_block(k->type) == 1;
    if (!plain && p->o->form == CONVERT_FATHOM && p->o->type == CONVERT_KEEP) {
        recipe t = {.kind = FROM_DATA, .rank = 3};
        for (int second = 0; second < 2; second++) {
            const gguf_tensor *half = second ? v : k;
            t.name = source_latent_name(place->view->name, second);
            memcpy(t.dim, half->dim, sizeof t.dim);
            t.data = half->data;
            t.from = t.type = half->type;
            TRY(add(p, t));
        }
        return STATUS_OK;
    }
    recipe t = {.name = place->view->name,
                .kind = FROM_KV,
                .place = place,
                .from = plain ? k->type : QUANT_F32,
                .rank = 2,
                .dim = {place->rows, place->width},
                .keys = k,
                .values = v};
    t.type = type_for(p, t.from, false, false, false);
    return add(p, t);
}

static status add_published(recipes *p, const gguf_place *place) {
    const gguf_tensor *from = gguf_lookup(p->in->file, place->name);
    if (place->kind == PLACE_LATENT) return add_kv(p, place);
    if (from == NULL) return STATUS_OK; /* optional: see add_zeros */
    bool vector = place->param->rank == 1;
    int64_t first = place->kind == PLACE_EXPERT ? place->expert * place->rows * place->width : 0;
    recipe t = {.name = place->view->name,
                .kind = FROM_DATA,
                .order = place->kind == PLACE_ROTARY ? ORDER_FROM_FILE : ORDER_SAME,
                .place = place,
                .from = from->type,
                .rank = vector ? 1 : 2,
                .dim = {place->rows, place->width},
                .data = from->data + quant_bytes(from->type, first)};
    t.type = type_for(p, t.from, false, gguf_place_small(place), place->param->kind == PARAM_STATE);
    return add(p, t);
}

/* A sigmoid router without biases has biases of zero; folders must say so. */
static status add_zeros(recipes *p, const gguf_place *place) {
    if (gguf_lookup(p->in->file, place->name) != NULL) return STATUS_OK;
    float *zeros = arena_zalloc(&p->memory, (size_t)place->rows * sizeof *zeros);
    if (zeros == NULL) return STATUS_MEMORY;
    return add(p, (recipe){.name = place->view->name,
                           .kind = FROM_FACTORS,
                           .rank = 1,
                           .dim = {place->rows},
                           .data = (const uint8_t *)zeros});
}

static status gguf_to_folder(recipes *p) {
    for (int i = 0; i < p->in->n_places; i++) {
        TRY(add_published(p, &p->in->places[i]));
        if (p->in->places[i].optional) TRY(add_zeros(p, &p->in->places[i]));
    }
    return STATUS_OK;
}

/* -- GGUF to GGUF -- */

static status gguf_to_gguf(recipes *p) {
    for (int i = 0; i < gguf_n_tensors(p->in->file); i++) {
        const gguf_tensor *from = gguf_tensor_at(p->in->file, i);
        bool small = from->rank == 1 || strstr(from->name, "ffn_gate_inp") != NULL;
        recipe t = {.name = from->name,
                    .kind = FROM_DATA,
                    .from = from->type,
                    .rank = from->rank,
                    .data = from->data};
        memcpy(t.dim, from->dim, sizeof t.dim);
        t.type = type_for(p, t.from, false, small, false);
        TRY(add(p, t));
    }
    return STATUS_OK;
}

/* -- the whole -- */

status recipes_make(recipes *p, const convert_input *in, const convert_options *o) {
    memset(p, 0, sizeof *p);
    p->in = in;
    p->o = o;
    TRY(arena_init(&p->memory, "plan of a conversion", PLAN_MEMORY));
    int tensors = in->folder != NULL ? safetensors_count(in->folder) : gguf_n_tensors(in->file);
    p->room = tensors + 2 * in->n_places + 1;
    p->all = mem_zalloc((size_t)p->room, sizeof *p->all);
    status s = p->all != NULL ? STATUS_OK : STATUS_MEMORY;
    bool to_gguf = o->form == CONVERT_GGUF;
    if (s == STATUS_OK && in->folder != NULL)
        s = to_gguf ? folder_to_gguf(p) : folder_to_folder(p);
    else if (s == STATUS_OK)
        s = to_gguf ? gguf_to_gguf(p) : gguf_to_folder(p);
    if (s != STATUS_OK) recipes_clear(p);
    return s;
}

void recipes_clear(recipes *p) {
    mem_free(p->all);
    arena_clear(&p->memory);
    p->all = NULL;
    p->n = 0;
}
