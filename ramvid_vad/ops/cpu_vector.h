// One vector of neighbouring channels: its width, elementary functions, memory access and sums over its lanes.
// Included by cpu_kernel.cpp only, inside its unnamed namespace.

// FORWARD_STATES, BACKWARD_STATES: states of a channel that are walked at a time, as many as registers and cache like.
#if defined(__AVX512F__)
constexpr int LANES = 16, FORWARD_STATES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8, FORWARD_STATES = 4;
#else
constexpr int LANES = 4, FORWARD_STATES = 4;
#endif
constexpr int BACKWARD_STATES = 4;

typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef int32_t Ints __attribute__((vector_size(LANES * 4)));
typedef uint32_t Bits __attribute__((vector_size(LANES * 4)));
typedef uint16_t Halves __attribute__((vector_size(LANES * 2)));

constexpr float LOG2E = 1.44269504088896341f, LN2 = 0.693147180559945309f;

// ---- elementary functions, tested in tests/ops ----
//
// Relative error of exp2 below 3e-7, and near 0 6e-6 of 1 - exp2; of softplus and sigmoid below 5e-7, and 1e-7 |x| from
// the rounding of x log2(e).

// The larger and the smaller of bound and x. NaN in x passes, being the second operand of the machine's max and min.
#if defined(__AVX512F__)
inline Vec at_least(Vec bound, Vec x) { return (Vec)_mm512_max_ps((__m512)bound, (__m512)x); }
inline Vec at_most(Vec bound, Vec x) { return (Vec)_mm512_min_ps((__m512)bound, (__m512)x); }
#elif defined(__AVX2__)
inline Vec at_least(Vec bound, Vec x) { return (Vec)_mm256_max_ps((__m256)bound, (__m256)x); }
inline Vec at_most(Vec bound, Vec x) { return (Vec)_mm256_min_ps((__m256)bound, (__m256)x); }
#elif defined(__SSE2__)
inline Vec at_least(Vec bound, Vec x) { return (Vec)_mm_max_ps((__m128)bound, (__m128)x); }
inline Vec at_most(Vec bound, Vec x) { return (Vec)_mm_min_ps((__m128)bound, (__m128)x); }
#else
inline Vec at_least(Vec bound, Vec x) { return x < bound ? bound : x; }
inline Vec at_most(Vec bound, Vec x) { return x > bound ? bound : x; }
#endif

#if defined(__AVX512F__)
// 2^(i/32) / 4.162783; see exp2. A state that decays slowly sums up thousands of tokens, and with them what exp2 is
// wrong by on average near 0. So of the numbers that would do, this one times the first entry is 1 to 1e-11, and the
// slope there is right to 6e-6; the parabola with the least largest error has 1.5e-5.
alignas(64) constexpr float ROOTS_OF_TWO[32] = {
    0.2402239f, 0.24548411f, 0.25085953f, 0.25635263f, 0.26196602f, 0.26770234f, 0.27356425f, 0.27955452f,
    0.28567597f, 0.29193145f, 0.29832393f, 0.30485636f, 0.31153184f, 0.3183535f, 0.32532454f, 0.3324482f,
    0.3397279f, 0.34716696f, 0.35476893f, 0.36253735f, 0.3704759f, 0.37858826f, 0.38687828f, 0.3953498f,
    0.40400684f, 0.41285342f, 0.42189375f, 0.43113202f, 0.44057256f, 0.45021987f, 0.4600784f, 0.4701528f,
};
#endif

