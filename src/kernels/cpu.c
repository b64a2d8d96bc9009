/* cpu.c - what this CPU and this system offer, and the choice of tier.
 *
 * Asks CPUID leaves and XCR0, never family or model: virtual machines report models that do not
 * match their features. A feature counts only if the system saves its registers (XCR0). AMX also
 * needs leave from Linux (arch_prctl ARCH_REQ_XCOMP_PERM, once per process, before the first tile
 * instruction); a sandbox may refuse, then the tier below is the best.
 *
 * On arm64 the kernel tells by the auxiliary vector what the CPU has and what it saves.
 */
#include "kernels/kernels.h"
#include "kernels/kernels_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(FATHOM_X86_TIERS)
#include <cpuid.h>
#elif defined(FATHOM_ARM_TIERS)
#include <sys/auxv.h>
#endif

typedef struct cpu_features {
    bool avx2, avx512, vnni, bf16, amx_cpu, amx; /* bf16 on arm64: BFMLAL among others */
    bool neon, dotprod, i8mm;
} cpu_features;

static const tier_kernels *current = &tier_portable;
static cpu_tier current_tier = TIER_PORTABLE;

const tier_kernels *kernels_table(void) {
    return current;
}
void kernels_use_table(const tier_kernels *table) {
    current = table;
}
cpu_tier kernels_tier(void) {
    return current_tier;
}

const char *tier_name(cpu_tier tier) {
    static const char *const names[TIER_COUNT] = {"portable", "avx2", "avx512",   "avx512-bf16",
                                                  "amx",      "neon", "neon-bf16"};
    return tier >= 0 && tier < TIER_COUNT ? names[tier] : "unknown";
}

#if defined(FATHOM_X86_TIERS)
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA  18

static uint64_t read_xcr0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool bit(unsigned word, int n) {
    return word >> n & 1u;
}

/* Tiles must be 8 x 16 rows x 64 bytes, and products at least 16 x 64. */
static bool amx_palette_fits(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid_count(0x1D, 1, &a, &b, &c, &d)) return false;
    if (b >> 16 < 8 || (b & 0xFFFF) < 64 || (c & 0xFFFF) < 16) return false;
    if (!__get_cpuid_count(0x1E, 0, &a, &b, &c, &d)) return false;
    return (b & 0xFF) >= 16 && (b >> 8 & 0xFFFF) >= 64;
}

static cpu_features detect(void) {
    cpu_features f = {0};
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !bit(c, 27) || !bit(c, 28)) return f;
    bool fma = bit(c, 12) && bit(c, 29);
    uint64_t xcr0 = read_xcr0();
    if ((xcr0 & 0x6) != 0x6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return f;
    f.avx2 = fma && bit(b, 5);
    f.avx512 =
        f.avx2 && (xcr0 & 0xE0) == 0xE0 && bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31);
    f.vnni = f.avx512 && bit(c, 11);
    f.amx_cpu =
        f.avx512 && bit(d, 22) && bit(d, 24) && (xcr0 & 0x60000) == 0x60000 && amx_palette_fits();
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) f.bf16 = f.avx512 && bit(a, 5);
    f.amx = f.amx_cpu && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
    return f;
}

static void choose_table(cpu_tier tier) {
    static tier_kernels pairs; /* AVX-512 with products of bf16-dot by VDPBF16PS */
    static tier_kernels amx;   /* AVX-512 with products of bf16 on tiles */
    pairs = tier_avx512;
    pairs.bf16_dot = product_avx512_bf16;
    pairs.to_bf16 = avx512_bf16_round;
    pairs.pair_bf16 = avx512_bf16_pair;
    amx = tier_avx512;
    amx.bf16 = product_amx;
    amx.bf16.pack_strip = tier_avx512.bf16.pack_strip;
    const tier_kernels *const tables[TIER_COUNT] = {&tier_portable, &tier_avx2, &tier_avx512,
                                                    &pairs, &amx};
    current = tables[tier];
}
#elif defined(FATHOM_ARM_TIERS)
static cpu_features detect(void) {
    unsigned long one = getauxval(AT_HWCAP), two = getauxval(AT_HWCAP2);
    cpu_features f = {.neon = (one & HWCAP_ASIMD) != 0};
    f.dotprod = f.neon && (one & HWCAP_ASIMDDP) != 0;
    f.i8mm = f.neon && (two & HWCAP2_I8MM) != 0;
    f.bf16 = f.neon && (two & HWCAP2_BF16) != 0;
    return f;
}

