/* bench_page.c - the rows of `fathom bench` as a page of Markdown.
 *
 * Rows are grouped by the first word of their name (before '/') in order of first appearance, so a
 * new benchmark shows up without a change here; the words known below get a title and a sentence.
 * No figure on the page is typed by hand: machine, load, commit and numbers all come from the run. The
 * last section says in words how other programs are set beside this one.
 */
#include "bench/bench_page.h"

#include "base/file.h"
#include "base/pool.h"
#include "bench/commit.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct section {
    const char *word, *title, *remark;
} section;

static const section sections[] = {
    {"floor", "Arithmetic in registers",
     "What each tier can do when no memory is touched: the floor of every product below."},
    {"witness", "Witness",
     "Another library's product in the same run. The peak is refused if it lies far below this."},
    {"memory", "Memory", "Reading and copying, by the size of the working set."},
    {"pool", "Hand-off", "An empty job given to all threads and waited for."},
    {"gemm", "Products",
     "Forward, input gradient (dX) and weight gradient (dW, packing included) of linear layers. "
     "The "
     "floor is the peak; for experts it is one dense product of equal work."},
    {"row", "Element-wise", "One thread, data in the second-level cache."},
    {"attention", "Attention", "Causal, in key blocks, without a matrix of scores."},
    {"tokenizer", "Tokenizer",
     "Encoding in one thread, with empty and with warm caches; a megabyte of one unit over and "
     "over; "
     "and learning a vocabulary from all the text."},
    {"plan", "Plan", "What `fathom train -n` says of a run, over what the run took."},
    {"loop", "Beside the steps",
     "Shares of a run of ten minutes; a step inside the loop, and what a checkpoint stops training "
     "for, over a bare step."},
    {"contention", "Company",
     "Training beside processes that keep a CPU busy, over training alone."},
    {"recompute", "Recomputing",
     "Steps with `--recompute selective` and `full` over steps without, taking turns. Bytes of "
     "activations as the arena counted them while training, the planned ones as floor: all, inputs "
     "of blocks, outputs saved inside them, and the one block that lives at a time."},
    {"moe", "Experts against dense",
     "The seconds a size with experts needs to a validation loss, those of its dense twin of equal "
     "active FLOPs as floor; the geometric mean of the ratios over the seeds and its interval."},
    {"train", "Training",
     "Whole steps. `train/model` compares with the sum of the step's kernels each timed alone at "
     "its own shape; `train/peak` with the peak of the arithmetic (this is the model FLOP "
     "utilisation)."},
};

const char *bench_number(double value) {
    return text(value >= 1000 ? "%.0f" : "%.4g", value);
}

static size_t word_length(const char *name) {
    return strcspn(name, "/ ");
}

static bool same_word(const char *a, const char *b) {
    size_t n = word_length(a);
    return n == word_length(b) && memcmp(a, b, n) == 0;
}

static status put(file_writer *w, const char *line) {
    return writer_put(w, line, strlen(line));
}

/* What the system calls its processor: the value of "model name" in /proc/cpuinfo, or "". */
static status processor_name(char *out, size_t room) {
    char *bytes;
    size_t n;
    out[0] = '\0';
    if (!path_exists("/proc/cpuinfo")) return STATUS_OK;
    TRY(file_read("/proc/cpuinfo", 0, &bytes, &n));
    const char *line = strstr(bytes, "model name"), *value = NULL;
    if (line != NULL) value = strchr(line, ':');
    if (value != NULL) {
        value += 1 + strspn(value + 1, " \t");
        snprintf(out, room, "%.*s, ", (int)strcspn(value, "\n"), value);
    }
    mem_free(bytes);
    return STATUS_OK;
}

static status put_head(file_writer *w, const bench_table *t, const char *command) {
    char day[32], processor[128];
    time_t now = time(NULL);
    struct tm parts;
    if (gmtime_r(&now, &parts) == NULL || strftime(day, sizeof day, "%Y-%m-%d", &parts) == 0)
        snprintf(day, sizeof day, "unknown");
    TRY(processor_name(processor, sizeof processor));
    TRY(put(w, "# Performance\n\n"));
    TRY(put(w, text("Written by `%s`; run it to have this page for your machine.\n\n", command)));
    TRY(put(w, "Every rate stands beside a floor measured in the same run, because the rate alone "
               "says as much about the machine as about the program. A ratio of 1 is the floor "
               "itself.\nTimes are the best of several repetitions.\n\n"));
    TRY(put(w, text("| | |\n|---|---|\n| processor | %s%s |\n", processor, kernels_cpu_text())));
    TRY(put(w,
            text("| tier | %s |\n| threads | %d |\n", tier_name(kernels_tier()), pool_threads())));
    TRY(put(w, text("| version | %s, commit %s |\n| day | %s |\n", FATHOM_VERSION, FATHOM_COMMIT,
                    day)));
    static const char *const loads[][2] = {{"load/other", "load of other programs"},
                                           {"load/steal", "time stolen by the host"},
                                           {"load/pressure", "CPU pressure, 10 s average"}};
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++) {
        const bench_row *r = bench_table_find(t, loads[i][0], 0);
        if (r != NULL) TRY(put(w, text("| %s | %.1f %% |\n", loads[i][1], r->value)));
    }
    return STATUS_OK;
}

