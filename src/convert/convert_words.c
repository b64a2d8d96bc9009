/* convert_words.c - what a model has beside its tensors: configuration, tokenizer, template, ends.
 *
 *     folder -> folder  files that belong to the model are copied as they are; config.json only names
 *                       another torch_dtype, and forgets block scales, where types changed
 *     folder -> GGUF    lists of tokens, types, merges or scores (tokens/vocabulary.h), rows that no token
 *                       has filled up with unused ones; BOS, EOS, end of turn, template
 *     GGUF -> folder    the other way round. A fathom folder also keeps all keys, as a GGUF file without
 *                       tensors, so that the way back gives the same ones, which tokenizer.json could
 *                       not: names, licences, scores
 *     GGUF -> GGUF      keys as they are
 *
 * Mind: what stays behind is said in a note; the state of a training run is no part of a model.
 */
#include "convert/convert_internal.h"

#include "base/json.h"
#include "tokens/vocabulary.h"

#include <string.h>

static const char *const model_files[] = {
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "LICENSE",
    "README.md",
};
static const char *const training_files[] = {"state.json", "optimizer.safetensors", "MANIFEST"};
#define COUNT(list) (sizeof(list) / sizeof *(list))

static bool listed(const char *const *list, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], name) == 0) return true;
    return false;
}

static status no_memory(const char *where) {
    return FAIL(F_NO_MEMORY, "cannot build a JSON file of the model", where, "an allocation failed",
                "free memory and try again");
}

/* -- folder to folder -- */

static status copy_file(const convert_job *j, const char *name) {
    char from[PATH_SIZE], to[PATH_SIZE], *bytes;
    size_t n;
    TRY(path_join(from, j->plan.in->path, name));
    if (!path_exists(from)) return STATUS_OK;
    TRY(path_join(to, j->made, name));
    TRY(file_read(from, 0, &bytes, &n));
    status s = file_write(to, bytes, n);
    mem_free(bytes);
    return s;
}

static void note_left_out(const convert_job *j, char *const *names, int n) {
    char list[256] = "";
    bool training = false;
    for (int i = 0; i < n; i++) {
        const char *name = names[i];
        size_t used = strlen(list), length = strlen(name);
        bool weights = strstr(name, ".safetensors") != NULL || strcmp(name, "config.json") == 0;
        training |= listed(training_files, COUNT(training_files), name);
        if (weights || listed(training_files, COUNT(training_files), name) ||
            listed(model_files, COUNT(model_files), name) || strcmp(name, KEYS_FILE) == 0)
            continue;
        if (used + length + 3 < sizeof list)
            snprintf(list + used, sizeof list - used, "%s%s", used > 0 ? ", " : "", name);
    }
    if (training) convert_note(j->report, "the state of training stays behind");
    if (list[0] != '\0') convert_note(j->report, "left out: %s", list);
}

static status note_files(const convert_job *j) {
    char **names;
    int n;
    TRY(folder_list(j->plan.in->path, &names, &n));
    note_left_out(j, names, n);
    folder_list_free(names, n);
    return STATUS_OK;
}

static const char *torch_name(uint32_t type) {
    return type == QUANT_F16 ? "float16" : type == QUANT_BF16 ? "bfloat16" : "float32";
}

/* config.json again, if types are others than it says. */
static status write_config(const convert_job *j, json_t *config) {
    char path[PATH_SIZE];
    const char *type = torch_name(recipes_main_type(&j->plan));
    int failed = json_object_set_new(config, "torch_dtype", json_string(type));
    if (json_object_get(config, "dtype") != NULL)
        failed |= json_object_set_new(config, "dtype", json_string(type));
    if (json_object_get(config, "quantization_config") != NULL)
        failed |= json_object_del(config, "quantization_config");
    if (failed != 0) return no_memory("config.json");
    TRY(path_join(path, j->made, "config.json"));
    return json_write(path, config);
}

static status convert_config(const convert_job *j) {
    char path[PATH_SIZE];
    json_t *config;
    bool changed = false;
    for (int i = 0; i < j->plan.n; i++)
        changed |= j->plan.all[i].f8 || j->plan.all[i].type != j->plan.all[i].from;
    if (!changed) return copy_file(j, "config.json");
    TRY(path_join(path, j->plan.in->path, "config.json"));
    TRY(json_read(path, &config));
    status s = write_config(j, config);
    json_decref(config);
    return s;
}

