// The selective scan, forward and backward. Included by cpu_kernel.cpp only, inside its unnamed namespace.
//
// The sequence is walked in tiles of TILE tokens, and in each tile one block of LANES channels after the other: the
// states of a block stay in registers over the tile, the rows of a tile stay in cache. Forward stores the state in
// front of every tile where a gradient will be wanted; backward recomputes the states of one tile at a time from it.

constexpr int TILE = 32;  // cpu.py allocates one checkpoint per tile

struct Scan {  // mirrored field by field in cpu.py
    int64_t batch, dim, length, states, group;  // group: channels that share one sum in dB and dC, a multiple of LANES
    int64_t softplus, reverse, half, threads;
    const void *u, *delta, *B, *C, *z, *dy;  // elements: float, or bfloat16 if half; z may be null
    Strides u_strides, delta_strides, B_strides, C_strides, z_strides, dy_strides;
    const float *A, *D, *bias;  // (dim, states), (dim), (dim); D and bias may be null
    void* y;                    // elements (batch, length, dim)
    float* last;                // (batch, dim, states)
    float* checkpoints;         // (batch, tiles, states, dim), may be null in forward
    void *du, *ddelta, *dz;     // elements (batch, length, dim)
    float *dA, *dD, *dbias;     // (batch, dim, states), (batch, dim), (batch, dim)
    float *dB, *dC;             // (groups, batch, length, states)

    int64_t tiles() const { return (length + TILE - 1) / TILE; }
    int steps(int64_t tile) const { return length - tile * TILE < TILE ? length - tile * TILE : TILE; }
};

template <class E>
struct Sequences {
    Rows<const E> u, delta, z, dy, B, C;
    Sequences(const Scan& a, int64_t b)
        : u(a.u, b, a.u_strides, a.length, a.reverse),
          delta(a.delta, b, a.delta_strides, a.length, a.reverse),
          z(a.z, b, a.z_strides, a.length, a.reverse),
          dy(a.dy, b, a.dy_strides, a.length, a.reverse),
          B(a.B, b, a.B_strides, a.length, a.reverse),
          C(a.C, b, a.C_strides, a.length, a.reverse) {}
};

// What all states of a channel block share over a tile.
struct Tile {
    int steps;
    int64_t states;
    const float *B, *C;      // (steps, states)
    Vec dt[TILE], x[TILE];   // step size; step size times input
    Vec y[TILE];             // output before the gate
    const char* ahead[4];    // rows that the next block will read: fetched meanwhile, one token per step
    int64_t ahead_step[4];

    template <class E>
    void look_ahead(int i, const Rows<const E>& rows, int64_t t, int64_t d) {
        ahead[i] = (const char*)(rows[t] + d);
        ahead_step[i] = rows.step * (int64_t)sizeof(E);
    }
    void fetch(int t) const {
        for (int i = 0; i < 4; i++) __builtin_prefetch(ahead[i] + t * ahead_step[i]);
    }
};

// One state group of a block over a tile: h_t = exp(dt_t A) h_{t-1} + x_t B_t, y_t += C_t h_t. a2 is A log2(e).
template <int NS>
void advance(Tile& tile, int64_t n0, const Vec* a2, Vec* h) {
    Vec s[NS];
    for (int n = 0; n < NS; n++) s[n] = h[n0 + n];
    a2 += n0;
    for (int t = 0; t < tile.steps; t++) {
        tile.fetch(t);
        const Vec dt = tile.dt[t], x = tile.x[t];
        const float *B = tile.B + t * tile.states + n0, *C = tile.C + t * tile.states + n0;
        Vec even = tile.y[t], odd{};
#pragma GCC unroll 16
        for (int n = 0; n < NS; n++) {
            s[n] = exp2(dt * a2[n]) * s[n] + x * B[n];
            (n % 2 ? odd : even) += s[n] * C[n];
        }
        tile.y[t] = even + odd;
    }
    for (int n = 0; n < NS; n++) h[n0 + n] = s[n];
}

// All states from n0 on, in groups of NS and, for the rest, of its halves.
template <int NS>
void advance_all(Tile& tile, int64_t n0, const Vec* a2, Vec* h) {
    for (; n0 + NS <= tile.states; n0 += NS) advance<NS>(tile, n0, a2, h);
    if constexpr (NS > 1) advance_all<NS / 2>(tile, n0, a2, h);
}

