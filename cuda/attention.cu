// attention_*: causal attention over int8 keys and values (docs/spec/programs.md#attention), in four kernels that
// keep one binary32 score for each (row, head, visible position) of a batch of rows, and nothing quadratic.
//
//   q8 [n, h, dh] int8, sq [n, h] float32     queries, quantised by quantise_rows
//   kq, vq [t, hk, dh] int8; ks, vs [t, hk] float32      h a multiple of hk
//   scores [n, h, span] 32 bits      positions lo .. lo + span - 1, where span reaches the last row's position
//   top, sum [n, h] float32          M and z of a row;   acc [n, h, dh] int64, zero at the start
//   at                               one int64, or null for 0: a captured launch can be repeated for other positions
//   status                           one int32; set to 1 if a visible score is NaN or infinite
//
// Row i (of n) is position p = *at + first + i and sees positions max(0, p + 1 - window) .. p, or 0 .. p if
// window is 0; lo is the first position that row 0 sees. span may be larger than the visible part. The grid's z
// dimension is the row, y the head: n and h are at most 65535.
//
// check_scales       status |= 1 if a visible element of ks is NaN or infinite, |= 2 if one is negative; 4 and 8
//                    for those of vs. one-dimensional grid of THREADS threads, grid-stride.
// attention_scores   scores = (f32(q8 . kq[j]) * (sq * ks[j])) * scale
//                    grid (ceil(span / THREADS), h, n) x THREADS; 1 KiB of shared memory.
// attention_softmax  m = max; e = exp(x - m); z = tree(e); w = e * vs; M = max w; scores becomes
//                    p = rint(w * (32639 / M)), an int32, 0 if 32639 / M is not finite.
//                    grid (1, h, n) x THREADS; 1056 bytes of shared memory.
// attention_mix      acc += p vq over 256 positions: int32 inside (32639 * 128 * 256 < 2^31), then one
//                    64-bit atomic addition; integer sums do not depend on their order.
//                    grid (ceil(span / 256), h, n) x THREADS; 1 KiB of shared memory.
// attention_finish   out [n, h, dh] = (f32(acc) * (M / 32639)) / z, +0 if 32639 / M is not finite.
//                    one-dimensional grid of THREADS threads, grid-stride.
//
// The tree of a row starts at its first visible position instead of at 0: it pairs positions by their residues
// modulo powers of two, and a shift keeps the pairs and at most exchanges two summands.
//
// Must hold: dh <= 2^15; visible scales finite and not negative (check_scales); span <= 2^24. Any alignment.
#include "canonical.cuh"

#define CHUNK 256

struct Visible {
  int lo;        // the first position that row 0 sees
  int from, to;  // what a row sees, relative to lo
};

__device__ __forceinline__ Visible visible(int row, const i64* at, int first, int window) {
  const int start = first + (at ? (int)*at : 0), t = start + row;
  const int lo = window && start + 1 > window ? start + 1 - window : 0;
  return {lo, window && t + 1 - window > lo ? t + 1 - window - lo : 0, t + 1 - lo};
}