inline Vec exp2(Vec x) {
#if defined(__AVX512F__)
    // x = i/32 + f, |f| <= 1/64: 2^f is a parabola, of which the table holds the leading factor, so that one of its
    // products is a sum; 2^(i/32) comes from the table, by the five low bits of i, which adding 1.5 * 2^18 leaves
    // there, and from scalef, which takes the whole octaves and saturates to 0 and infinity; of an infinite x, f is NaN
    // and so is the result. Multiplications are scarce here: the recurrence around them needs as many, and additions
    // run beside them.
    const Vec rounded = (Vec)_mm512_roundscale_ps((__m512)x, 5 << 4), f = x - rounded;
    const __m512i index = (__m512i)(x + 393216.0f);
    const __m512 low = _mm512_load_ps(ROOTS_OF_TWO), high = _mm512_load_ps(ROOTS_OF_TWO + 16);
    const __m512 root = _mm512_scalef_ps(_mm512_permutex2var_ps(low, index, high), (__m512)rounded);
    return (f * (f + 2.8854386f) + 4.162783f) * (Vec)root;
#else
    x = at_most(Vec{} + 127.0f, at_least(Vec{} - 126.0f, x));
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
    Vec shifted = x + 12582912.0f;
    Vec f = x - (shifted - 12582912.0f);
    Vec p = f * 0.00132647f + 0.00967151f;
    p = p * f + 0.05550734f;
    p = p * f + 0.24022242f;
    p = p * f + 0.69314698f;
    p = p * f + 1.0f;
    return p * (Vec)(((Bits)shifted + 127u) << 23);
#endif
}

inline Vec reciprocal(Vec x) {
#if defined(__AVX512F__)
    Vec r = (Vec)_mm512_rcp14_ps((__m512)x);
    return r * (2.0f - x * r);  // one Newton step
#else
    return 1.0f / x;
#endif
}

inline Vec absolute(Vec x) { return (Vec)((Bits)x & 0x7fffffffu); }

// Held below 2^127, beyond which the reciprocal of infinity would be NaN.
inline Vec sigmoid(Vec x) { return reciprocal(exp2(at_most(Vec{} + 126.0f, x * -LOG2E)) + 1.0f); }

// x sigmoid(x). For a bfloat16 result the machine's estimate of the reciprocal will do: its error of 2^-14 is a
// thirtieth of the rounding, and it takes infinity.
template <class E>
inline Vec silu(Vec x) {
#if defined(__AVX512F__)
    if (sizeof(E) == 2) return x * (Vec)_mm512_rcp14_ps((__m512)(exp2(x * -LOG2E) + 1.0f));
#endif
    return x * sigmoid(x);
}

// The gradient of x from dy, that of silu(x); open = sigmoid(x).
inline Vec silu_gradient(Vec dy, Vec x, Vec open) { return dy * open * (1.0f + x * (1.0f - open)); }

// log(1 + e^x) = max(x, 0) + 2 artanh(s), s = e / (2 + e), e = e^-|x|: relatively exact where x << 0.
inline Vec softplus(Vec x) {
    Vec e = exp2(absolute(x) * -LOG2E);
    Vec s = e * reciprocal(e + 2.0f);
    Vec q = s * s;
    Vec p = q * 0.2801199f + 0.28001808f;
    p = p * q + 0.40021526f;
    p = p * q + 0.66666416f;
    p = p * q + 2.0f;
    return at_least(Vec{}, x) + s * p;
}

inline int lanes(int64_t channels) { return channels < LANES ? channels : LANES; }

// ---- memory: float or bfloat16 elements, whole vectors or the `count` first lanes ----

struct Bfloat16 {
    uint16_t bits;
};

// FULL says at compile time that count is LANES: only the last channels of a tensor are less.
template <bool FULL, class T>
inline T read(const void* p, int count) {
    T v{};
    if (FULL)
        memcpy(&v, p, sizeof v);
    else
        memcpy(&v, p, count * sizeof v[0]);
    return v;
}

template <bool FULL, class T>
inline void write(void* p, T v, int count) {
    if (FULL)
        memcpy(p, &v, sizeof v);
    else
        memcpy(p, &v, count * sizeof v[0]);
}

template <bool FULL>
inline Vec load(const float* p, int count) {
    return read<FULL, Vec>(p, count);
}

template <bool FULL>
inline Vec load(const Bfloat16* p, int count) {
    return (Vec)(__builtin_convertvector(read<FULL, Halves>(p, count), Bits) << 16);
}

template <bool FULL>
inline void store(float* p, Vec v, int count) {
    write<FULL>(p, v, count);
}

#if defined(__AVX512F__) && (defined(__clang__) || __GNUC__ >= 10)  // older ones do not know the instruction
const bool CONVERTS_BFLOAT16 = __builtin_cpu_supports("avx512bf16");
#define CONVERTS
#endif

