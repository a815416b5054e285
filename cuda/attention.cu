// attention_*: attention over int8 keys and values (docs/spec/programs.md#attention), in kernels that
// keep one binary32 score for each (row, head, visible position) of a batch of rows, and nothing quadratic.
//
//   q8 [n, h, ql, dh] int8, sq [n, h, parts] float32      queries, quantised by quantise_heads
//   kq [t, hk, kl, dh] int8; ks [t, hk, parts] float32    h a multiple of hk; ql, kl, vl are limbs: 1 or 2
//   vq [t, hk, vl, pitch] int8, of which the first d of each pitch are values; vs [t, hk, step] float32, of which the
//                                    first of each step are scales
//   scores [n, h, span] 32 bits      positions lo .. lo + span - 1, where span reaches the last row's position
//   top, sum [n, h] float32          M and z of a row;   acc [n, h, d] int64, zero at the start
//   at                               one int64, or null for 0: a captured launch can be repeated for other positions
//   status                           one int32; set to 1 if a visible score is NaN or infinite
//   sinks [h] float32                or null;   cap: a cap of the scores, or 0;   levels: Q, 32639 or 2^26 by vl
//
// Row i (of n) is position p = *at + first + i and sees positions max(0, p + 1 - window) .. min(p + ahead, end - 1),
// or from 0 on if window is 0; lo is the first position that row 0 sees. Causal attention has ahead 0. span may be larger than the visible part. The grid's z
// dimension is the row, y the head: n and h are at most 65535. parts is 2 if latent > 0, else 1: then the first
// `latent` columns of a head have the first scale, and the others the second.
//
// check_scales       status |= 1 if a visible element of ks is NaN or infinite, |= 2 if one is negative; 4 and 8
//                    for those of vs, if it is not null; 16 if one of h sinks is NaN or infinite. Rows of ks and vs
//                    have kc and vc elements. one-dimensional grid of THREADS threads, grid-stride.
// attention_scores, attention_scores_limbs
//                    scores = sum over parts of f32(q8 . kq[j]) * (sq * ks[j]), * scale, then tanh(x / cap) * cap if
//                    there is a cap; the first kernel is for ql = kl = 1.
//                    grid (ceil(span / THREADS), h, n) x THREADS; 1 or 2 KiB of shared memory.
// attention_softmax  m = max, of the sink too; e = exp(x - m);
//                    z = tree(e), + exp(sink - m); w = e * vs; M = max w; scores becomes
//                    p = rint(w * (Q / M)), an int32, 0 if Q / M is not finite.
//                    grid (1, h, n) x THREADS; 1056 bytes of shared memory.
// attention_mix      acc += p vq over 256 positions: int32 inside for one limb (32639 * 128 * 256 < 2^31), int64 for
//                    two, then one 64-bit atomic addition; integer sums do not depend on their order.
//                    grid (ceil(span / 256), h, n) x THREADS; 1 KiB of shared memory.
// attention_finish   out [n, h, d] = (f32(acc) * (M / Q)) / z, +0 if Q / M is not finite.
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

__device__ __forceinline__ Visible visible(int row, const i64* at, int first, int window, int ahead, int end) {
  const int start = first + (at ? (int)*at : 0), t = start + row;
  const int lo = window && start + 1 > window ? start + 1 - window : 0;
  const int to = t + 1 + ahead < end ? t + 1 + ahead : end;
  return {lo, window && t + 1 - window > lo ? t + 1 - window - lo : 0, to - lo};
}

extern "C" __global__ void __launch_bounds__(THREADS)
    check_scales(const float* __restrict__ ks, const float* __restrict__ vs, const float* __restrict__ sinks, int kc,
                 int vc, int h, const i64* __restrict__ at, int first, int n, int window, int ahead, int end,
                 int* __restrict__ status) {
  const Visible see = visible(n - 1, at, first, window, ahead, end);
  int found = 0;
  for (i64 e = first_index(); e < (i64)see.to * kc; e += index_step()) {
    const float key = ks[(i64)see.lo * kc + e];
    if (!is_finite(key)) found |= 1;
    if (key < 0.0f) found |= 2;
  }
  if (vs)
    for (i64 e = first_index(); e < (i64)see.to * vc; e += index_step()) {
      const float value = vs[(i64)see.lo * vc + e];
      if (!is_finite(value)) found |= 4;
      if (value < 0.0f) found |= 8;
    }
  if (sinks)
    for (i64 e = first_index(); e < h; e += index_step())
      if (!is_finite(sinks[e])) found |= 16;
  if (found) atomicOr(status, found);
}

