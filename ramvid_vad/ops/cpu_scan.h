// The selective scan, forward and backward. Included by cpu_kernel.cpp only, inside its unnamed namespace.
//
// The sequence is walked in tiles of TILE tokens, a tile in bands of channels that fit the first-level cache. What is
// done once per token and channel runs over the rows of a band, in the order of memory; what is done per state runs
// over one block of LANES channels after the other, its states staying in registers over the tile. Forward stores the
// state in front of every tile where a gradient will be wanted; backward recomputes the states of one block and tile at
// a time from it.

constexpr int TILE = 32;    // cpu_library.py allocates one checkpoint per tile
constexpr int BAND = 64;    // channels of a forward band; backward takes those of one group
constexpr int STRIPE = 16;  // channels that lie together in a checkpoint, whatever the width of the vectors

struct Scan {  // mirrored field by field in cpu_library.py
    int64_t batch, dim, length, states, group;  // group: channels that share one sum in dB and dC, a multiple of LANES
    int64_t sets, B_set, C_set;  // runs of dim / sets channels with a B and C of their own, so many elements further
    int64_t softplus, reverse, half, threads;  // reverse: a bit for each set
    const void *u, *delta, *B, *C, *z, *dy;  // elements: float, or bfloat16 if half; z may be null
    Strides u_strides, delta_strides, B_strides, C_strides, z_strides, dy_strides;
    const float *A, *D, *bias;  // (dim, states), (dim), (dim); D and bias may be null
    void* y;                    // elements (batch, length, dim)
    float* last;                // (batch, dim, states)
    float* checkpoints;         // (batch, tiles, dim / STRIPE, states, STRIPE), may be null in forward
    void *du, *ddelta, *dz;     // elements (batch, length, dim)
    float *dA, *dD, *dbias;     // (batch, dim, states), (batch, dim), (batch, dim)
    float *dB, *dC;             // (sets * groups of a set, batch, length, states)

    int64_t bytes() const { return batch * length * dim * (half ? 2 : 4); }  // of a (batch, length, dim) tensor
    int64_t width() const { return dim / sets; }
    int64_t groups() const { return (width() + group - 1) / group; }  // of a set
    int64_t tiles() const { return (length + TILE - 1) / TILE; }
    int steps(int64_t tile) const { return length - tile * TILE < TILE ? length - tile * TILE : TILE; }
};

// What forward and backward share: one batch element, the channels [channel, end), one tile at a time.
template <class E>
struct Walk {
    const Scan& a;
    const int64_t batch, channel, end, N, blocks, set;
    const bool reverse;
    const Sequence<E> u, delta, z, dy, B_rows, C_rows;
    Scratch decay, skip, bias;  // of each block: A log2(e), states in turn; D and the bias of delta, zero where absent
    Scratch projections;        // B and C of the tile as float
    float *B, *C;               // (steps, states)

    Walk(const Scan& a, int64_t batch, int64_t channel, int64_t end, int64_t band)
        : a(a),
          batch(batch),
          channel(channel),
          end(end),
          N(a.states),
          blocks((end - channel + LANES - 1) / LANES),
          set(channel / a.width()),
          reverse(a.reverse >> set & 1),
          u(a.u, batch, a.u_strides, a.length, reverse, TILE, band),
          delta(a.delta, batch, a.delta_strides, a.length, reverse, TILE, band),
          z(a.z, batch, a.z_strides, a.length, reverse, TILE, band),
          dy(a.dy, batch, a.dy_strides, a.length, reverse, TILE, band),
          B_rows((const E*)a.B + set * a.B_set, batch, a.B_strides, a.length, reverse, TILE, N),
          C_rows((const E*)a.C + set * a.C_set, batch, a.C_strides, a.length, reverse, TILE, N),
          decay(blocks * N),
          skip(blocks),
          bias(blocks),
          projections(2 * TILE * N / LANES + 2),
          B((float*)projections.data),
          C(B + TILE * N) {
        for (int64_t b = 0; b < blocks; b++) {
            load_transposed(&decay[b * N], a.A + first(b) * N, N, N, count(b), LOG2E);
            if (a.D) skip[b] = load<false>(a.D + first(b), count(b));
            if (a.bias) bias[b] = load<false>(a.bias + first(b), count(b));
        }
    }

