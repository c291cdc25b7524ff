// Depthwise causal convolution and SiLU, forward and backward. Included by cpu_kernel.cpp only, inside its unnamed
// namespace. Memory-bound: whole rows are walked one after the other, threads take stretches of tokens.

struct Conv {  // mirrored field by field in cpu.py
    int64_t batch, dim, length, width, chunk;  // chunk: tokens walked by one task
    int64_t reverse, half, threads;
    const void *x, *dy;  // elements: float, or bfloat16 if half
    Strides x_strides, dy_strides;
    const float *weight, *bias;  // (width, dim), (dim); bias may be null
    void *y, *dx;                // elements (batch, length, dim)
    float *dweight, *dbias;      // (batch, chunks, width, dim), (batch, chunks, dim)
};

// The first tap of token t that does not lie in front of the sequence; tap k reads token t - (width - 1) + k.
inline int64_t first_tap(const Conv& a, int64_t t) { return t < a.width - 1 ? a.width - 1 - t : 0; }

// The value before SiLU of token t.
template <bool FULL, class E>
inline Vec convolve(const Conv& a, const Rows<const E>& x, int64_t t, int64_t d, int count) {
    Vec v = a.bias ? load<FULL>(a.bias + d, count) : Vec{};
    for (int64_t k = first_tap(a, t); k < a.width; k++)
        v += load<FULL>(a.weight + k * a.dim + d, count) * load<FULL>(x[t - (a.width - 1) + k] + d, count);
    return v;
}

template <class E>
void conv_forward(const Conv& a, int64_t batch, int64_t begin, int64_t end) {
    const Rows<const E> x(a.x, batch, a.x_strides, a.length, a.reverse);
    const Rows<E> y(a.y, batch, {a.length * a.dim, a.dim}, a.length, a.reverse);
    for (int64_t t = begin; t < end; t++) {
        int64_t d = 0;
        for (; d + LANES <= a.dim; d += LANES) {
            const Vec v = convolve<true>(a, x, t, d, LANES);
            store<true>(y[t] + d, v * sigmoid(v), LANES);
        }
        if (d < a.dim) {
            const Vec v = convolve<false>(a, x, t, d, a.dim - d);
            store<false>(y[t] + d, v * sigmoid(v), a.dim - d);
        }
    }
}

template <class E>
struct ConvBackward {
    const Conv& a;
    const int64_t blocks, chunks;
    const Rows<const E> x, dy;
    const Rows<E> dx;
    Scratch ring, dweight, dbias;  // gradients before SiLU of the last `width` tokens; sums over the chunk

    ConvBackward(const Conv& a, int64_t batch)
        : a(a),
          blocks((a.dim + LANES - 1) / LANES),
          chunks((a.length + a.chunk - 1) / a.chunk),
          x(a.x, batch, a.x_strides, a.length, a.reverse),
          dy(a.dy, batch, a.dy_strides, a.length, a.reverse),
          dx(a.dx, batch, {a.length * a.dim, a.dim}, a.length, a.reverse),
          ring(a.width * blocks),
          dweight(a.width * blocks),
          dbias(blocks) {}

    template <bool FULL>
    void token(int64_t t, int64_t end, int64_t b, int count) {
        const int64_t W = a.width, d = b * LANES;
        const Vec v = convolve<FULL>(a, x, t, d, count), open = sigmoid(v);
        const Vec dv = load<FULL>(dy[t] + d, count) * open * (1.0f + v * (1.0f - open));
        ring.data[t % W * blocks + b] = dv;
        if (t >= end) return;  // a token of the next chunk, needed for dx only
        Vec sum{};
        for (int64_t j = 0; j < W && t + j < a.length; j++)
            sum += load<FULL>(a.weight + (W - 1 - j) * a.dim + d, count) * ring.data[(t + j) % W * blocks + b];
        store<FULL>(dx[t] + d, sum, count);
        dbias.data[b] += dv;
        for (int64_t k = first_tap(a, t); k < W; k++)
            dweight.data[k * blocks + b] += dv * load<FULL>(x[t - (W - 1) + k] + d, count);
    }

    // Tokens end-1 ... begin: dx_t = sum_j weight_{W-1-j} dv_{t+j} needs the later gradients first.
    void walk(int64_t batch, int64_t chunk, int64_t begin, int64_t end) {
        const int64_t halo = end + a.width - 1, W = a.width;
        for (int64_t t = (halo < a.length ? halo : a.length) - 1; t >= begin; t--) {
            for (int64_t b = 0; b < a.dim / LANES; b++) token<true>(t, end, b, LANES);
            if (a.dim % LANES) token<false>(t, end, blocks - 1, a.dim % LANES);
        }
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t d = b * LANES, row = batch * chunks + chunk;
            store<false>(a.dbias + row * a.dim + d, dbias.data[b], lanes(a.dim - d));
            for (int64_t k = 0; k < W; k++)
                store<false>(a.dweight + (row * W + k) * a.dim + d, dweight.data[k * blocks + b], lanes(a.dim - d));
        }
    }
};
