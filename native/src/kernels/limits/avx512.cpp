// The limits of AVX-512: XOR, popcount and add for 512 binary products or, without VPOPCNTDQ, 9 instructions for 1536
// by table lookup (see kernels/binary_conv/lookup.h); one fused multiply-add for 16 float products; one VPDPBUSD for 64
// int8 products.
#include "kernels/avx512.h"

#include "kernels/limits/limits.h"

namespace onebit {
namespace {

#if defined(ONEBIT_FORGET)
constexpr size_t kSums = 24;
constexpr size_t kCounts = 8;  // of which each holds two sums

void count(size_t rounds) {
  __m512i activation = _mm512_setzero_si512(), weight = activation;
  ONEBIT_FORGET(weight);
  add_up<kSums>(rounds, _mm512_setzero_si512(), [&](__m512i sum_u32x16) ONEBIT_INLINE_LAMBDA {
    ONEBIT_FORGET(activation);
    return _mm512_add_epi32(sum_u32x16, _mm512_popcnt_epi32(_mm512_xor_si512(activation, weight)));
  });
}

void look_up(size_t rounds) {
  __m512i low[kCounts], high[kCounts], rows = _mm512_setzero_si512(), weight = rows, mask = _mm512_set1_epi8(0x0F);
  ONEBIT_FORGET(weight);
  ONEBIT_FORGET(mask);
  unroll<kCounts>([&](auto i) ONEBIT_INLINE_LAMBDA { low[i] = high[i] = _mm512_setzero_si512(); });
  for (size_t r = 0; r < rounds; ++r) {
    unroll<kCounts>([&](auto i) ONEBIT_INLINE_LAMBDA {
      __m512i sum = _mm512_shuffle_epi8(rows, weight);
      unroll<2>([&](auto) ONEBIT_INLINE_LAMBDA {
        ONEBIT_FORGET(rows);
        sum = _mm512_add_epi8(sum, _mm512_shuffle_epi8(rows, weight));
      });
      ONEBIT_FORGET(rows);
      low[i] = _mm512_add_epi8(low[i], _mm512_and_si512(sum, mask));
      high[i] = _mm512_add_epi16(high[i], _mm512_srli_epi16(sum, 4));
    });
  }
  unroll<kCounts>([&](auto i) ONEBIT_INLINE_LAMBDA {
    ONEBIT_FORGET(low[i]);
    ONEBIT_FORGET(high[i]);
  });
}

void multiply(size_t rounds) {
  __m512 a = _mm512_set1_ps(1.0f), b = a;
  ONEBIT_FORGET(a);
  ONEBIT_FORGET(b);
  add_up<kSums>(rounds, _mm512_setzero_ps(),
                [&](__m512 sum) ONEBIT_INLINE_LAMBDA { return _mm512_fmadd_ps(a, b, sum); });
}

void multiply_bytes(size_t rounds) {
  __m512i a = _mm512_set1_epi32(0x01010101), b = a;
  ONEBIT_FORGET(a);
  ONEBIT_FORGET(b);
  add_up<kSums>(rounds, _mm512_setzero_si512(),
                [&](__m512i sum_s32x16) ONEBIT_INLINE_LAMBDA { return _mm512_dpbusd_epi32(sum_s32x16, a, b); });
}

constexpr LimitLoop kBinary{kSums * 512, count}, kLookUp{kCounts * 1536, look_up}, kFloat{kSums * 16, multiply},
    kInt8{kSums * 64, multiply_bytes, Feature::vnni};
#else
constexpr LimitLoop kBinary, kLookUp, kFloat, kInt8;
#endif

}  // namespace

const LimitLoops limits_avx512 = {.isa = Isa::avx512, .binary = kBinary, .float32 = kFloat, .int8 = kInt8};
const LimitLoops limits_avx512bw = {.isa = Isa::avx512bw, .binary = kLookUp, .float32 = kFloat, .int8 = kInt8};

}  // namespace onebit