// One score for each thread of a block: its head's query times the key of the thread's position. A number of one
// limb has a high limb of 0; LIMBS is 1 if no number has more.
template <int LIMBS>
__device__ __forceinline__ void score(const i8* q8, const float* sq, const i8* kq, const float* ks, int ql, int kl,
                                      int latent, int h, int hk, int dh, const Visible& see, int span, float scale,
                                      float cap, float* scores, int* status) {
  __shared__ int query[LIMBS][THREADS];
  const int head = blockIdx.y, g = head / (h / hk), parts = latent ? 2 : 1;
  const i64 unit = (i64)blockIdx.z * h + head;
  const int j = blockIdx.x * THREADS + threadIdx.x;
  const bool inside = j >= see.from && j < see.to;
  const i64 place = (i64)(see.lo + j) * hk + g;
  float x = 0.0f;
  for (int part = 0; part < parts; ++part) {
    const int a = part ? latent : 0, width = (latent && !part ? latent : dh) - a;
    const bool qa = ((u64)(q8 + a) | (u64)dh) % 4 == 0, ka = ((u64)(kq + a) | (u64)dh) % 4 == 0;
    const i8 *from = q8 + unit * ql * dh + a, *key = kq + place * kl * dh + a;
    int sum[LIMBS][LIMBS] = {};
    for (int k = 0; k < width; k += 4 * THREADS) {
      __syncthreads();  // all threads have read the words of the step before
      if (LIMBS == 2) query[0][threadIdx.x] = ql == 2 ? load4(from, k + 4 * threadIdx.x, width, qa) : 0;
      query[LIMBS - 1][threadIdx.x] = load4(from + (i64)(ql - 1) * dh, k + 4 * threadIdx.x, width, qa);
      __syncthreads();
      const int words = width - k < 4 * THREADS ? (width - k + 3) / 4 : THREADS;
      if (inside)
        for (int c = 0; c < words; ++c) {
          if (LIMBS == 2 && kl == 2) {
            const int high = load4(key, k + 4 * c, width, ka);
            for (int i = 0; i < LIMBS; ++i) sum[i][0] = __dp4a(query[i][c], high, sum[i][0]);
          }
          const int low = load4(key + (i64)(kl - 1) * dh, k + 4 * c, width, ka);
          for (int i = 0; i < LIMBS; ++i) sum[i][LIMBS - 1] = __dp4a(query[i][c], low, sum[i][LIMBS - 1]);
        }
    }
    i64 whole = sum[0][0];
    if (LIMBS == 2)
      whole = 65536 * whole + 256 * ((i64)sum[0][LIMBS - 1] + sum[LIMBS - 1][0]) + sum[LIMBS - 1][LIMBS - 1];
    if (inside) {
      const float y = times(__ll2float_rn(whole), times(sq[unit * parts + part], ks[place * parts + part]));
      x = part ? plus(x, y) : y;
    }
  }
  if (!inside) return;
  x = times(x, scale);
  if (!is_finite(x)) atomicOr(status, 1);
  scores[unit * span + j] = cap > 0.0f ? times(canonical_tanh(over(x, cap)), cap) : x;
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    attention_scores(const i8* __restrict__ q8, const float* __restrict__ sq, const i8* __restrict__ kq,
                     const float* __restrict__ ks, int latent, int h, int hk, int dh, const i64* __restrict__ at,
                     int first, int span, int window, int ahead, int end, float scale, float cap,
                     float* __restrict__ scores, int* __restrict__ status) {
  const Visible see = visible(blockIdx.z, at, first, window, ahead, end);
  score<1>(q8, sq, kq, ks, 1, 1, latent, h, hk, dh, see, span, scale, cap, scores, status);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    attention_scores_limbs(const i8* __restrict__ q8, const float* __restrict__ sq, const i8* __restrict__ kq,
                           const float* __restrict__ ks, int ql, int kl, int latent, int h, int hk, int dh,
                           const i64* __restrict__ at, int first, int span, int window, int ahead, int end, float scale,
                           float cap, float* __restrict__ scores, int* __restrict__ status) {
  const Visible see = visible(blockIdx.z, at, first, window, ahead, end);
  score<2>(q8, sq, kq, ks, ql, kl, latent, h, hk, dh, see, span, scale, cap, scores, status);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    attention_softmax(float* __restrict__ scores, const float* __restrict__ vs, const float* __restrict__ sinks,
                      int step, float levels, int h, int hk, const i64* __restrict__ at, int first, int span,
                      int window, int ahead, int end, float* __restrict__ top, float* __restrict__ sum) {
  const int row = blockIdx.z, head = blockIdx.y, g = head / (h / hk);
  const i64 unit = (i64)row * h + head;
  const Visible see = visible(row, at, first, window, ahead, end);
  float* x = scores + unit * span + see.from;
  const float* value_scales = vs + ((i64)(see.lo + see.from) * hk + g) * step;
  const int count = see.to - see.from;
  u32 bits = sinks ? ordered_bits(sinks[head]) : 0;
  for (int j = threadIdx.x; j < count; j += THREADS) {
    const u32 b = ordered_bits(x[j]);
    bits = b > bits ? b : bits;
  }
  const float m = from_ordered_bits(block_max(bits));
  float z = tree_sum(
      [&](i64 j) {
        const float e = canonical_exp(minus(x[j], m));
        x[j] = e;  // this thread's own element, which nobody else visits
        return e;
      },
      count);
  if (sinks) z = plus(z, canonical_exp(minus(sinks[head], m)));
  bits = 0x80000000u;  // +0, the value at every position that is not visible
  for (int j = threadIdx.x; j < count; j += THREADS) {
    const float w = x[j] > 0.0f ? times(x[j], value_scales[(i64)j * hk * step]) : 0.0f;
    x[j] = w;
    const u32 b = ordered_bits(w);
    bits = b > bits ? b : bits;
  }
  const float most = from_ordered_bits(block_max(bits));
  const float ratio = over(levels, most);
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
    attention_mix(const int* __restrict__ weights, const i8* __restrict__ vq, int vl, int pitch, int h, int hk, int d,
                  const i64* __restrict__ at, int first, int span, int window, int ahead, int end,
                  u64* __restrict__ acc) {
  __shared__ int p[CHUNK];
  const int row = blockIdx.z, head = blockIdx.y, g = head / (h / hk);
  const i64 unit = (i64)row * h + head;
  const Visible see = visible(row, at, first, window, ahead, end);
  const int j0 = blockIdx.x * CHUNK;
  const int a = j0 > see.from ? j0 : see.from, b = j0 + CHUNK < see.to ? j0 + CHUNK : see.to;
  if (a >= b) return;  // the whole block
  for (int j = a + (int)threadIdx.x; j < b; j += THREADS) p[j - a] = weights[unit * span + j];
  __syncthreads();
  const i64 apart = (i64)hk * vl * pitch;
  for (int c = threadIdx.x; c < d; c += THREADS) {
    const i8* v = vq + (i64)(see.lo + a) * apart + (i64)g * vl * pitch + c;
    i64 whole = 0;
    if (vl == 1) {
      int sum = 0;
      for (int j = 0; j < b - a; ++j) sum += p[j] * (int)v[(i64)j * apart];
      whole = sum;
    } else {
      for (int j = 0; j < b - a; ++j) {
        const i8* both = v + (i64)j * apart;
        whole += (i64)p[j] * (256 * (int)both[0] + (int)both[pitch]);
      }
    }
    if (whole) atomicAdd(acc + unit * d + c, (u64)whole);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    attention_finish(const i64* __restrict__ acc, const float* __restrict__ top, const float* __restrict__ sum,
                     i64 units, int d, float levels, float* __restrict__ out) {
  for (i64 e = first_index(); e < units * d; e += index_step()) {
    const i64 unit = e / d;
    const bool usable = is_finite(over(levels, top[unit]));
    const float y = over(times(__ll2float_rn(acc[e]), over(top[unit], levels)), sum[unit]);
    out[e] = usable ? y : 0.0f;
  }
}