/* -- tokenizer_config.json -- */

static json_t *word_of(const convert_input *in, int32_t id) {
    size_t n;
    const uint8_t *bytes = tokenizer_token(in->words.tokenizer, id, &n);
    char *word = bytes != NULL ? mem_strndup((const char *)bytes, n) : NULL;
    bool added = word != NULL && tokenizer_find_added(in->words.tokenizer, word) == id;
    json_t *out = added ? json_string(word) : json_null();
    mem_free(word);
    return out;
}

/* BOS as the input names it, whether or not texts begin with it; -1. */
static int32_t named_bos(const convert_input *in) {
    int32_t bos = tokenizer_bos(in->words.tokenizer);
    return bos >= 0 ? bos : in->m.config.bos_id;
}

static status write_tokenizer_config(const convert_job *j) {
    const convert_input *in = j->plan.in;
    char path[PATH_SIZE];
    size_t n = 0;
    TRY(path_join(path, j->made, "tokenizer_config.json"));
    if (path_exists(path)) return STATUS_OK; /* copied */
    const char *source = in->words.chat != NULL ? chat_format_source(in->words.chat, &n) : NULL;
    json_t *o =
        json_pack("{s:o, s:o, s:b, s:b, s:I, s:s}", "bos_token", word_of(in, named_bos(in)),
                  "eos_token", word_of(in, tokenizer_eos(in->words.tokenizer)), "add_bos_token",
                  tokenizer_bos(in->words.tokenizer) >= 0, "clean_up_tokenization_spaces", 0,
                  "model_max_length", (json_int_t)in->m.config.max_position, "tokenizer_class",
                  "PreTrainedTokenizerFast");
    bool failed = o == NULL;
    char file[PATH_SIZE];
    status s = path_join(file, j->made, "chat_template.jinja");
    if (s == STATUS_OK && !failed && source != NULL && !path_exists(file))
        failed = json_object_set_new(o, "chat_template", json_stringn(source, n)) != 0;
    if (s == STATUS_OK) s = failed ? no_memory(path) : json_write(path, o);
    json_decref(o);
    return s;
}

/* Readers of the Hugging Face form refuse keys they do not know; what ours says (BOS, EOS) is also in
 * tokenizer_config.json. */
static status plain_tokenizer(const convert_job *j) {
    char path[PATH_SIZE];
    json_t *o;
    if (j->plan.o->form != CONVERT_HF) return STATUS_OK;
    TRY(path_join(path, j->made, "tokenizer.json"));
    TRY(json_read(path, &o));
    status s = json_object_del(o, "fathom") == 0 ? json_write(path, o) : STATUS_OK;
    json_decref(o);
    return s;
}

static status copy_folder(const convert_job *j) {
    for (size_t i = 0; i < COUNT(model_files); i++)
        TRY(copy_file(j, model_files[i]));
    if (j->plan.o->form == CONVERT_FATHOM) TRY(copy_file(j, KEYS_FILE));
    TRY(convert_config(j));
    TRY(write_tokenizer_config(j));
    TRY(plain_tokenizer(j));
    return note_files(j);
}

/* -- GGUF to folder -- */

static status write_generation_config(const convert_job *j) {
    const convert_input *in = j->plan.in;
    char path[PATH_SIZE];
    TRY(path_join(path, j->made, "generation_config.json"));
    json_t *o = json_object(), *ends = json_array();
    bool ok = o != NULL && json_object_set_new(o, "eos_token_id", ends) == 0;
    for (int i = 0; ok && i < in->words.n_stop_ids; i++)
        ok = json_array_append_new(ends, json_integer(in->words.stop_ids[i])) == 0;
    if (ok && in->m.config.bos_id >= 0)
        ok = json_object_set_new(o, "bos_token_id", json_integer(in->m.config.bos_id)) == 0;
    status s = ok ? json_write(path, o) : no_memory(path);
    json_decref(o);
    return s;
}