template <bool FULL, class E>
void forward_block(const Scan& a, const Sequences<E>& in, const Rows<E>& y, Tile& tile, int64_t t0, int64_t d, int count,
                   const Vec* a2, Vec* h) {
    const Vec bias = a.bias ? load<FULL>(a.bias + d, count) : Vec{}, D = a.D ? load<FULL>(a.D + d, count) : Vec{};
    for (int t = 0; t < tile.steps; t++) {
        const Vec u = load<FULL>(in.u[t0 + t] + d, count), raw = load<FULL>(in.delta[t0 + t] + d, count) + bias;
        tile.dt[t] = a.softplus ? softplus(raw) : raw;
        tile.x[t] = tile.dt[t] * u;
        tile.y[t] = D * u;
    }
    advance_all<FORWARD_STATES>(tile, 0, a2, h);
    for (int t = 0; t < tile.steps; t++) {
        Vec out = tile.y[t];
        if (a.z) {
            const Vec gate = load<FULL>(in.z[t0 + t] + d, count);
            out *= gate * sigmoid(gate);
        }
        store<FULL>(y[t0 + t] + d, out, count);
    }
}

// Tokens 0 ... length-1 of the channels [channel, end).
template <class E>
void scan_forward(const Scan& a, int64_t batch, int64_t channel, int64_t end) {
    const int64_t N = a.states, blocks = (end - channel + LANES - 1) / LANES, tiles = a.tiles();
    const Sequences<E> in(a, batch);
    const Rows<E> y(a.y, batch, {a.length * a.dim, a.dim}, a.length, a.reverse);
    Scratch state(blocks * N), decay(blocks * N), projections(2 * TILE * N / LANES + 2);
    float *B = (float*)projections.data, *C = B + TILE * N;
    Tile tile;
    tile.states = N, tile.B = B, tile.C = C;
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t d = channel + b * LANES;
        load_transposed(decay.data + b * N, a.A + d * N, N, N, lanes(end - d), LOG2E);
    }
    for (int64_t k = 0; k < tiles; k++) {
        const int64_t t0 = k * TILE;
        tile.steps = a.steps(k);
        for (int t = 0; t < tile.steps; t++) unpack(B + t * N, in.B[t0 + t], N), unpack(C + t * N, in.C[t0 + t], N);
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t d = channel + b * LANES;
            const int64_t next_t = b + 1 < blocks ? t0 : t0 + TILE, next_d = b + 1 < blocks ? d + LANES : channel;
            tile.look_ahead(0, in.u, next_t, next_d);
            tile.look_ahead(1, in.delta, next_t, next_d);
            tile.look_ahead(2, a.z ? in.z : in.u, next_t, next_d);
            tile.look_ahead(3, in.B, t0 + TILE, 0);
            const int count = lanes(end - d);
            Vec* h = state.data + b * N;
            if (a.checkpoints)
                for (int64_t n = 0; n < N; n++)
                    store<false>(a.checkpoints + ((batch * tiles + k) * N + n) * a.dim + d, h[n], count);
            if (count == LANES)
                forward_block<true>(a, in, y, tile, t0, d, count, decay.data + b * N, h);
            else
                forward_block<false>(a, in, y, tile, t0, d, count, decay.data + b * N, h);
        }
    }
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t d = channel + b * LANES;
        store_transposed(a.last + (batch * a.dim + d) * N, state.data + b * N, N, N, lanes(end - d));
    }
}

// What backward carries besides, for one channel block over a tile.
struct Gradients {
    Vec g[TILE];              // gradient behind the gate
    Vec open[TILE];           // sigmoid(z)
    Vec rise[TILE];           // d dt / d delta
    Vec dx[TILE], ddt[TILE];  // gradients of x, and of dt through the decay (divided by ln 2)
};

