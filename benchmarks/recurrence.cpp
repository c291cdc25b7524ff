// The inner loop of the selective scan alone, with one way after another to take exp(dt A): see recurrence.py.
// Prints a line of JSON for each. AVX-512 only; a vector is 16 channels of one state at one token.

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include <immintrin.h>

namespace {

#include "../ramvid_vad/ops/cpu_vector.h"

constexpr int TOKENS = 32, STATES = 16, BLOCKS = 4, TURNS = 21;  // what the scan has in the first-level cache at a time

struct Block {
    Vec dt[TOKENS], x[TOKENS], y[TOKENS], a2[STATES], h[STATES];
};

// 2^(i/32); the same with i << 18 taken from its bits; and times what Vertex leaves open.
alignas(64) float roots[32], shifted_roots[32], vertex_roots[32];

Vec root(const float* table, Vec index) {
    return (Vec)_mm512_permutex2var_ps(_mm512_load_ps(table), (__m512i)index, _mm512_load_ps(table + 16));
}

Vec scaled(Vec x, Vec octaves) { return (Vec)_mm512_scalef_ps((__m512)x, (__m512)octaves); }

// Each: 2^(dt a2).

struct None {  // not even right: what the recurrence costs by itself
    static constexpr const char* name = "no exponential";
    static Vec power(Vec dt, Vec a2) { return dt * a2; }
};

struct Kernel {
    static constexpr const char* name = "the kernel's";
    static Vec power(Vec dt, Vec a2) { return exp2(dt * a2); }
};

struct Degree5 {
    static constexpr const char* name = "polynomial of degree 5";
    static Vec power(Vec dt, Vec a2) {
        const Vec x = dt * a2, k = (Vec)_mm512_roundscale_ps((__m512)x, 0), f = x - k;
        Vec p = f * 0.00132647f + 0.00967151f;
        p = p * f + 0.05550734f;
        p = p * f + 0.24022242f;
        p = p * f + 0.69314698f;
        return scaled(p * f + 1.0f, k);
    }
};

struct Horner {
    static constexpr const char* name = "table, parabola by Horner";
    static Vec power(Vec dt, Vec a2) {
        const Vec x = dt * a2, shifted = x + 393216.0f, k = shifted - 393216.0f, f = x - k;
        const Vec p = (f * 0.24022654f + 0.69315734f) * f + 1.0f;
        return scaled(p * root(roots, shifted), k);
    }
};

struct Reduce {  // rounds down, as vreduceps leaves the rest
    static constexpr const char* name = "table, rest by vreduceps";
    static Vec power(Vec dt, Vec a2) {
        const Vec x = dt * a2, f = (Vec)_mm512_reduce_ps((__m512)x, 5 << 4 | 1);
        const Vec p = (f * 0.24282279f + 0.69311113f) * f + 1.0f;
        const __m512 index =
            _mm512_add_round_ps((__m512)x, _mm512_set1_ps(393216.0f), _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
        return scaled(p * root(roots, (Vec)index), x);
    }
};

struct Shift {  // wrong beyond 2^-126: needs to know the range
    static constexpr const char* name = "table, octaves by shift and add";
    static Vec power(Vec dt, Vec a2) {
        const Vec x = dt * a2, shifted = x + 393216.0f, f = x - (shifted - 393216.0f);
        const Vec p = (f * 0.24022654f + 0.69315734f) * f + 1.0f;
        return p * (Vec)((Bits)root(shifted_roots, shifted) + ((Bits)shifted << 18));
    }
};

// (f + 1.4427)^2 + 2.0813: 46/32 of the 1.4427 come with k, and the rest with x, which moves its middle
struct Vertex {
    static constexpr const char* name = "table, parabola from its vertex";
    static Vec power(Vec dt, Vec a2) {
        const Vec x = dt * a2 + 0.00522677042f, shifted = x + 393216.0f, k = shifted - 393217.4375f, f = x - k;
        return (f * f + 2.08130789f) * scaled(root(vertex_roots, shifted), k);
    }
};

struct Products {  // rounding and rest by products with sums
    static constexpr const char* name = "table, x taken twice";
    static Vec power(Vec dt, Vec a2) {
        const Vec shifted = dt * a2 + 393216.0f, k = shifted - 393216.0f, f = dt * a2 - k;
        return ((f * 0.24022654f + 0.69315734f) * f + 1.0f) * scaled(root(roots, shifted), k);
    }
};

template <class Way>
__attribute__((noinline)) void recurrence(Block& block, const float* B, const float* C) {
    Vec s[STATES];
    for (int n = 0; n < STATES; n++) s[n] = block.h[n];
    for (int t = 0; t < TOKENS; t++, B += STATES, C += STATES) {
        const Vec dt = block.dt[t], x = block.x[t];
        Vec even = block.y[t], odd{};
#pragma GCC unroll 16
        for (int n = 0; n < STATES; n++) {
            s[n] = Way::power(dt, block.a2[n]) * s[n] + x * B[n];
            (n % 2 ? odd : even) += s[n] * C[n];
        }
        block.y[t] = even + odd;
    }
    for (int n = 0; n < STATES; n++) block.h[n] = s[n];
}

double now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

// Seconds of a processor cycle: of a chain of additions that wait for each other, one cycle each. Of a register: recent
// processors of Intel's add constants when they rename, several in a cycle.
double cycle() {
    const long chains = 100000;
    double best = 1;
    for (int k = 0; k < 3; k++) {
        long n = chains, x = 0;
        const double start = now();
        asm volatile("1: add %2, %1\n add %2, %1\n add %2, %1\n add %2, %1\n dec %0\n jnz 1b"
                     : "+r"(n), "+r"(x)
                     : "r"(1L)
                     : "cc");
        best = std::min(best, (now() - start) / (4 * chains));
    }
    return best;
}

Block* blocks;
float B[TOKENS * STATES], C[TOKENS * STATES];

template <class Way>
struct Contestant {
    static inline double cycles[TURNS], nanoseconds[TURNS];

