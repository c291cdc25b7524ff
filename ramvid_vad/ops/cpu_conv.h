// Depthwise causal convolution and SiLU, forward and backward. Included by cpu_kernel.cpp only, inside its unnamed
// namespace. Memory-bound: whole rows are walked one after the other, threads take stretches of tokens.

struct Conv {  // mirrored field by field in cpu_library.py
    int64_t batch, dim, length, width, chunk;  // chunk: tokens walked by one task
    int64_t reverse, half, threads;
    const void *x, *dy;  // elements: float, or bfloat16 if half
    Strides x_strides, dy_strides;
    const float *weight, *bias;  // (width, dim), (dim); bias may be null
    void *y, *dx;                // elements (batch, length, dim)
    float *dweight, *dbias;      // (batch, chunks, width, dim), (batch, chunks, dim)

    int64_t bytes() const { return batch * length * dim * (half ? 2 : 4); }  // of a (batch, length, dim) tensor
};

// Most widths are 4: with WIDTH = 4 the loops over taps unroll; WIDTH = 0 takes the width at run time.
template <class E, int WIDTH>
struct Taps {
    const Conv& a;
    const Rows<const E> x;

    Taps(const Conv& a, int64_t batch) : a(a), x(a.x, batch, a.x_strides, a.length, a.reverse) {}
    int64_t width() const { return WIDTH ? WIDTH : a.width; }
    // Tap k of token t reads token t - (width - 1) + k; the first taps may lie in front of the sequence.
    int64_t first(int64_t t) const { return t < width() - 1 ? width() - 1 - t : 0; }

    template <bool FULL>
    Vec input(int64_t t, int64_t k, int64_t d, int count) const {
        return load<FULL>(x[t - (width() - 1) + k] + d, count);
    }
    // The value of token t before SiLU.
    template <bool FULL>
    Vec sum(int64_t t, int64_t d, int count) const {
        Vec v = a.bias ? load<FULL>(a.bias + d, count) : Vec{};
        for (int64_t k = first(t); k < width(); k++)
            v += load<FULL>(a.weight + k * a.dim + d, count) * input<FULL>(t, k, d, count);
        return v;
    }
};

template <class E, int WIDTH>
void conv_forward(const Conv& a, int64_t batch, int64_t, int64_t begin, int64_t end) {
    const Taps<E, WIDTH> taps(a, batch);
    const Rows<E> y(a.y, batch, {a.length * a.dim, a.dim, 1}, a.length, a.reverse);
    for (int64_t t = begin; t < end; t++) {
        int64_t d = 0;
        for (; d + LANES <= a.dim; d += LANES) {
            const Vec v = taps.template sum<true>(t, d, LANES);
            store<true>(y[t] + d, v * sigmoid(v), LANES);
        }
        if (d < a.dim) {
            const Vec v = taps.template sum<false>(t, d, a.dim - d);
            store<false>(y[t] + d, v * sigmoid(v), a.dim - d);
        }
    }
}

template <class E, int WIDTH>
struct ConvBackward {
    const Conv& a;
    const Taps<E, WIDTH> taps;
    const int64_t blocks, chunks;
    const Rows<const E> dy;
    const Rows<E> dx;
    Scratch ring, dweight, dbias;  // gradients before SiLU of the last `width` tokens; sums over the chunk

    ConvBackward(const Conv& a, int64_t batch)
        : a(a),
          taps(a, batch),
          blocks((a.dim + LANES - 1) / LANES),
          chunks((a.length + a.chunk - 1) / a.chunk),
          dy(a.dy, batch, a.dy_strides, a.length, a.reverse),
          dx(a.dx, batch, {a.length * a.dim, a.dim, 1}, a.length, a.reverse),
          ring(a.width * blocks),
          dweight(a.width * blocks),
          dbias(blocks) {}

    // `slot` is t modulo the width; tokens from `end` on belong to the next chunk and are needed for dx only.
    template <bool FULL>
    void token(int64_t t, int64_t slot, int64_t end, int64_t b, int count) {
        const int64_t W = taps.width(), d = b * LANES;
        const Vec v = taps.template sum<FULL>(t, d, count);
        const Vec dv = silu_gradient(load<FULL>(dy[t] + d, count), v, sigmoid(v));
        ring[slot * blocks + b] = dv;
        if (t >= end) return;
        Vec sum{};
        for (int64_t j = 0; j < W && t + j < a.length; j++) {
            const int64_t later = slot + j < W ? slot + j : slot + j - W;
            sum += load<FULL>(a.weight + (W - 1 - j) * a.dim + d, count) * ring[later * blocks + b];
        }
        store<FULL>(dx[t] + d, sum, count);
        dbias[b] += dv;
        for (int64_t k = taps.first(t); k < W; k++)
            dweight[k * blocks + b] += dv * taps.template input<FULL>(t, k, d, count);
    }

    // Tokens end-1 ... begin: dx_t = sum_j weight_{W-1-j} dv_{t+j} needs the later gradients first.
    void walk(int64_t batch, int64_t chunk, int64_t begin, int64_t end) {
        const int64_t W = taps.width(), halo = end + W - 1;
        for (int64_t t = (halo < a.length ? halo : a.length) - 1; t >= begin; t--) {
            for (int64_t b = 0; b < a.dim / LANES; b++) token<true>(t, t % W, end, b, LANES);
            if (a.dim % LANES) token<false>(t, t % W, end, blocks - 1, a.dim % LANES);
        }
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t d = b * LANES, row = batch * chunks + chunk;
            store<false>(a.dbias + row * a.dim + d, dbias[b], lanes(a.dim - d));
            for (int64_t k = 0; k < W; k++)
                store<false>(a.dweight + (row * W + k) * a.dim + d, dweight[k * blocks + b], lanes(a.dim - d));
        }
    }
};

template <class E, int WIDTH>
void conv_backward(const Conv& a, int64_t batch, int64_t chunk, int64_t begin, int64_t end) {
    ConvBackward<E, WIDTH>(a, batch).walk(batch, chunk, begin, end);
}