/* All keys and no tensors. */
static status keep_keys(const convert_job *j) {
    char path[PATH_SIZE];
    gguf_writer *w;
    TRY(path_join(path, j->made, KEYS_FILE));
    TRY(gguf_writer_new(&w, path));
    for (int i = 0; i < gguf_n_values(j->plan.in->file); i++)
        gguf_put_value(w, gguf_value_at(j->plan.in->file, i));
    return gguf_writer_commit(w);
}

static status unpack_file(const convert_job *j) {
    char path[PATH_SIZE];
    json_t *config;
    TRY(model_config_to_json(&j->plan.in->m.config, &config));
    status s = write_config(j, config);
    json_decref(config);
    TRY(s);
    TRY(path_join(path, j->made, "tokenizer.json"));
    TRY(tokenizer_save(j->plan.in->words.tokenizer, path));
    TRY(write_tokenizer_config(j));
    TRY(plain_tokenizer(j));
    TRY(write_generation_config(j));
    if (j->plan.o->form == CONVERT_FATHOM) return keep_keys(j);
    convert_note(j->report, "keys without a place in config.json stay behind (names, licences)");
    return STATUS_OK;
}

status convert_write_words(convert_job *j) {
    return j->plan.in->folder != NULL ? copy_folder(j) : unpack_file(j);
}

/* -- to GGUF -- */

/* Keys of a file that do not follow from the configuration and the types of tensors. */
static void put_keys_of(gguf_writer *w, const gguf *f) {
    static const char *const ours[] = {"general.architecture", "general.file_type"};
    for (int i = 0; i < gguf_n_values(f); i++) {
        const gguf_value *v = gguf_value_at(f, i);
        bool general = strncmp(v->key, "general.", 8) == 0 && !listed(ours, COUNT(ours), v->key);
        if (general || strncmp(v->key, "tokenizer.", 10) == 0) gguf_put_value(w, v);
    }
}

typedef struct word_lists {
    gguf_text *tokens;
    int64_t *types, n;
    float *scores;
    char (*unused)[32]; /* names of rows without a token */
} word_lists;

static bool fill_lists(word_lists *l, const vocabulary *v, int64_t n) {
    l->n = n > v->n ? n : v->n;
    l->tokens = mem_zalloc((size_t)l->n, sizeof *l->tokens);
    l->types = mem_zalloc((size_t)l->n, sizeof *l->types);
    l->scores = mem_zalloc((size_t)l->n, sizeof *l->scores);
    l->unused = mem_zalloc((size_t)(l->n - v->n) + 1, sizeof *l->unused);
    if (l->tokens == NULL || l->types == NULL || l->scores == NULL || l->unused == NULL)
        return false;
    for (int64_t i = 0; i < l->n; i++) {
        if (i < v->n) {
            l->tokens[i] = (gguf_text){v->pieces[i].text, v->pieces[i].n};
            l->types[i] = v->pieces[i].type;
            l->scores[i] = v->pieces[i].score;
            continue;
        }
        char *name = l->unused[i - v->n];
        snprintf(name, sizeof l->unused[0], "[PAD%lld]", (long long)i);
        l->tokens[i] = (gguf_text){name, strlen(name)};
        l->types[i] = PIECE_UNUSED;
    }
    return true;
}

static void put_merges(gguf_writer *w, const vocabulary *v, gguf_text *room) {
    for (int32_t i = 0; i < v->n_merges; i++)
        room[i] = (gguf_text){v->merges[i].text, v->merges[i].n};
    gguf_put_texts(w, "tokenizer.ggml.merges", room, v->n_merges);
}

static void put_scores(gguf_writer *w, const word_lists *l) {
    const gguf_value scores = {.key = "tokenizer.ggml.scores",
                               .type = GGUF_LIST,
                               .element = GGUF_F32,
                               .count = l->n,
                               .data = (const uint8_t *)l->scores,
                               .bytes = (size_t)l->n * sizeof *l->scores};
    gguf_put_value(w, &scores);
}