static status put_title(file_writer *w, const char *name) {
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++)
        if (same_word(sections[i].word, name))
            return put(w, text("\n## %s\n\n%s\n", sections[i].title, sections[i].remark));
    return put(w, text("\n## %.*s\n", (int)word_length(name), name));
}

static status put_row(file_writer *w, const bench_row *r) {
    TRY(put(w, text("| %s | %s | %d | %s %s |", r->name, tier_name(r->tier), r->threads,
                    bench_number(r->value), r->unit)));
    if (r->floor <= 0) return put(w, " | |\n");
    return put(w, text(" %s | %.2f |\n", bench_number(r->floor), r->ratio));
}

static status put_section(file_writer *w, const bench_table *t, int first) {
    TRY(put_title(w, t->rows[first].name));
    TRY(put(w, "\n| what | tier | threads | value | floor | ratio |\n|---|---|--:|--:|--:|--:|\n"));
    for (int i = first; i < t->n; i++)
        if (same_word(t->rows[i].name, t->rows[first].name)) TRY(put_row(w, &t->rows[i]));
    return STATUS_OK;
}

/* What to install and run to set other programs beside this one. Figures of theirs are not typed in
 * here: whoever measures has both numbers from the same machine and minute. */
static status put_peers(file_writer *w) {
    static const char *const words[] = {
        "\n## Other programs\n\n"
        "Rates of other programs mean something only beside ours from the same machine and the "
        "same "
        "minutes: run the two in turn, at least three times, on a quiet machine, and compare "
        "medians. "
        "`fathom bench train --json` has our side in `result.rows`, `train/model SIZE KIND`.\n\n",
        "| program | install | run | ours |\n|---|---|---|---|\n",
        "| PyTorch, CPU | a virtual environment with `pip install torch` (the CPU build) | "
        "`tests/peers/torch_gpt.py 8x320 bf16 compile 8`: the same shape in bf16 autocast, "
        "`torch.compile`, fused attention (SDPA), fused AdamW; 16,384 tokens an update. Try `f32`, "
        "`eager` and 4 to 32 rows a forward, the best counts. Shapes 8x320 (15 M), 12x512 (55 M), "
        "12x768 (124 M) | `fathom bench train --size dense-8x320` |\n",
        "| llm.c | its repository, `make train_gpt2 OMP=1`, GPT-2 124M weights and the "
        "tiny Shakespeare tokens of its starter pack | `OMP_NUM_THREADS=<cores> ./train_gpt2`, "
        "which "
        "takes B 4 and T 64; milliseconds of a step are printed, 256 tokens each. For 4,096 tokens "
        "a "
        "step set B 64 in `train_gpt2.c` | `fathom bench train --size dense-12x768 --seq-len 64 "
        "--batch-tokens 256`, then `--batch-tokens 4096`, with `--precision f32` and with bf16 |\n",
        "| llama.cpp, finetune | its repository, `cmake -B build -DGGML_NATIVE=ON`, target "
        "`llama-finetune`; `pip install gguf numpy` | `tests/peers/llama_gguf.py 27m.gguf`, then "
        "`llama-finetune -m 27m.gguf -f TEXT -c 512 -b 512 -ub 512 -epochs 1 -opt adamw -lr 3e-4 "
        "-fa "
        "off`; TEXT of some 10 KB. `data=` of its progress line times 512 tokens, over `t=` | "
        "`fathom "
        "bench train --size dense-8x512 --precision f32` |\n",
        "| tiktoken, Hugging Face tokenizers | `pip install tiktoken tokenizers` | encode the same "
        "file in one thread, best of five, after one pass: `tiktoken.get_encoding(\"o200k_base\")."
        "encode_ordinary(text)`, `Tokenizer.from_file(FILE).encode(text)` | `fathom bench "
        "tokenizer "
        "--input FILE --tokenizer TOKENIZER` |\n"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        TRY(put(w, words[i]));
    return STATUS_OK;
}

static status put_page(file_writer *w, const bench_table *t, const char *command) {
    TRY(put_head(w, t, command));
    for (int i = 0; i < t->n; i++) {
        bool seen = same_word(t->rows[i].name, "load/");
        for (int k = 0; k < i && !seen; k++)
            seen = same_word(t->rows[k].name, t->rows[i].name);
        if (!seen) TRY(put_section(w, t, i));
    }
    return put_peers(w);
}

status bench_page_write(const char *path, const bench_table *t, const char *command) {
    file_writer *w;
    TRY(writer_open(&w, path));
    status s = put_page(w, t, command);
    if (s == STATUS_OK) return writer_commit(w);
    writer_abandon(w);
    return s;
}