// One state group of a block, backward over a tile. With e_t = exp(dt_t A), lambda_t the gradient of h_t and
// s_t = e_t lambda_t:  lambda_t = s_{t+1} + g_t C_t,  dC_t = g_t h_t,  dB_t = lambda_t x_t,  dx_t = lambda_t . B_t,
// and e_t de_t = s_t h_{t-1}, of which dt and A take their parts. dB and dC are summed over channels in lanes first.
template <int NS>
void retreat(Tile& tile, Gradients& grad, int64_t n0, const Vec* a2, const Vec* h0, Vec* carry, Vec* sum_B, Vec* sum_C,
             Vec* dA) {
    Vec e[TILE][NS], h[TILE + 1][NS], s[NS], total[NS];
    a2 += n0;
    for (int n = 0; n < NS; n++) h[0][n] = s[n] = h0[n0 + n];
    for (int t = 0; t < tile.steps; t++) {
        tile.fetch(t);
        const Vec dt = tile.dt[t], x = tile.x[t];
        const float *B = tile.B + t * tile.states + n0, *C = tile.C + t * tile.states + n0;
        Vec y = tile.y[t];
#pragma GCC unroll 16
        for (int n = 0; n < NS; n++) {
            e[t][n] = exp2(dt * a2[n]);
            h[t + 1][n] = s[n] = e[t][n] * s[n] + x * B[n];
            y += s[n] * C[n];
        }
        tile.y[t] = y;
    }
    for (int n = 0; n < NS; n++) s[n] = carry[n0 + n], total[n] = Vec{};
    for (int t = tile.steps - 1; t >= 0; t--) {
        const Vec dt = tile.dt[t], x = tile.x[t], g = grad.g[t];
        const float *B = tile.B + t * tile.states + n0, *C = tile.C + t * tile.states + n0;
        Vec dx = grad.dx[t], ddt = grad.ddt[t];
        Vec *to_B = sum_B + t * tile.states + n0, *to_C = sum_C + t * tile.states + n0;
#pragma GCC unroll 16
        for (int n = 0; n < NS; n++) {
            const Vec lambda = s[n] + g * C[n];
            to_C[n] += g * h[t + 1][n];
            to_B[n] += lambda * x;
            dx += lambda * B[n];
            s[n] = lambda * e[t][n];
            const Vec q = s[n] * h[t][n];
            ddt += q * a2[n];
            total[n] += q * dt;
        }
        grad.dx[t] = dx, grad.ddt[t] = ddt;
    }
    for (int n = 0; n < NS; n++) carry[n0 + n] = s[n], dA[n0 + n] += total[n];
}

template <int NS>
void retreat_all(Tile& tile, Gradients& grad, int64_t n0, const Vec* a2, const Vec* h0, Vec* carry, Vec* sum_B, Vec* sum_C,
                 Vec* dA) {
    for (; n0 + NS <= tile.states; n0 += NS) retreat<NS>(tile, grad, n0, a2, h0, carry, sum_B, sum_C, dA);
    if constexpr (NS > 1) retreat_all<NS / 2>(tile, grad, n0, a2, h0, carry, sum_B, sum_C, dA);
}

// What one task of backward accumulates for a channel block over the whole sequence.
struct Accumulators {
    Vec *a2, *carry, *dA, *dD, *dbias;
};

template <bool FULL, class E>
void backward_block(const Scan& a, const Sequences<E>& in, int64_t batch, Tile& tile, int64_t t0, int64_t d, int count,
                    const Accumulators& sums, const Vec* h0, Vec* sum_B, Vec* sum_C) {
    const Strides strides{a.length * a.dim, a.dim};
    const Rows<E> du(a.du, batch, strides, a.length, a.reverse), dz(a.dz, batch, strides, a.length, a.reverse);
    const Rows<E> ddelta(a.ddelta, batch, strides, a.length, a.reverse);
    const Vec bias = a.bias ? load<FULL>(a.bias + d, count) : Vec{}, D = a.D ? load<FULL>(a.D + d, count) : Vec{};
    Gradients grad;
    for (int t = 0; t < tile.steps; t++) {
        const Vec u = load<FULL>(in.u[t0 + t] + d, count), raw = load<FULL>(in.delta[t0 + t] + d, count) + bias;
        tile.dt[t] = a.softplus ? softplus(raw) : raw;
        grad.rise[t] = a.softplus ? sigmoid(raw) : Vec{} + 1.0f;
        tile.x[t] = tile.dt[t] * u;
        tile.y[t] = D * u;
        grad.g[t] = load<FULL>(in.dy[t0 + t] + d, count);
        if (a.z) {
            const Vec gate = load<FULL>(in.z[t0 + t] + d, count);
            grad.open[t] = sigmoid(gate);
            grad.g[t] *= gate * grad.open[t];
        }
        grad.dx[t] = grad.ddt[t] = Vec{};
    }
    retreat_all<BACKWARD_STATES>(tile, grad, 0, sums.a2, h0, sums.carry, sum_B, sum_C, sums.dA);
    Vec dD{}, dbias{};
    for (int t = 0; t < tile.steps; t++) {
        const Vec u = load<FULL>(in.u[t0 + t] + d, count), g = grad.g[t];
        const Vec slope = (grad.dx[t] * u + grad.ddt[t] * LN2) * grad.rise[t];
        store<FULL>(du[t0 + t] + d, grad.dx[t] * tile.dt[t] + D * g, count);
        store<FULL>(ddelta[t0 + t] + d, slope, count);
        dD += g * u;
        dbias += slope;
        if (a.z) {
            const Vec gate = load<FULL>(in.z[t0 + t] + d, count), open = grad.open[t];
            const Vec out = tile.y[t] * load<FULL>(in.dy[t0 + t] + d, count);
            store<FULL>(dz[t0 + t] + d, out * open * (1.0f + gate * (1.0f - open)), count);
        }
    }
    *sums.dD += dD, *sums.dbias += dbias;
}

