/* recipes.c - settings with a name, as INI text.
 *
 * A recipe names a model size and what was found to train it well; flags and files override single
 * lines. `fathom config presets` prints them.
 *
 * shakespeare-char is the model of the published CPU recipe for that text (4 layers of 128, context 64;
 * nanoGPT's README) with this program's block: RMSNorm, RoPE, SwiGLU. The recipe takes 2,000 steps of
 * 12 rows with AdamW to 1.88 nats. Here it is 320 steps of 24 rows with Muon, a third of those tokens, to
 * 1.78; the same 2,000 steps with AdamW end at 1.68.
 * shakespeare-char-10m is its recipe for a GPU (config/train_shakespeare_char.py) with that block: 6
 * layers of 384, context 256, 64 rows a step, dropout 0.2, 5,000 steps.
 */
#include "train/settings.h"

const option_preset train_recipes[] = {
    {"tiny", "f-1m for about 20 seconds: tests, first contact",
     "[model]\n"
     "size = f-1m\n"
     "[train]\n"
     "seq-len = 128\n"
     "batch-tokens = 2048\n"
     "grad-lanes = 4\n"
     "max-steps = 80\n"
     "learning-rate = 3e-3\n"
     "warmup-steps = 10\n"
     "eval-every = 40\n"
     "eval-tokens = 16k\n"
     "sample-every = 40\n"},
    {"first", "f-5m for ten minutes: what `fathom start` trains",
     "[model]\n"
     "size = f-5m\n"
     "[train]\n"
     "seq-len = 256\n"
     "batch-tokens = 4096\n"
     "minutes = 6\n"
     "learning-rate = 2e-3\n"
     "optimizer = muon\n"
     "schedule = wsd\n"
     "decay-share = 0.2\n"
     "eval-tokens = 16k\n"},
    {"shakespeare-char", "dense, 0.8 M parameters, bytes: --input FILE, half a minute",
     "[model]\n"
     "size = shakespeare-char\n"
     "[train]\n"
     "seq-len = 64\n"
     "batch-tokens = 1536\n"
     "grad-lanes = 1\n"
     "max-steps = 320\n"
     "optimizer = muon\n"
     "learning-rate = 5e-3\n"
     "warmup-steps = 32\n"
     "schedule = wsd\n"
     "decay-share = 0.5\n"
     "beta2 = 0.99\n"
     "weight-decay = 0.1\n"
     "eval-every = 80\n"
     "sample-every = 160\n"
     "sample-prompt = \"ROMEO:\"\n"},
    {"shakespeare-char-10m", "dense, 10.7 M parameters, bytes, dropout: --input FILE, hours",
     "[model]\n"
     "size = shakespeare-char-10m\n"
     "[train]\n"
     "seq-len = 256\n"
     "batch-tokens = 16384\n"
     "grad-lanes = 1\n"
     "max-steps = 5000\n"
     "learning-rate = 1e-3\n"
     "min-learning-rate = 1e-4\n"
     "warmup-steps = 100\n"
     "schedule = cosine\n"
     "beta2 = 0.99\n"
     "weight-decay = 0.1\n"
     "dropout = 0.2\n"
     "eval-every = 250\n"
     "sample-every = 1000\n"
     "sample-prompt = \"ROMEO:\"\n"},
    {"f-1m", "the size f-1m with settings by its size", "[model]\nsize = f-1m\n"},
    {"f-5m", "the size f-5m with settings by its size", "[model]\nsize = f-5m\n"},
    {"f-15m", "the size f-15m with settings by its size", "[model]\nsize = f-15m\n"},
    {"f-50m", "the size f-50m with settings by its size", "[model]\nsize = f-50m\n"},
    {NULL, NULL, NULL},
};
