/* convert_input.c - a model to be converted, opened without its numbers.
 *
 * What: the configuration, the described model, the reader with every tensor found and checked, and the
 * words (tokenizer, template). Both kinds of input end in the same two lists: places say which tensor of
 * a GGUF file holds which published rows; parts, for folders, say where those rows lie. An output that
 * was written is opened by the same function, so it is checked like any foreign file.
 */
#include "convert/convert_internal.h"

#include <stdlib.h>
#include <string.h>

static status open_folder(convert_input *in) {
    TRY(safetensors_open(&in->folder, in->path));
    TRY(model_describe_folder(&in->m, in->path, in->folder));
    TRY(model_parts(&in->m, &in->parts, &in->n_parts));
    TRY(model_sources(&in->m, in->folder, in->parts, in->n_parts, in->path));
    return model_gguf_places(&in->m, &in->places, &in->n_places);
}

static status open_file(convert_input *in) {
    model_config c;
    TRY(gguf_open(&in->file, in->path));
    TRY(model_config_from_gguf(&c, in->file));
    TRY(model_describe(&in->m, &c, DTYPE_F32));
    TRY(model_gguf_places(&in->m, &in->places, &in->n_places));
    return model_gguf_check(&in->m, in->file, in->places, in->n_places);
}

status convert_input_open(convert_input *in, const char *path) {
    memset(in, 0, sizeof *in);
    status s = bundle_find(in->path, path);
    if (s == STATUS_OK) s = bundle_open_words(&in->words, in->path);
    if (s == STATUS_OK) s = path_is_folder(in->path) ? open_folder(in) : open_file(in);
    if (s != STATUS_OK) convert_input_close(in);
    return s;
}

void convert_input_close(convert_input *in) {
    mem_free(in->parts);
    mem_free(in->places);
    safetensors_close(in->folder);
    gguf_close(in->file);
    model_clear(&in->m);
    bundle_close(&in->words);
    memset(in, 0, sizeof *in);
}

static int by_name(const void *name, const void *part) {
    return strcmp(name, ((const model_part *)part)->view->name);
}

const model_part *convert_input_part(const convert_input *in, const char *name) {
    return bsearch(name, in->parts, (size_t)in->n_parts, sizeof *in->parts, by_name);
}
