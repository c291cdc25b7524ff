// Group norm and SiLU over channels-last rows. Included by cpu_kernel.cpp only, inside its unnamed namespace.
//
// Statistics, weights and the modulation by the timestep are folded into one gain and one offset per batch element and
// channel by cpu_norm.py; what is left over all positions are these four walks. Sums are taken over chunks of rows in
// float32 and over the chunks in double, so no rounding depends on the number of threads.

struct Norm {  // mirrored field by field in cpu_library.py
    int64_t batch, dim, length, chunk;  // chunk: rows walked by one task
    int64_t silu, half, threads;
    const void *x, *dy;                                     // elements (batch, length, dim): float, or bfloat16 if half
    const float *gain, *offset, *center, *constant, *slope;  // (batch, dim)
    void *y, *dx;                                           // elements (batch, length, dim)
    float* sums;                                            // (batch, chunks, 2 or of the moments 3, dim)

    int64_t bytes() const { return batch * length * dim * (half ? 2 : 4); }
    int64_t chunks() const { return (length + chunk - 1) / chunk; }
};

// The block of channels d ... d + count - 1 of one batch element, and its rows.
template <class E, bool FULL>
struct Channels {
    const Norm& a;
    const int64_t batch, d;
    const int count;

    Vec parameter(const float* values) const { return load<FULL>(values + batch * a.dim + d, count); }
    Vec read(const void* rows, int64_t t) const {
        return load<FULL>((const E*)rows + (batch * a.length + t) * a.dim + d, count);
    }
    void write(void* rows, int64_t t, Vec v) const {
        store<FULL>((E*)rows + (batch * a.length + t) * a.dim + d, v, count);
    }
    void write_sums(int64_t chunk, std::initializer_list<Vec> sums) const {
        float* to = a.sums + (batch * a.chunks() + chunk) * sums.size() * a.dim + d;
        for (const Vec& sum : sums) store<FULL>(to, sum, count), to += a.dim;
    }
};

// Calls task(channels) for every block of channels.
template <class E, class Task>
void channel_blocks(const Norm& a, int64_t batch, Task task) {
    int64_t d = 0;
    for (; d + LANES <= a.dim; d += LANES) task(Channels<E, true>{a, batch, d, LANES});
    if (d < a.dim) task(Channels<E, false>{a, batch, d, (int)(a.dim - d)});
}

// Of the chunk: a center, and the sums of x - center and of its square. The center is the mean of the chunk's first 32
// rows, an eighth of it or more: so its squared distance from the chunk's mean is at most 8 times the chunk's variance,
// whatever the rows are: neither a large mean nor rows unlike the rest cost more than a digit of the variance.
template <class E>
void norm_moments(const Norm& a, int64_t batch, int64_t chunk, int64_t begin, int64_t end) {
    channel_blocks<E>(a, batch, [&](auto channels) {
        const int64_t middle = end - begin < 32 ? end : begin + 32;
        const Vec corner = channels.read(a.x, begin);  // a large mean is not rounded around it
        Vec sum{}, first{}, second{};
        for (int64_t t = begin + 1; t < middle; t++) sum += channels.read(a.x, t) - corner;
        const Vec center = corner + sum / (float)(middle - begin);
        for (int64_t t = begin; t < end; t++) {
            const Vec x = channels.read(a.x, t) - center;
            first += x;
            second += x * x;
        }
        channels.write_sums(chunk, {center, first, second});
    });
}

// y = gain x + offset, through SiLU if asked.
template <class E>
void norm_apply(const Norm& a, int64_t batch, int64_t, int64_t begin, int64_t end) {
    channel_blocks<E>(a, batch, [&](auto channels) {
        const Vec gain = channels.parameter(a.gain), offset = channels.parameter(a.offset);
        if (a.silu)
            for (int64_t t = begin; t < end; t++) {
                const Vec v = gain * channels.read(a.x, t) + offset;
                channels.write(a.y, t, silu<E>(v));
            }
        else
            for (int64_t t = begin; t < end; t++) channels.write(a.y, t, gain * channels.read(a.x, t) + offset);
    });
}

// The gradient of gain x + offset from that of y.
inline Vec before_silu(const Norm& a, Vec dy, Vec v) {
    return a.silu ? silu_gradient(dy, v, sigmoid(v)) : dy;
}

// Sums over the chunk of that gradient g and of g (x - center).
template <class E>
void norm_sums(const Norm& a, int64_t batch, int64_t chunk, int64_t begin, int64_t end) {
    channel_blocks<E>(a, batch, [&](auto channels) {
        const Vec gain = channels.parameter(a.gain), offset = channels.parameter(a.offset);
        const Vec center = channels.parameter(a.center);
        Vec first{}, second{};
        for (int64_t t = begin; t < end; t++) {
            const Vec x = channels.read(a.x, t);
            const Vec g = before_silu(a, channels.read(a.dy, t), gain * x + offset);
            first += g;
            second += g * (x - center);
        }
        channels.write_sums(chunk, {first, second});
    });
}

// dx = gain g + constant + slope x
template <class E>
void norm_gradient(const Norm& a, int64_t batch, int64_t, int64_t begin, int64_t end) {
    channel_blocks<E>(a, batch, [&](auto channels) {
        const Vec gain = channels.parameter(a.gain), offset = channels.parameter(a.offset);
        const Vec constant = channels.parameter(a.constant), slope = channels.parameter(a.slope);
        for (int64_t t = begin; t < end; t++) {
            const Vec x = channels.read(a.x, t);
            const Vec g = before_silu(a, channels.read(a.dy, t), gain * x + offset);
            channels.write(a.dx, t, gain * g + slope * x + constant);
        }
    });
}