static status put_vocabulary(gguf_writer *w, const convert_input *in) {
    vocabulary *v;
    word_lists l = {0};
    TRY(tokenizer_to_vocabulary(in->words.tokenizer, &v));
    gguf_text *merges = mem_zalloc((size_t)v->n_merges + 1, sizeof *merges);
    bool bpe = v->model == VOCABULARY_BPE;
    bool ok = merges != NULL && fill_lists(&l, v, in->m.config.vocab_size);
    if (ok) {
        gguf_put_string(w, "tokenizer.ggml.model", bpe ? "gpt2" : "llama");
        if (bpe) gguf_put_string(w, "tokenizer.ggml.pre", v->pre != NULL ? v->pre : "default");
        gguf_put_texts(w, "tokenizer.ggml.tokens", l.tokens, l.n);
        gguf_put_ints(w, "tokenizer.ggml.token_type", GGUF_I32, l.types, l.n);
        if (bpe) put_merges(w, v, merges);
        if (!bpe) put_scores(w, &l);
        if (!bpe) gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", v->space_prefix);
    }
    mem_free(l.tokens);
    mem_free(l.types);
    mem_free(l.scores);
    mem_free(l.unused);
    mem_free(merges);
    vocabulary_free(v);
    return ok ? STATUS_OK : STATUS_MEMORY;
}

/* The id that tokenizer_config.json gives a role, or `other`. */
static int32_t role_id(const convert_input *in, const json_t *config, const char *role,
                       int32_t other) {
    const json_t *value = json_object_get(config, role);
    const char *name =
        json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    int32_t id = name != NULL ? tokenizer_find_added(in->words.tokenizer, name) : -1;
    return id >= 0 ? id : other;
}

static void put_id(gguf_writer *w, const char *key, int64_t id) {
    if (id >= 0) gguf_put_u32(w, key, id);
}

static void put_ends(convert_job *j, gguf_writer *w, const json_t *config) {
    const convert_input *in = j->plan.in;
    const bundle *b = &in->words;
    int32_t eos = tokenizer_eos(b->tokenizer), eot = -1;
    int more = 0;
    if (eos < 0 && b->n_stop_ids > 0) eos = b->stop_ids[0];
    for (int i = 0; i < b->n_stop_ids; i++) {
        if (b->stop_ids[i] == eos || b->stop_ids[i] == eot) continue;
        more += eot >= 0;
        if (eot < 0) eot = b->stop_ids[i];
    }
    put_id(w, "tokenizer.ggml.bos_token_id", role_id(in, config, "bos_token", named_bos(in)));
    put_id(w, "tokenizer.ggml.eos_token_id", eos);
    put_id(w, "tokenizer.ggml.eot_token_id", eot);
    put_id(w, "tokenizer.ggml.padding_token_id", role_id(in, config, "pad_token", -1));
    gguf_put_bool(w, "tokenizer.ggml.add_bos_token", tokenizer_bos(b->tokenizer) >= 0);
    if (more > 0)
        convert_note(j->report, "%d more tokens end an answer than a GGUF file can name", more);
    if (json_is_array(json_object_get(config, "chat_template")))
        convert_note(j->report, "of several chat templates the default one is kept");
}

static status put_template(gguf_writer *w, const chat_format *f) {
    size_t n;
    if (f == NULL) return STATUS_OK;
    const char *source = chat_format_source(f, &n);
    char *copy = mem_strndup(source, n);
    if (copy == NULL) return STATUS_MEMORY;
    gguf_put_string(w, "tokenizer.chat_template", copy);
    mem_free(copy);
    return STATUS_OK;
}

static status put_words_of_folder(convert_job *j, gguf_writer *w) {
    const convert_input *in = j->plan.in;
    char path[PATH_SIZE];
    json_t *config = NULL;
    gguf_put_string(w, "general.name", path_name(in->path));
    TRY(put_vocabulary(w, in));
    TRY(path_join(path, in->path, "tokenizer_config.json"));
    if (path_exists(path)) TRY(json_read(path, &config));
    put_ends(j, w, config);
    json_decref(config);
    TRY(put_template(w, in->words.chat));
    return note_files(j);
}

status convert_put_words(convert_job *j, gguf_writer *w) {
    const convert_input *in = j->plan.in;
    char path[PATH_SIZE];
    gguf *keys;
    TRY(path_join(path, in->path, KEYS_FILE));
    if (!path_exists(path)) return put_words_of_folder(j, w);
    TRY(gguf_open(&keys, path));
    put_keys_of(w, keys);
    gguf_close(keys);
    return note_files(j);
}
