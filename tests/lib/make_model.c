/* make_model.c FOLDER - the tiny model as a folder, for tests that run outside of this build. */
#include "tiny_model.h"

int main(int argc, char **argv) {
    if (argc != 2 || tiny_model_write(argv[1], 11) != STATUS_OK) {
        error_print(stderr, error_last());
        return 1;
    }
    return 0;
}