    static void take_turn(int turn) {
        const int rounds = 100;
        const double unit = cycle(), start = now();
        for (int i = 0; i < rounds; i++)
            for (int b = 0; b < BLOCKS; b++) recurrence<Way>(blocks[b], B, C);
        nanoseconds[turn] = 1e9 * (now() - start) / (rounds * BLOCKS * TOKENS * STATES);
        cycles[turn] = 1e-9 * nanoseconds[turn] / unit;
    }

    static void report() {
        std::sort(cycles, cycles + TURNS), std::sort(nanoseconds, nanoseconds + TURNS);
        double worst = 0, sum = 0;  // of exp over [-4, 0]
        const int samples = 1 << 16;
        for (int i = 0; i < samples; i++) {
            const float x = -4.0f * i / samples;
            const double error = Way::power(Vec{} + x, Vec{} + LOG2E)[0] / exp((double)(x * LOG2E) * log(2.0)) - 1;
            worst = std::max(worst, fabs(error)), sum += error;
        }
        printf("{\"way\": \"%s\", \"cycles\": %.2f, \"ns\": %.3f, \"error\": %.1e, \"bias\": %.1e}\n", Way::name,
               cycles[TURNS / 2], nanoseconds[TURNS / 2], worst, sum / samples);
    }
};

template <class... Ways>
void race() {
    for (int turn = 0; turn < TURNS; turn++) (Contestant<Ways>::take_turn(turn), ...);
    (Contestant<Ways>::report(), ...);
}

}  // namespace

int main() {
    for (int i = 0; i < 32; i++) {
        roots[i] = (float)::exp2(i / 32.0);
        uint32_t bits;
        memcpy(&bits, roots + i, 4);
        bits -= i << 18;
        memcpy(shifted_roots + i, &bits, 4);
        vertex_roots[i] = (float)(::exp2(i / 32.0) * (i < 14 ? 4 : 2) / 4.162768363952637);
    }
    Array<Block> memory(BLOCKS);
    blocks = memory.data;
    srand48(0);
    for (int b = 0; b < BLOCKS; b++)
        for (int i = 0; i < LANES; i++) {
            for (int t = 0; t < TOKENS; t++) blocks[b].dt[t][i] = drand48(), blocks[b].x[t][i] = drand48();
            for (int n = 0; n < STATES; n++) blocks[b].a2[n][i] = -16 * LOG2E * drand48();
        }
    for (int i = 0; i < TOKENS * STATES; i++) B[i] = drand48(), C[i] = drand48();
    race<None, Kernel, Degree5, Horner, Reduce, Shift, Vertex, Products>();
}