static void choose_table(cpu_tier tier) {
    static tier_kernels widening; /* NEON with products of bf16 by BFMLAL */
    widening = tier_neon;
    widening.bf16 = product_neon_bf16;
    widening.bf16.pack_strip = tier_neon.bf16.pack_strip;
    widening.bf16_dot = dot_neon_bf16;
    widening.bf16_dot.pack_strip = tier_neon.bf16_dot.pack_strip;
    current = tier == TIER_NEON_BF16 ? &widening : tier == TIER_NEON ? &tier_neon : &tier_portable;
}
#else
static cpu_features detect(void) {
    return (cpu_features){0};
}
static void choose_table(cpu_tier tier) {
    (void)tier, current = &tier_portable;
}
#endif

static const cpu_features *features(void) {
    static cpu_features found;
    static bool known;
    if (!known) found = detect();
    known = true;
    return &found;
}

bool kernels_offer(cpu_tier tier) {
    const cpu_features *f = features();
    switch (tier) {
    case TIER_PORTABLE: return true;
    case TIER_AVX2: return f->avx2;
    case TIER_AVX512: return f->avx512;
    case TIER_AVX512_BF16: return f->bf16 && !f->neon;
    case TIER_AMX: return f->amx;
    case TIER_NEON: return f->neon;
    case TIER_NEON_BF16: return f->neon && f->bf16;
    case TIER_COUNT: break;
    }
    return false;
}

cpu_tier kernels_best_tier(void) {
    cpu_tier best = TIER_COUNT - 1;
    while (!kernels_offer(best))
        best--;
    return best;
}

/* VDPBF16PS does twice the work of an FMA on AMD (Zen 4 on), and half of it on Intel's CPUs with
 * AMX, where bf16-dot therefore is no gain without tiles either. */
gemm_type gemm_type_fastest(void) {
    if (current_tier == TIER_AMX) return GEMM_BF16;
    if (current_tier == TIER_AVX512_BF16 && !features()->amx_cpu) return GEMM_BF16_DOT;
    return GEMM_F32;
}

const char *kernels_cpu_text(void) {
    const cpu_features *f = features();
    if (f->neon)
        return text("arm64, NEON%s%s%s", f->dotprod ? " DOTPROD" : "", f->i8mm ? " I8MM" : "",
                    f->bf16 ? " BF16" : "");
#if defined(__aarch64__)
    return "arm64, portable kernels";
#endif
    if (!f->avx2) return "no AVX2, portable kernels";
    if (!f->avx512) return "AVX2 FMA, no AVX-512";
    return text("AVX-512 (F BW DQ VL%s%s), %s", f->vnni ? " VNNI" : "", f->bf16 ? " BF16" : "",
                f->amx       ? "AMX (bf16)"
                : f->amx_cpu ? "AMX refused by the system"
                             : "no AMX");
}

const char *kernels_tier_name(void) {
    return tier_name(current_tier);
}

status kernels_init(const char *forced) {
    const char *source = forced != NULL ? "argument" : "FATHOM_CPU";
    if (forced == NULL) forced = getenv("FATHOM_CPU");
    cpu_tier best = kernels_best_tier(), tier = best;
    if (forced != NULL && forced[0] != '\0') {
        for (tier = 0; tier < TIER_COUNT && strcmp(forced, tier_name(tier)) != 0;)
            tier++;
        if (tier == TIER_COUNT)
            return FAIL(F_CPU, text("there is no kernel tier \"%s\"", forced), source,
                        "tiers are portable, avx2, avx512, avx512-bf16, amx, neon and neon-bf16",
                        "name one of these, or leave FATHOM_CPU unset for the best one");
        if (!kernels_offer(tier))
            return FAIL(
                F_CPU, text("this CPU cannot run the tier \"%s\"", forced), source,
                text("it offers: %s", kernels_cpu_text()),
                text("use \"%s\" or a lower tier, or leave FATHOM_CPU unset", tier_name(best)));
    }
    choose_table(tier);
    current_tier = tier;
    return STATUS_OK;
}