    int64_t first(int64_t block) const { return channel + block * LANES; }
    int count(int64_t block) const { return lanes(end - first(block)); }
    // Of state 0; the other states follow in steps of STRIPE.
    float* checkpoint(int64_t tile, int64_t block) const {
        const int64_t d = first(block), stripes = (a.dim + STRIPE - 1) / STRIPE;
        return a.checkpoints + ((batch * a.tiles() + tile) * stripes + d / STRIPE) * N * STRIPE + d % STRIPE;
    }
    // A (batch, length, dim) result.
    Rows<E> result(void* data) const { return {data, batch, {a.length * a.dim, a.dim, 1}, a.length, reverse}; }

    void read_projections(int64_t t0, int steps) const {
        const View<E> b = B_rows.at(t0, steps, 0, N), c = C_rows.at(t0, steps, 0, N);
        for (int t = 0; t < steps; t++) unpack(B + t * N, b(t, 0), N), unpack(C + t * N, c(t, 0), N);
    }

    // A sequence in the tile from t0 on and the blocks [from, to) of a band.
    View<E> view(const Sequence<E>& sequence, int64_t t0, int steps, int64_t from, int64_t to) const {
        return sequence.at(t0, steps, first(from), first(to - 1) + count(to - 1) - first(from));
    }

    // visit(full, t, block, channel, count) for the tokens of a tile, row by row, in the blocks [from, to) of a band.
    template <class Visit>
    void rows(int steps, int64_t from, int64_t to, Visit visit) const {
        const bool rest = count(to - 1) < LANES;
        for (int t = 0; t < steps; t++) {
#pragma GCC unroll 4
            for (int64_t b = from; b < to - rest; b++) visit(std::true_type{}, t, b, first(b), LANES);
            if (rest) visit(std::false_type{}, t, to - 1, first(to - 1), count(to - 1));
        }
    }
};

// Rows that will be read next, fetched into the second-level cache while the states keep the arithmetic busy.
struct Ahead {
    const char* row[4];
    int64_t step[4];

    template <class E>
    void set(int i, const Rows<E>& rows, int64_t t, int64_t d) {
        row[i] = (const char*)(rows[t] + d);
        step[i] = rows.step * (int64_t)sizeof(E);
    }
    void fetch() {
        for (int i = 0; i < 4; i++) __builtin_prefetch(row[i], 0, 2), row[i] += step[i];
    }
};

// What all states of a channel block share over a tile: step size; step size times input; output before the gate.
struct Block {
    Vec dt[TILE], x[TILE], y[TILE];
};

// NS states of a block over a tile: h_t = exp(dt_t A) h_{t-1} + x_t B_t, y_t += C_t h_t. a2 is A log2(e).
template <int NS>
void advance(int steps, Block& block, const Vec* a2, Vec* h, const float* B, const float* C, int64_t N, Ahead& ahead) {
    Vec s[NS];
    for (int n = 0; n < NS; n++) s[n] = h[n];
    for (int t = 0; t < steps; t++, B += N, C += N) {
        ahead.fetch();
        const Vec dt = block.dt[t], x = block.x[t];
        Vec even = block.y[t], odd{};
#pragma GCC unroll 16
        for (int n = 0; n < NS; n++) {
            s[n] = exp2(dt * a2[n]) * s[n] + x * B[n];
            (n % 2 ? odd : even) += s[n] * C[n];
        }
        block.y[t] = even + odd;
    }
    for (int n = 0; n < NS; n++) h[n] = s[n];
}

// All N states from n on, in groups of NS and, for the rest, of its halves.
template <int NS>
void advance_all(int steps, Block& block, const Vec* a2, Vec* h, const float* B, const float* C, int64_t N,
                 Ahead& ahead, int64_t n = 0) {
    for (; n + NS <= N; n += NS) advance<NS>(steps, block, a2 + n, h + n, B + n, C + n, N, ahead);
    if constexpr (NS > 1) advance_all<NS / 2>(steps, block, a2, h, B, C, N, ahead, n);
}

// body(std::true_type) or body(std::false_type): a loop for either, instead of a question at every turn.
template <class Body>
void choose(bool condition, Body body) {
    condition ? body(std::true_type{}) : body(std::false_type{});
}

