// Selective scan, depthwise causal convolution and group norm for CPUs: plain C ABI, no torch headers.
//
// This file is compiled once per instruction set (KERNEL_ISA = avx512, avx2, baseline, with the flags that go with it)
// into one library; cpu_library.py picks the functions by their suffix. Sequences are channels-last: the channel stride
// is 1, batch and time strides are free; those of a scan may have their tokens side by side instead (cpu_layout.h), its
// results are channels-last. A vector holds neighbouring channels of one token, the states of these
// channels live in registers. A walk from the last token to the first is the same walk over mirrored rows.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <initializer_list>
#include <type_traits>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define EXPORT(name) extern "C" __attribute__((visibility("default"))) void JOIN(name, KERNEL_ISA)

namespace {  // internal linkage: two instruction sets must never share an inlined function

#include "cpu_vector.h"
//
#include "cpu_layout.h"
//
#include "cpu_scan.h"
//
#include "cpu_conv.h"
//
#include "cpu_norm.h"

// A large result is fresh memory, and the first touch of its pages of 4 kB would cost half as much as computing it: ask
// for huge ones.
inline void fresh(void* data, int64_t bytes) {
#if defined(MADV_HUGEPAGE)
    const uintptr_t page = 4096, begin = ((uintptr_t)data + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)data + bytes) / page * page;
    if (data && bytes >= 1 << 24) madvise((void*)begin, end - begin, MADV_HUGEPAGE);
#else
    (void)data, (void)bytes;
#endif
}

template <class Task>
void parallel(int64_t tasks, int64_t threads, Task task) {
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)threads) if (threads > 1 && tasks > 1)
    for (int64_t i = 0; i < tasks; i++) task(i);
}

// A task walks neighbouring channel groups of one set of one batch element: few and wide tasks, for whole rows of
// memory, but enough to keep the threads equally busy. The groups, and with them every rounding, do not depend on the
// threads.
template <class Task>
void scan_tasks(const Scan& a, Task task) {
    const int64_t groups = a.groups(), sets = a.batch * a.sets;
    int64_t spans = (a.threads + sets - 1) / sets;
    while (spans < groups && sets * spans % a.threads && sets * spans < 4 * a.threads) spans++;
    if (spans > groups) spans = groups;
    parallel(sets * spans, a.threads, [&](int64_t i) {
        const int64_t span = i % spans, set = i / spans % a.sets, width = a.width();
        const int64_t begin = groups * span / spans * a.group, end = groups * (span + 1) / spans * a.group;
        task(a, i / spans / a.sets, set * width + begin, set * width + (end < width ? end : width));
    });
}

// Of a Conv or a Norm: a task walks a chunk of rows.
template <class Rows, class Task>
void chunk_tasks(const Rows& a, Task task) {
    const int64_t chunks = (a.length + a.chunk - 1) / a.chunk;
    parallel(a.batch * chunks, a.threads, [&](int64_t i) {
        const int64_t begin = i % chunks * a.chunk, end = begin + a.chunk;
        task(a, i / chunks, i % chunks, begin, end < a.length ? end : a.length);
    });
}

}  // namespace

EXPORT(scan_forward)(const Scan* a) {
    fresh(a->y, a->bytes());
    scan_tasks(*a, a->half ? scan_forward<Bfloat16> : scan_forward<float>);
}

EXPORT(scan_backward)(const Scan* a) {
    for (void* result : {a->du, a->ddelta, a->dz}) fresh(result, a->bytes());
    scan_tasks(*a, a->half ? scan_backward<Bfloat16> : scan_backward<float>);
}

EXPORT(conv_forward)(const Conv* a) {
    fresh(a->y, a->bytes());
    chunk_tasks(*a, a->half ? a->width == 4 ? conv_forward<Bfloat16, 4> : conv_forward<Bfloat16, 0>
                           : a->width == 4 ? conv_forward<float, 4> : conv_forward<float, 0>);
}

EXPORT(conv_backward)(const Conv* a) {
    fresh(a->dx, a->bytes());
    chunk_tasks(*a, a->half ? a->width == 4 ? conv_backward<Bfloat16, 4> : conv_backward<Bfloat16, 0>
                           : a->width == 4 ? conv_backward<float, 4> : conv_backward<float, 0>);
}

EXPORT(norm_moments)(const Norm* a) { chunk_tasks(*a, a->half ? norm_moments<Bfloat16> : norm_moments<float>); }

EXPORT(norm_apply)(const Norm* a) {
    fresh(a->y, a->bytes());
    chunk_tasks(*a, a->half ? norm_apply<Bfloat16> : norm_apply<float>);
}

EXPORT(norm_sums)(const Norm* a) { chunk_tasks(*a, a->half ? norm_sums<Bfloat16> : norm_sums<float>); }

EXPORT(norm_gradient)(const Norm* a) {
    fresh(a->dx, a->bytes());
    chunk_tasks(*a, a->half ? norm_gradient<Bfloat16> : norm_gradient<float>);
}

#if defined(KERNEL_QUERIES)  // once in the library

// Raised with every change of what passes between them, or of TILE; cpu_library.py refuses a library of another number.
extern "C" __attribute__((visibility("default"))) int ramvid_vad_kernel_version() { return 5; }

// The best instruction set of this machine: 0 baseline, 1 avx2, 2 avx512.
extern "C" __attribute__((visibility("default"))) int ramvid_vad_best_isa() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}

#endif
