// The limits of AVX-512: xor, count, add for 512 binary products; one fused multiply-add for 16 real ones.
#include "kernels/avx512.h"

#include "kernels/inline.h"
#include "kernels/limits/limits.h"

namespace onebit {
namespace {

#if defined(ONEBIT_FORGET)
constexpr size_t kSums = 24;

void count(size_t rounds) {
  __m512i sum_u32x16[kSums], activation = _mm512_setzero_si512(), weight = _mm512_setzero_si512();
  ONEBIT_FORGET(weight);
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA { sum_u32x16[i] = _mm512_setzero_si512(); });
  for (size_t r = 0; r < rounds; ++r) {
    unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA {
      ONEBIT_FORGET(activation);
      sum_u32x16[i] = _mm512_add_epi32(sum_u32x16[i], _mm512_popcnt_epi32(_mm512_xor_si512(activation, weight)));
    });
  }
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA { ONEBIT_FORGET(sum_u32x16[i]); });
}

void multiply(size_t rounds) {
  __m512 sum_f32x16[kSums], a = _mm512_set1_ps(1.0f), b = a;
  ONEBIT_FORGET(a);
  ONEBIT_FORGET(b);
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA {
    sum_f32x16[i] = _mm512_setzero_ps();
    ONEBIT_FORGET(sum_f32x16[i]);  // or all sums are one
  });
  for (size_t r = 0; r < rounds; ++r) {
    unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA { sum_f32x16[i] = _mm512_fmadd_ps(a, b, sum_f32x16[i]); });
  }
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA { ONEBIT_FORGET(sum_f32x16[i]); });
}

constexpr LimitLoop kBinary{kSums * 512, count}, kFloat{kSums * 16, multiply};
#else
constexpr LimitLoop kBinary, kFloat;
#endif

}  // namespace

const LimitLoops limits_avx512 = {Isa::avx512, kBinary, kFloat};

}  // namespace onebit
