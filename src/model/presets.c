/* presets.c - the sizes this program knows by name.
 *
 * f-1m to f-175b are the ladder: one DeepSeek-V3 shape from one million to
 * 175 billion parameters, so that what is learnt small can be tried large. The last column of each
 * row is what the counting formula gives and what a built model has (tests). The real models V2-Lite,
 * V2 and V3 are here to be counted and planned; V3 without its MTP layer, as the ladder counts it.
 *
 * shakespeare-char is the dense recipe of the first learning gate: 4 layers of 128, bytes as
 * vocabulary, about 0.8 M parameters (SwiGLU of 352 is 8/3 of 128 rounded up to 32);
 * shakespeare-char-10m is its larger sister, 6 layers of 384. The dense-LxD rows are GPT-like shapes
 * for benches.
 *
 * Mind: f- row widths are multiples of 32, as block formats need; the query rank is never zero.
 */
#include "model/presets.h"

#include <string.h>

#define COMMON                                                                                     \
    .rms_norm_eps = 1e-6, .rope_theta = 10000, .init_std = 0.02, .bos_id = -1, .eos_id = -1

/* d, layers, heads and what follows from the shared family; the rest is named in the row. */
#define DEEPSEEK(V, d, L, H, f, context)                                                           \
    .family = MODEL_DEEPSEEK_V3, .vocab_size = (V), .d_model = (d), .n_layer = (L), .d_ff = (f),   \
    .n_head = (H), .n_kv_head = (H), .max_position = (context), COMMON
#define MLA(qr, kr, n, r, v)                                                                       \
    .q_lora_rank = (qr), .kv_lora_rank = (kr), .qk_nope_head_dim = (n), .qk_rope_head_dim = (r),   \
    .v_head_dim = (v)
#define EXPERTS(E, K, S, fe, dense)                                                                \
    .n_expert = (E), .n_expert_used = (K), .n_shared_expert = (S), .d_expert = (fe),               \
    .first_k_dense = (dense), .balance_alpha = 1e-4
/* Sigmoid scores balanced by a bias (V3); softmax scores as they are (V2). */
#define ROUTE_V3(groups, keep, factor)                                                             \
    .sigmoid = true, .norm_topk_prob = true, .n_group = (groups), .topk_group = (keep),            \
    .routed_scaling_factor = (factor)
#define ROUTE_V2(groups, keep, factor)                                                             \
    .n_group = (groups), .topk_group = (keep), .routed_scaling_factor = (factor)
#define DENSE(V, d, L, H, f, context)                                                              \
    .family = MODEL_LLAMA, .vocab_size = (V), .d_model = (d), .n_layer = (L), .d_ff = (f),         \
    .n_head = (H), .n_kv_head = (H), .head_dim = (d) / (H), .max_position = (context),             \
    .tied = true, COMMON

