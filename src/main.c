/* main.c - the table of commands and nothing else. */
#include "app/app.h"
#include "bench/bench.h"
#include "kernels/kernels.h"

extern const command data_command, tokenizer_command, train_command, chat_command, eval_command,
    convert_command;

static const command *const commands[] = {&start_command,
                                          &doctor_command,
                                          &config_command,
                                          &data_command,
                                          &tokenizer_command,
                                          &train_command,
                                          &eval_command,
                                          &chat_command,
                                          &convert_command,
                                          &model_command,
                                          &runs_command,
                                          &bench_command,
                                          NULL};

static const command_program program = {
    .name = "fathom",
    .version = FATHOM_VERSION,
    .about = "a language-model factory in one program",
    .examples = "fathom start\n"
                "fathom train data/mini --preset first --minutes 30\n"
                "fathom data import mytexts/ -o data/mine\n"
                "fathom chat runs/first",
    .commands = commands,
    .words = program_words,
    .cpu_text = kernels_cpu_text,
    .tier_name = kernels_tier_name,
    .init = kernels_init,
};

int main(int argc, char **argv) {
    return command_main(&program, argc, argv);
}
