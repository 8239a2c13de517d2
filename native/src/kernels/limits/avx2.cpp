// The limits of AVX2: 9 instructions for 768 binary products by table lookup (see kernels/binary_conv/lookup.h), one
// fused multiply-add for 8 float products, and one multiplication of pairs and one addition for 16 int8 products.
#include <immintrin.h>

#include "kernels/limits/limits.h"

namespace onebit {
namespace {

#if defined(ONEBIT_FORGET)
constexpr size_t kSums = 12;
constexpr size_t kCounts = 4;  // of which each holds two sums

void count(size_t rounds) {
  __m256i low[kCounts], high[kCounts], rows = _mm256_setzero_si256(), weight = rows, mask = _mm256_set1_epi8(0x0F);
  ONEBIT_FORGET(weight);
  ONEBIT_FORGET(mask);
  unroll<kCounts>([&](auto i) ONEBIT_INLINE_LAMBDA { low[i] = high[i] = _mm256_setzero_si256(); });
  for (size_t r = 0; r < rounds; ++r) {
    unroll<kCounts>([&](auto i) ONEBIT_INLINE_LAMBDA {
      __m256i sum = _mm256_shuffle_epi8(rows, weight);
      unroll<2>([&](auto) ONEBIT_INLINE_LAMBDA {
        ONEBIT_FORGET(rows);
        sum = _mm256_add_epi8(sum, _mm256_shuffle_epi8(rows, weight));
      });
      ONEBIT_FORGET(rows);
      low[i] = _mm256_add_epi8(low[i], _mm256_and_si256(sum, mask));
      high[i] = _mm256_add_epi16(high[i], _mm256_srli_epi16(sum, 4));
    });
  }
  unroll<kCounts>([&](auto i) ONEBIT_INLINE_LAMBDA {
    ONEBIT_FORGET(low[i]);
    ONEBIT_FORGET(high[i]);
  });
}

void multiply(size_t rounds) {
  __m256 a = _mm256_set1_ps(1.0f), b = a;
  ONEBIT_FORGET(a);
  ONEBIT_FORGET(b);
  add_up<kSums>(rounds, _mm256_setzero_ps(),
                [&](__m256 sum) ONEBIT_INLINE_LAMBDA { return _mm256_fmadd_ps(a, b, sum); });
}

void multiply_pairs(size_t rounds) {
  __m256i a = _mm256_set1_epi16(1), b = a;
  ONEBIT_FORGET(b);
  add_up<kSums>(rounds, _mm256_setzero_si256(), [&](__m256i sum_s32x8) ONEBIT_INLINE_LAMBDA {
    ONEBIT_FORGET(a);
    return _mm256_add_epi32(sum_s32x8, _mm256_madd_epi16(a, b));
  });
}

constexpr LimitLoop kBinary{kCounts * 768, count}, kFloat{kSums * 8, multiply}, kInt8{kSums * 16, multiply_pairs};
#else
constexpr LimitLoop kBinary, kFloat, kInt8;
#endif

}  // namespace

const LimitLoops limits_avx2 = {.isa = Isa::avx2, .binary = kBinary, .float32 = kFloat, .int8 = kInt8};

}  // namespace onebit