// To nearest, ties to even. The machine's own instruction, where it has one, takes subnormal numbers for zero.
template <bool FULL>
inline void store(Bfloat16* p, Vec v, int count) {
#if defined(CONVERTS)
    if (CONVERTS_BFLOAT16) {
        __m256i halves;  // in assembly, so that this file needs no further instruction set
        asm("vcvtneps2bf16 %1, %0" : "=v"(halves) : "v"((__m512)v));
        write<FULL>(p, (Halves)halves, count);
        return;
    }
#endif
    Bits bits = (Bits)v;
    bits += 0x7fffu + ((bits >> 16) & 1u);
    bits = v == v ? bits >> 16 : Bits{} + 0x7fc0u;
    write<FULL>(p, __builtin_convertvector(bits, Halves), count);
}

inline void unpack(float* to, const float* from, int64_t count) {
    for (int64_t i = 0; i < count; i++) to[i] = from[i];
}

inline void unpack(float* to, const Bfloat16* from, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)from[i].bits << 16;
        memcpy(to + i, &bits, sizeof bits);
    }
}

// Lane i of vector j holds scale * from[i * stride + j]: parameters stored as (channel, state) rows.
inline void load_transposed(Vec* to, const float* from, int64_t stride, int64_t vectors, int count, float scale) {
    for (int64_t j = 0; j < vectors; j++) {
        to[j] = Vec{};
        for (int i = 0; i < count; i++) to[j][i] = from[i * stride + j] * scale;
    }
}

inline void store_transposed(float* to, const Vec* from, int64_t stride, int64_t vectors, int count) {
    for (int64_t j = 0; j < vectors; j++)
        for (int i = 0; i < count; i++) to[i * stride + j] = from[j][i];
}

// ---- sums over the lanes ----

// Lane i of the result is lane LANE_i of a, or of b for LANE_i >= LANES.
template <int... LANE>
inline Vec shuffle(Vec a, Vec b) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, LANE...);
#else
    return __builtin_shuffle(a, b, Ints{LANE...});
#endif
}

// Both vectors hold groups of M lanes to be summed; the result holds groups of M / 2, those of a and b in turn.
template <int M, int... LANE>
inline Vec fold(Vec a, Vec b, std::integer_sequence<int, LANE...>) {
    constexpr int H = M / 2;
    return shuffle<(LANE / H % 2 * LANES + LANE / H / 2 * M + LANE % H)...>(a, b) +
           shuffle<(LANE / H % 2 * LANES + LANE / H / 2 * M + LANE % H + H)...>(a, b);
}

template <int M>
inline void fold_all(Vec* v) {
    for (int i = 0; i < M / 2; i++) v[i] = fold<M>(v[i], v[i + M / 2], std::make_integer_sequence<int, LANES>());
    if constexpr (M > 2) fold_all<M / 2>(v);
}

// to[j] = sum of the lanes of from(j): LANES vectors are transposed and added in one tree.
template <class From>
inline void sum_lanes(float* to, int64_t vectors, From from) {
    for (int64_t j = 0; j < vectors; j += LANES) {
        Vec v[LANES];
        for (int i = 0; i < LANES; i++) v[i] = j + i < vectors ? from(j + i) : Vec{};
        fold_all<LANES>(v);
        memcpy(to + j, v, lanes(vectors - j) * sizeof(float));
    }
}

// ---- what the walks share ----

template <class T>
struct Array {  // zeroed, on a cache line
    T* data;
    int64_t size;
    explicit Array(int64_t size) : size(size) {
        if (posix_memalign((void**)&data, 64, size * sizeof(T))) abort();
        clear();
    }
    void clear() { memset((void*)data, 0, size * sizeof(T)); }
    ~Array() { free(data); }
    Array(const Array&) = delete;
    T& operator[](int64_t i) const { return data[i]; }
};
using Scratch = Array<Vec>;

struct Strides {
    int64_t batch, time, channel;  // in elements
};

// One (length, channels) matrix of a batch, its rows in walking order.
template <class E>
struct Rows {
    E* first;
    int64_t step;
    Rows(const void* data, int64_t batch, Strides strides, int64_t length, bool reverse)
        : first((E*)data + batch * strides.batch + (reverse ? (length - 1) * strides.time : 0)),
          step(reverse ? -strides.time : strides.time) {}
    E* operator[](int64_t t) const { return first + t * step; }
};