// The blocks of a band, by their number within the walk.
template <class B>
struct Band {
    Array<B> memory;
    int64_t begin = 0, end = 0;
    explicit Band(int64_t size) : memory(size) {}
    void move(int64_t first, int64_t blocks) {
        begin = first;
        end = first + memory.size < blocks ? first + memory.size : blocks;
    }
    B& operator[](int64_t b) const { return memory[b - begin]; }
};

template <class E>
void forward_band(const Walk<E>& walk, const Rows<E>& y, int64_t k, const Band<Block>& band, const Scratch& state) {
    const Scan& a = walk.a;
    const int64_t N = a.states, t0 = k * TILE;
    const int steps = a.steps(k);
    const View<E> us = walk.view(walk.u, t0, steps, band.begin, band.end);
    const View<E> deltas = walk.view(walk.delta, t0, steps, band.begin, band.end);
    choose(a.softplus, [&](auto through_softplus) {
        walk.rows(steps, band.begin, band.end, [&](auto full, int t, int64_t b, int64_t d, int count) {
            const Vec u = load<full>(us(t, d), count);
            Vec dt = load<full>(deltas(t, d), count) + walk.bias[b];
            if (through_softplus) dt = softplus(dt);
            Block& block = band[b];
            block.dt[t] = dt;
            block.x[t] = dt * u;
            block.y[t] = walk.skip[b] * u;
        });
    });
    for (int64_t b = band.begin; b < band.end; b++) {
        Vec* h = &state[b * N];
        if (a.checkpoints)
            for (int64_t n = 0; n < N; n++) store<true>(walk.checkpoint(k, b) + n * STRIPE, h[n], LANES);
        Ahead ahead;
        ahead.set(0, walk.u.rows, t0 + TILE, walk.first(b) * walk.u.channel);
        ahead.set(1, walk.delta.rows, t0 + TILE, walk.first(b) * walk.delta.channel);
        const Sequence<E>& gate = a.z ? walk.z : walk.u;
        ahead.set(2, gate.rows, t0, walk.first(b) * gate.channel);
        ahead.set(3, y, t0, walk.first(b));
        advance_all<FORWARD_STATES>(steps, band[b], &walk.decay[b * N], h, walk.B, walk.C, N, ahead);
    }
    const View<E> zs = a.z ? walk.view(walk.z, t0, steps, band.begin, band.end) : us;
    choose(a.z, [&](auto gated) {
        walk.rows(steps, band.begin, band.end, [&](auto full, int t, int64_t b, int64_t d, int count) {
            Vec out = band[b].y[t];
            if (gated) out *= silu<E>(load<full>(zs(t, d), count));
            store<full>(y[t0 + t] + d, out, count);
        });
    });
}

template <class E>
void scan_forward(const Scan& a, int64_t batch, int64_t channel, int64_t end) {
    const Walk<E> walk(a, batch, channel, end, BAND);
    const Rows<E> y = walk.result(a.y);
    const int64_t N = a.states;
    Scratch state(walk.blocks * N);
    Band<Block> band(BAND / LANES);
    for (int64_t k = 0; k < a.tiles(); k++) {
        walk.read_projections(k * TILE, a.steps(k));
        for (int64_t b = 0; b < walk.blocks; b = band.end) {
            band.move(b, walk.blocks);
            forward_band(walk, y, k, band, state);
        }
    }
    for (int64_t b = 0; b < walk.blocks; b++)
        store_transposed(a.last + (batch * a.dim + walk.first(b)) * N, &state[b * N], N, N, walk.count(b));
}

struct BackwardBlock : Block {
    Vec g[TILE];              // gradient behind the gate
    Vec open[TILE];           // sigmoid(z)
    Vec rise[TILE];           // d dt / d delta
    Vec dx[TILE], ddt[TILE];  // gradients of x, and of dt through the decay (divided by ln 2)
    Vec dD, dbias;            // sums over the tile
};

// Where the lane sums of state n of token 0 lie; those of the next token BACKWARD_STATES further. A group of states
// walks through memory in one piece, so that what it touches stays in the first-level cache.
inline int64_t lane_sum(int64_t n) { return n / BACKWARD_STATES * BACKWARD_STATES * TILE + n % BACKWARD_STATES; }

