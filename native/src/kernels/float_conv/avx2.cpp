// The real-valued convolution for AVX2 and FMA: 6 pixels x 16 channels in registers.
#include <immintrin.h>

#include "kernels/float_conv/float_conv.h"
#include "kernels/inline.h"

namespace onebit {
namespace {

struct Vec {
  static constexpr size_t kLanes = 8;
  __m256 x;

  ONEBIT_INLINE static Vec zero() { return {_mm256_setzero_ps()}; }
  ONEBIT_INLINE static Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  ONEBIT_INLINE void store(float* p) const { _mm256_storeu_ps(p, x); }
  ONEBIT_INLINE static Vec add(Vec a, Vec b) { return {_mm256_add_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec sub(Vec a, Vec b) { return {_mm256_sub_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec broadcast(const float* p) { return {_mm256_broadcast_ss(p)}; }
  ONEBIT_INLINE static Vec multiply_add(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.x, b.x, c.x)}; }
};

constexpr size_t kPixels = 6;
constexpr size_t kVectors = 2;

}  // namespace
}  // namespace onebit

#include "kernels/float_conv/body.h"

namespace onebit {
const FloatConvKernel float_conv_avx2 = {Isa::avx2, "float_conv_avx2", "float_rows_avx2", kPixels,
                                         kPanel,    multiply,          combine,           find_results};
}  // namespace onebit
