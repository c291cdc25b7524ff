// A sequence in either layout. Where the channels of a token are neighbours in memory it is read row by row where it
// lies; where the tokens of a channel are, a tile of it is transposed first, into memory that stays in the cache.
// Either way the walk sees the same numbers. Included by cpu_kernel.cpp only, inside its unnamed namespace.

// Lanes whose number has bit H leave a for b, those without it leave b for a.
template <int H, int... LANE>
inline void exchange(Vec& a, Vec& b, std::integer_sequence<int, LANE...>) {
    const Vec low = shuffle<(LANE & H ? LANES + LANE - H : LANE)...>(a, b);
    b = shuffle<(LANE & H ? LANES + LANE : LANE + H)...>(a, b);
    a = low;
}

// Lane j of vector i becomes lane i of vector j.
template <int H = LANES / 2>
inline void transpose(Vec* v) {
    for (int i = 0; i < LANES; i++)
        if (!(i & H)) exchange<H>(v[i], v[i + H], std::make_integer_sequence<int, LANES>());
    if constexpr (H > 1) transpose<H / 2>(v);
}

// to[t * width + d] = from[d * stride + t * step], step 1 or -1.
template <class E>
void transpose_some(E* to, int64_t width, const E* from, int64_t stride, int64_t step, int tokens, int64_t channels) {
    for (int t = 0; t < tokens; t++)
        for (int64_t d = 0; d < channels; d++) to[t * width + d] = from[d * stride + t * step];
}

inline void transpose_tile(float* to, int64_t width, const float* from, int64_t stride, int64_t step, int tokens,
                           int64_t channels) {
    const int64_t whole = channels / LANES * LANES;
    for (int64_t d = 0; d < whole; d += LANES) {
        const float* rows = from + d * stride;
        int t = 0;
        for (; t + LANES <= tokens; t += LANES) {
            Vec v[LANES];
            const float* first = rows + (step > 0 ? t : -(t + LANES - 1));
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) v[i] = load<true>(first + i * stride, LANES);
            transpose(v);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                store<true>(to + (t + (step > 0 ? i : LANES - 1 - i)) * width + d, v[i], LANES);
        }
        transpose_some(to + t * width + d, width, rows + t * step, stride, step, tokens - t, LANES);
    }
    transpose_some(to + whole, width, from + whole * stride, stride, step, tokens, channels - whole);
}

inline void transpose_tile(Bfloat16* to, int64_t width, const Bfloat16* from, int64_t stride, int64_t step, int tokens,
                           int64_t channels) {
    transpose_some(to, width, from, stride, step, tokens, channels);
}

// Rows of a tile.
template <class E>
struct View {
    const E* first;
    int64_t step, origin;  // origin: the channel that a row begins with
    const E* operator()(int64_t t, int64_t d) const { return first + t * step + (d - origin); }
};

template <class E>
struct Sequence {
    Rows<const E> rows;
    int64_t channel, width;  // channel: stride between neighbours
    Array<E> tile;           // (tokens, width)
    Sequence(const void* data, int64_t batch, Strides strides, int64_t length, bool reverse, int64_t tokens,
             int64_t width)
        : rows(data, batch, strides, length, reverse),
          channel(strides.channel),
          width(width),
          tile(data && channel != 1 ? tokens * width : 0) {}

    // The tokens [t0, t0 + tokens) of the channels [d, d + channels); good until the next call.
    View<E> at(int64_t t0, int tokens, int64_t d, int64_t channels) const {
        if (channel == 1) return {rows[t0], rows.step, 0};
        transpose_tile(tile.data, width, rows[t0] + d * channel, channel, rows.step, tokens, channels);
        return {tile.data, width, d};
    }
};