// NS states of a block, backward over a tile. With e_t = exp(dt_t A), lambda_t the gradient of h_t and
// s_t = e_t lambda_t:  lambda_t = s_{t+1} + g_t C_t,  dC_t = g_t h_t,  dB_t = lambda_t x_t,  dx_t = lambda_t . B_t,
// and e_t de_t = s_t h_{t-1}, of which dt and A take their parts. dB and dC are summed over channels in lanes first.
template <int NS>
void retreat(int steps, BackwardBlock& block, const Vec* a2, const Vec* h0, Vec* carry, const float* B, const float* C,
             int64_t N, Vec* dB, Vec* dC, Vec* dA) {
    Vec e[TILE][NS], h[TILE + 1][NS], s[NS], total[NS];
    for (int n = 0; n < NS; n++) h[0][n] = s[n] = h0[n];
    for (int t = 0; t < steps; t++) {
        const Vec dt = block.dt[t], x = block.x[t];
        Vec y = block.y[t];
#pragma GCC unroll 16
        for (int n = 0; n < NS; n++) {
            e[t][n] = exp2(dt * a2[n]);
            h[t + 1][n] = s[n] = e[t][n] * s[n] + x * B[t * N + n];
            y += s[n] * C[t * N + n];
        }
        block.y[t] = y;
    }
    for (int n = 0; n < NS; n++) s[n] = carry[n], total[n] = Vec{};
    for (int t = steps - 1; t >= 0; t--) {
        const Vec dt = block.dt[t], x = block.x[t], g = block.g[t];
        Vec dx = block.dx[t], ddt = block.ddt[t];
#pragma GCC unroll 16
        for (int n = 0; n < NS; n++) {
            const Vec lambda = s[n] + g * C[t * N + n];
            dC[t * BACKWARD_STATES + n] += g * h[t + 1][n];
            dB[t * BACKWARD_STATES + n] += lambda * x;
            dx += lambda * B[t * N + n];
            s[n] = lambda * e[t][n];
            const Vec q = s[n] * h[t][n];
            ddt += q * a2[n];
            total[n] += q * dt;
        }
        block.dx[t] = dx, block.ddt[t] = ddt;
    }
    for (int n = 0; n < NS; n++) carry[n] = s[n], dA[n] += total[n];
}

template <int NS>
void retreat_all(int steps, BackwardBlock& block, const Vec* a2, const Vec* h0, Vec* carry, const float* B,
                 const float* C, int64_t N, Vec* dB, Vec* dC, Vec* dA, int64_t n = 0) {
    for (; n + NS <= N; n += NS)
        retreat<NS>(steps, block, a2 + n, h0 + n, carry + n, B + n, C + n, N, dB + lane_sum(n), dC + lane_sum(n),
                    dA + n);
    if constexpr (NS > 1) retreat_all<NS / 2>(steps, block, a2, h0, carry, B, C, N, dB, dC, dA, n);
}

// What backward sums: over the tile, by state and by lane of a group of channels; over the sequence, by channel.
struct Sums {
    Scratch dB, dC, dA, dD, dbias;
    Sums(int64_t blocks, int64_t N)
        : dB(lane_sum(N + BACKWARD_STATES - 1)), dC(dB.size), dA(blocks * N), dD(blocks), dbias(blocks) {}
};

template <class E>
struct Gradients {
    Rows<E> du, ddelta, dz;
};

