// The int8 convolution for AVX2: products of bytes would saturate, so pixels and weights are widened to 16 bits and
// multiplied in pairs, 8 output channels at a time. 6 pixels x 16 channels in registers.
#include <immintrin.h>

#include "kernels/inline.h"
#include "kernels/int8_conv/int8_conv.h"

namespace onebit {
namespace {

struct Word {
  static constexpr ptrdiff_t kBytes = 4;
  __m256i s16x16;

  ONEBIT_INLINE static Word load(const uint8_t* p) {
    int32_t word;
    __builtin_memcpy(&word, p, sizeof word);
    return {_mm256_set1_epi32(word)};
  }
};

struct Weights {
  static constexpr size_t kBytes = 32;
  __m256i s16x16;

  ONEBIT_INLINE static Weights load(const uint8_t* p) {
    return {_mm256_load_si256(reinterpret_cast<const __m256i*>(p))};
  }
};

struct Sum {
  static constexpr size_t kLanes = 8;
  __m256i s32x8;

  ONEBIT_INLINE static Sum start(const int32_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
  ONEBIT_INLINE void add(Word x, Weights w) { s32x8 = _mm256_add_epi32(s32x8, _mm256_madd_epi16(x.s16x16, w.s16x16)); }
  ONEBIT_INLINE void store(const float* scale, float* y) const {
    _mm256_storeu_ps(y, _mm256_mul_ps(_mm256_loadu_ps(scale), _mm256_cvtepi32_ps(s32x8)));
  }
};

constexpr size_t kPixels = 6;
constexpr size_t kVectors = 2;

}  // namespace
}  // namespace onebit

#include "kernels/int8_conv/body.h"

namespace onebit {
const Int8ConvKernel int8_conv_avx2 = {Isa::avx2, Feature::none, "int8_conv_avx2", kPixels, kPanel, 2, 2, 0, multiply};
}  // namespace onebit