// Tokens length-1 ... 0 of the channels [channel, end), channel being the first of a group.
template <class E>
void scan_backward(const Scan& a, int64_t batch, int64_t channel, int64_t end) {
    const int64_t N = a.states, blocks = (end - channel + LANES - 1) / LANES, per_group = a.group / LANES;
    const int64_t tiles = a.tiles(), first_group = channel / a.group;
    const Sequences<E> in(a, batch);
    Scratch decay(blocks * N), carry(blocks * N), dA(blocks * N), dD(blocks), dbias(blocks), h0(N);
    Scratch sum_B(TILE * N), sum_C(TILE * N), projections(2 * TILE * N / LANES + 2);
    float *B = (float*)projections.data, *C = B + TILE * N;
    Tile tile;
    tile.states = N, tile.B = B, tile.C = C;
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t d = channel + b * LANES;
        load_transposed(decay.data + b * N, a.A + d * N, N, N, lanes(end - d), LOG2E);
    }
    for (int64_t k = tiles - 1; k >= 0; k--) {
        const int64_t t0 = k * TILE, steps = tile.steps = a.steps(k);
        for (int t = 0; t < steps; t++) unpack(B + t * N, in.B[t0 + t], N), unpack(C + t * N, in.C[t0 + t], N);
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t d = channel + b * LANES;
            const int64_t next_t = b + 1 < blocks ? t0 : t0 - TILE, next_d = b + 1 < blocks ? d + LANES : channel;
            tile.look_ahead(0, in.u, next_t, next_d);
            tile.look_ahead(1, in.delta, next_t, next_d);
            tile.look_ahead(2, a.z ? in.z : in.u, next_t, next_d);
            tile.look_ahead(3, in.dy, next_t, next_d);
            const int count = lanes(end - d);
            for (int64_t n = 0; n < N; n++)
                h0.data[n] = load<false>(a.checkpoints + ((batch * tiles + k) * N + n) * a.dim + d, count);
            const Accumulators sums{decay.data + b * N, carry.data + b * N, dA.data + b * N, dD.data + b, dbias.data + b};
            if (count == LANES)
                backward_block<true>(a, in, batch, tile, t0, d, count, sums, h0.data, sum_B.data, sum_C.data);
            else
                backward_block<false>(a, in, batch, tile, t0, d, count, sums, h0.data, sum_B.data, sum_C.data);
            if ((b + 1) % per_group && b + 1 < blocks) continue;
            const int64_t matrix = (first_group + b / per_group) * a.batch + batch;
            const Rows<float> dB(a.dB, matrix, {a.length * N, N}, a.length, a.reverse);
            const Rows<float> dC(a.dC, matrix, {a.length * N, N}, a.length, a.reverse);
            for (int t = 0; t < steps; t++) {
                sum_lanes(dB[t0 + t], sum_B.data + t * N, N);
                sum_lanes(dC[t0 + t], sum_C.data + t * N, N);
            }
            memset((void*)sum_B.data, 0, steps * N * sizeof(Vec));
            memset((void*)sum_C.data, 0, steps * N * sizeof(Vec));
        }
    }
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t d = channel + b * LANES;
        const int count = lanes(end - d);
        store_transposed(a.dA + (batch * a.dim + d) * N, dA.data + b * N, N, N, count);
        store<false>(a.dD + batch * a.dim + d, dD.data[b], count);
        store<false>(a.dbias + batch * a.dim + d, dbias.data[b], count);
    }
}