extern "C" __global__ void __launch_bounds__(THREADS)
    check_scales(const float* __restrict__ ks, const float* __restrict__ vs, int hk, const i64* __restrict__ at,
                 int first, int n, int window, int* __restrict__ status) {
  const Visible see = visible(n - 1, at, first, window);
  const i64 count = (i64)see.to * hk, start = (i64)see.lo * hk;
  int found = 0;
  for (i64 e = first_index(); e < count; e += index_step()) {
    const float key = ks[start + e], value = vs[start + e];
    if (!is_finite(key)) found |= 1;
    if (key < 0.0f) found |= 2;
    if (!is_finite(value)) found |= 4;
    if (value < 0.0f) found |= 8;
  }
  if (found) atomicOr(status, found);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    attention_scores(const i8* __restrict__ q8, const float* __restrict__ sq, const i8* __restrict__ kq,
                     const float* __restrict__ ks, int h, int hk, int dh, const i64* __restrict__ at, int first,
                     int span, int window, float scale, float* __restrict__ scores, int* __restrict__ status) {
  __shared__ int query[THREADS];
  const int row = blockIdx.z, head = blockIdx.y, g = head / (h / hk);
  const i64 unit = (i64)row * h + head;
  const Visible see = visible(row, at, first, window);
  const int j = blockIdx.x * THREADS + threadIdx.x;
  const bool inside = j >= see.from && j < see.to;
  const bool qa = ((u64)q8 | (u64)dh) % 4 == 0, ka = ((u64)kq | (u64)dh) % 4 == 0;
  const i8* key = kq + ((i64)(see.lo + j) * hk + g) * dh;
  int sum = 0;
  for (int k = 0; k < dh; k += 4 * THREADS) {
    __syncthreads();  // all threads have read the words of the step before
    query[threadIdx.x] = load4(q8 + unit * dh, k + 4 * threadIdx.x, dh, qa);
    __syncthreads();
    const int words = dh - k < 4 * THREADS ? (dh - k + 3) / 4 : THREADS;
    if (inside)
      for (int c = 0; c < words; ++c) sum = __dp4a(query[c], load4(key, k + 4 * c, dh, ka), sum);
  }
  if (!inside) return;
  const float x = times(times(__int2float_rn(sum), times(sq[unit], ks[(i64)(see.lo + j) * hk + g])), scale);
  if (!is_finite(x)) atomicOr(status, 1);
  scores[unit * span + j] = x;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    attention_softmax(float* __restrict__ scores, const float* __restrict__ vs, int h, int hk,
                      const i64* __restrict__ at, int first, int span, int window, float* __restrict__ top,
                      float* __restrict__ sum) {
  const int row = blockIdx.z, head = blockIdx.y, g = head / (h / hk);
  const i64 unit = (i64)row * h + head;
  const Visible see = visible(row, at, first, window);
  float* x = scores + unit * span + see.from;
  const float* value_scales = vs + (i64)(see.lo + see.from) * hk + g;
  const int count = see.to - see.from;
  u32 bits = 0;
  for (int j = threadIdx.x; j < count; j += THREADS) {
    const u32 b = ordered_bits(x[j]);
    bits = b > bits ? b : bits;
  }
  const float m = from_ordered_bits(block_max(bits));
  const float z = tree_sum(
      [&](i64 j) {
        const float e = canonical_exp(minus(x[j], m));
        x[j] = e;  // this thread's own element, which nobody else visits
        return e;
      },
      count);
  bits = 0x80000000u;  // +0, the value at every position that is not visible
  for (int j = threadIdx.x; j < count; j += THREADS) {
    const float w = x[j] > 0.0f ? times(x[j], value_scales[(i64)j * hk]) : 0.0f;
    x[j] = w;
    const u32 b = ordered_bits(w);
    bits = b > bits ? b : bits;
  }
  const float most = from_ordered_bits(block_max(bits));
  const float ratio = over(32639.0f, most);
  const float r = is_finite(ratio) ? ratio : 0.0f;
  int* p = (int*)x;
  for (int j = threadIdx.x; j < count; j += THREADS) {
    const float w = x[j];
    p[j] = __float2int_rn(times(w, r));
  }
  if (threadIdx.x == 0) {
    top[unit] = most;
    sum[unit] = z;
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    attention_mix(const int* __restrict__ weights, const i8* __restrict__ vq, int h, int hk, int dh,
                  const i64* __restrict__ at, int first, int span, int window, u64* __restrict__ acc) {
  __shared__ int p[CHUNK];
  const int row = blockIdx.z, head = blockIdx.y, g = head / (h / hk);
  const i64 unit = (i64)row * h + head;
  const Visible see = visible(row, at, first, window);
  const int j0 = blockIdx.x * CHUNK;
  const int a = j0 > see.from ? j0 : see.from, b = j0 + CHUNK < see.to ? j0 + CHUNK : see.to;
  if (a >= b) return;  // the whole block
  for (int j = a + (int)threadIdx.x; j < b; j += THREADS) p[j - a] = weights[unit * span + j];
  __syncthreads();
  for (int c = threadIdx.x; c < dh; c += THREADS) {
    const i8* v = vq + ((i64)(see.lo + a) * hk + g) * dh + c;
    int sum = 0;
    for (int j = 0; j < b - a; ++j) sum += p[j] * (int)v[(i64)j * hk * dh];
    if (sum) atomicAdd(acc + unit * dh + c, (u64)(i64)sum);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    attention_finish(const i64* __restrict__ acc, const float* __restrict__ top, const float* __restrict__ sum,
                     i64 units, int dh, float* __restrict__ out) {
  for (i64 e = first_index(); e < units * dh; e += index_step()) {
    const i64 unit = e / dh;
    const bool usable = is_finite(over(32639.0f, top[unit]));
    const float y = over(times(__ll2float_rn(acc[e]), over(top[unit], 32639.0f)), sum[unit]);
    out[e] = usable ? y : 0.0f;
  }
}