template <class E>
void backward_band(const Walk<E>& walk, const Gradients<E>& gradients, int64_t k, const Band<BackwardBlock>& band,
                   const Scratch& carry, const Scratch& h0, const Sums& sums) {
    const Scan& a = walk.a;
    const int64_t N = a.states, t0 = k * TILE;
    const int steps = a.steps(k);
    const View<E> us = walk.view(walk.u, t0, steps, band.begin, band.end);
    const View<E> deltas = walk.view(walk.delta, t0, steps, band.begin, band.end);
    const View<E> dys = walk.view(walk.dy, t0, steps, band.begin, band.end);
    const View<E> zs = a.z ? walk.view(walk.z, t0, steps, band.begin, band.end) : us;
    walk.rows(steps, band.begin, band.end, [&](auto full, int t, int64_t b, int64_t d, int count) {
        BackwardBlock& block = band[b];
        const Vec u = load<full>(us(t, d), count);
        Vec dt = load<full>(deltas(t, d), count) + walk.bias[b], g = load<full>(dys(t, d), count);
        block.rise[t] = a.softplus ? sigmoid(dt) : Vec{} + 1.0f;
        if (a.softplus) dt = softplus(dt);
        if (a.z) {
            const Vec z = load<full>(zs(t, d), count);
            block.open[t] = sigmoid(z);
            g *= z * block.open[t];
        }
        block.dt[t] = dt;
        block.x[t] = dt * u;
        block.y[t] = walk.skip[b] * u;
        block.g[t] = g;
        block.dx[t] = block.ddt[t] = Vec{};
    });
    for (int64_t b = band.begin; b < band.end; b++) {
        for (int64_t n = 0; n < N; n++) h0[n] = load<true>(walk.checkpoint(k, b) + n * STRIPE, LANES);
        retreat_all<BACKWARD_STATES>(steps, band[b], &walk.decay[b * N], h0.data, &carry[b * N], walk.B, walk.C, N,
                                     sums.dB.data, sums.dC.data, &sums.dA[b * N]);
        band[b].dD = band[b].dbias = Vec{};
    }
    walk.rows(steps, band.begin, band.end, [&](auto full, int t, int64_t b, int64_t d, int count) {
        BackwardBlock& block = band[b];
        const Vec u = load<full>(us(t, d), count), g = block.g[t];
        const Vec slope = (block.dx[t] * u + block.ddt[t] * LN2) * block.rise[t];
        store<full>(gradients.du[t0 + t] + d, block.dx[t] * block.dt[t] + walk.skip[b] * g, count);
        store<full>(gradients.ddelta[t0 + t] + d, slope, count);
        block.dD += g * u;
        block.dbias += slope;
        if (a.z) {
            const Vec z = load<full>(zs(t, d), count), out = block.y[t] * load<full>(dys(t, d), count);
            store<full>(gradients.dz[t0 + t] + d, silu_gradient(out, z, block.open[t]), count);
        }
    });
    for (int64_t b = band.begin; b < band.end; b++) sums.dD[b] += band[b].dD, sums.dbias[b] += band[b].dbias;
}

template <class E>
void scan_backward(const Scan& a, int64_t batch, int64_t channel, int64_t end) {
    const Walk<E> walk(a, batch, channel, end, a.group);
    const Gradients<E> gradients{walk.result(a.du), walk.result(a.ddelta), walk.result(a.dz)};
    const int64_t N = a.states;
    Scratch carry(walk.blocks * N), h0(N);
    Sums sums(walk.blocks, N);
    Band<BackwardBlock> band(a.group / LANES);
    for (int64_t k = a.tiles() - 1; k >= 0; k--) {
        const int64_t t0 = k * TILE;
        walk.read_projections(t0, a.steps(k));
        for (int64_t b = 0; b < walk.blocks; b = band.end) {
            band.move(b, walk.blocks);
            backward_band(walk, gradients, k, band, carry, h0, sums);
            const int64_t group = (walk.first(b) - walk.set * a.width()) / a.group;
            const int64_t matrix = (walk.set * a.groups() + group) * a.batch + batch;
            const Rows<float> dB(a.dB, matrix, {a.length * N, N, 1}, a.length, walk.reverse);
            const Rows<float> dC(a.dC, matrix, {a.length * N, N, 1}, a.length, walk.reverse);
            for (int t = 0; t < a.steps(k); t++) {
                sum_lanes(dB[t0 + t], N, [&](int64_t n) { return sums.dB[lane_sum(n) + t * BACKWARD_STATES]; });
                sum_lanes(dC[t0 + t], N, [&](int64_t n) { return sums.dC[lane_sum(n) + t * BACKWARD_STATES]; });
            }
            sums.dB.clear(), sums.dC.clear();
        }
    }
    for (int64_t b = 0; b < walk.blocks; b++) {
        const int64_t d = walk.first(b);
        store_transposed(a.dA + (batch * a.dim + d) * N, &sums.dA[b * N], N, N, walk.count(b));
        store<false>(a.dD + batch * a.dim + d, sums.dD[b], walk.count(b));
        store<false>(a.dbias + batch * a.dim + d, sums.dbias[b], walk.count(b));
    }
}
