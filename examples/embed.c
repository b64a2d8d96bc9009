/* embed.c - a question to a model: cc embed.c $(pkg-config --cflags --libs fathom) -o embed
 *   ./embed models/assistant '[{"role": "user", "content": "What is a fathom?"}]' */
#include <fathom.h>
#include <stdio.h>

static bool show(void *context, const char *text, size_t n) {
    return fwrite(text, 1, n, context) == n && fflush(context) == 0;
}

int main(int argc, char **argv) {
    fathom_model *model = NULL;
    fathom_session *session = NULL;
    fathom_answer_options options = fathom_answer_defaults();
    options.on_text = show;
    options.context = stdout;
    bool good = argc == 3 && fathom_model_open(&model, argv[1], NULL) == FATHOM_OK &&
                fathom_session_new(&session, model, 0) == FATHOM_OK &&
                fathom_chat(session, argv[2], &options, NULL) == FATHOM_OK;
    if (!good) fprintf(stderr, "%s\n%s\n", fathom_last_error()->what, fathom_last_error()->fix);
    fathom_session_free(session);
    fathom_model_close(model);
    return good ? 0 : 1;
}