/* clang-format off */
static const model_preset presets[] = {
    {"f-1m", "8 experts, 1.2 M parameters, 0.7 M active: tests, first contact",
     {DEEPSEEK(1024, 128, 4, 4, 352, 256), MLA(64, 64, 32, 16, 32),
      EXPERTS(8, 2, 1, 64, 1), ROUTE_V3(1, 1, 1), .tied = true}, 1188504, 746136},
    {"f-5m", "8 experts, 5.1 M parameters, 2.9 M active",
     {DEEPSEEK(4096, 192, 6, 6, 512, 512), MLA(96, 64, 32, 16, 32),
      EXPERTS(8, 2, 1, 128, 1), ROUTE_V3(1, 1, 1), .tied = true}, 5147560, 2935720},
    {"f-15m", "16 experts, 17 M parameters, 8 M active",
     {DEEPSEEK(8192, 256, 8, 8, 704, 512), MLA(128, 128, 32, 32, 32),
      EXPERTS(16, 4, 1, 128, 1), ROUTE_V3(1, 1, 1), .tied = true}, 16533872, 8276336},
    {"f-50m", "16 experts, 65 M parameters, 32 M active",
     {DEEPSEEK(16384, 512, 8, 8, 1408, 1024), MLA(256, 256, 64, 32, 64),
      EXPERTS(16, 4, 1, 256, 1), ROUTE_V3(1, 1, 1), .tied = true}, 65409648, 32379504},
    {"f-1b", "32 experts, 1.0 B parameters, 0.3 B active",
     {DEEPSEEK(65536, 1024, 20, 16, 4096, 2048), MLA(512, 256, 64, 32, 64),
      EXPERTS(32, 4, 1, 448, 1), ROUTE_V3(1, 1, 1), .tied = true}, 1006854752, 274686560},
    {"f-8b", "32 experts, 8.0 B parameters, 2.0 B active",
     {DEEPSEEK(129280, 2048, 24, 16, 8192, 4096), MLA(1024, 512, 128, 64, 128),
      EXPERTS(32, 4, 1, 1536, 1), ROUTE_V3(1, 1, 1)}, 8049466080, 1971919584},
    {"f-70b", "96 experts, 68 B parameters, 7.3 B active",
     {DEEPSEEK(129280, 4096, 40, 32, 12288, 4096), MLA(1024, 512, 128, 64, 128),
      EXPERTS(96, 6, 1, 1408, 1), ROUTE_V3(1, 1, 1)}, 68030041760, 7301762720},
    {"f-175b", "160 experts, 180 B parameters, 15 B active",
     {DEEPSEEK(129280, 5120, 48, 64, 16384, 4096), MLA(1536, 512, 128, 64, 128),
      EXPERTS(160, 8, 1, 1536, 2), ROUTE_V3(1, 1, 1)}, 180435824832, 15473848512},
    {"V2-Lite", "DeepSeek-V2-Lite, for counting",
     {DEEPSEEK(102400, 2048, 27, 16, 10944, 163840), MLA(0, 512, 128, 64, 128),
      EXPERTS(64, 6, 2, 1408, 1), ROUTE_V2(1, 1, 1)}, 15706484224, 2661150208},
    {"V2", "DeepSeek-V2, for counting",
     {DEEPSEEK(102400, 5120, 60, 128, 12288, 163840), MLA(1536, 512, 128, 64, 128),
      EXPERTS(160, 6, 2, 1536, 1), ROUTE_V2(8, 3, 16)}, 235741434880, 21375800320},
    {"V3", "DeepSeek-V3 without MTP, for counting",
     {DEEPSEEK(129280, 7168, 61, 128, 18432, 163840), MLA(1536, 512, 128, 64, 128),
      EXPERTS(256, 8, 1, 2048, 3), ROUTE_V3(8, 4, 2.5)}, 671026419200, 37552297472},
    {"shakespeare-char", "dense, bytes as vocabulary: the first learning gate",
     {DENSE(256, 128, 4, 4, 352, 64)}, 836736, 836736},
    {"shakespeare-char-10m", "dense, bytes as vocabulary: the larger learning gate",
     {DENSE(256, 384, 6, 6, 1024, 256)}, 10720128, 10720128},
    {"dense-f-1m", "dense, the active FLOPs of f-1m, for benches",
     {DEEPSEEK(1024, 128, 4, 4, 224, 256), MLA(64, 64, 32, 16, 32), .first_k_dense = 4,
      .tied = true}, 730752, 730752},
    {"dense-f-5m", "dense, the active FLOPs of f-5m, for benches",
     {DEEPSEEK(4096, 192, 6, 6, 416, 512), MLA(96, 64, 32, 16, 32), .first_k_dense = 6,
      .tied = true}, 2964864, 2964864},
    {"dense-f-15m", "dense, the active FLOPs of f-15m, for benches",
     {DEEPSEEK(8192, 256, 8, 8, 640, 512), MLA(128, 128, 32, 32, 32), .first_k_dense = 8,
      .tied = true}, 8198400, 8198400},
    {"dense-8x192", "dense, for benches",
     {DENSE(8192, 192, 8, 6, 512, 512)}, 5115072, 5115072},
    {"dense-8x320", "dense, for benches",
     {DENSE(16384, 320, 8, 5, 864, 512)}, 15160640, 15160640},
    {"dense-8x512", "dense, for benches: 27 M parameters",
     {DENSE(4096, 512, 8, 8, 1376, 512)}, 27402752, 27402752},
    {"dense-12x512", "dense, for benches",
     {DENSE(32768, 512, 12, 8, 1376, 1024)}, 54735360, 54735360},
    {"dense-12x768", "dense, for benches",
     {DENSE(50304, 768, 12, 12, 2048, 1024)}, 123587328, 123587328},
};
/* clang-format on */

int model_preset_count(void) {
    return (int)(sizeof presets / sizeof presets[0]);
}

const model_preset *model_preset_at(int i) {
    return i >= 0 && i < model_preset_count() ? &presets[i] : NULL;
}

const model_preset *model_preset_find(const char *name) {
    for (int i = 0; i < model_preset_count(); i++)
        if (strcmp(presets[i].name, name) == 0) return &presets[i];
    return NULL;
}
