// The epilogue for AVX2: 8 channels a vector.
#include <immintrin.h>

#include "kernels/epilogue/epilogue.h"
#include "kernels/inline.h"

namespace onebit {
namespace {

ONEBIT_INLINE __m256i load_ints(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

ONEBIT_INLINE __m256i signed_sum(const int32_t* depth, const int32_t* diff) {
  const __m256i d = load_ints(diff);
  return _mm256_sub_epi32(load_ints(depth), _mm256_add_epi32(d, d));
}

struct Vec {
  static constexpr size_t kLanes = 8, kRegisters = 8;
  using Mask = __m256;
  __m256 x;

  ONEBIT_INLINE static Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  ONEBIT_INLINE static Vec load(const Half* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
  }
  ONEBIT_INLINE void store(float* p) const { _mm256_storeu_ps(p, x); }
  ONEBIT_INLINE void store(Half* p) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  ONEBIT_INLINE static Vec broadcast(float value) { return {_mm256_set1_ps(value)}; }
  ONEBIT_INLINE static Vec sum(const int32_t* depth, const int32_t* diff) {
    return {_mm256_cvtepi32_ps(signed_sum(depth, diff))};
  }
  ONEBIT_INLINE static Vec add(Vec a, Vec b) { return {_mm256_add_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec mul(Vec a, Vec b) { return {_mm256_mul_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec div(Vec a, Vec b) { return {_mm256_div_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Mask less(Vec a, Vec b) { return _mm256_cmp_ps(a.x, b.x, _CMP_LT_OQ); }
  ONEBIT_INLINE static Mask less_equal(Vec a, Vec b) { return _mm256_cmp_ps(a.x, b.x, _CMP_LE_OQ); }
  ONEBIT_INLINE static uint32_t bits(Mask mask) { return static_cast<uint32_t>(_mm256_movemask_ps(mask)); }
  ONEBIT_INLINE static Vec select(Mask mask, Vec yes, Vec no) { return {_mm256_blendv_ps(no.x, yes.x, mask)}; }
};

ONEBIT_INLINE uint32_t counts_below(const int32_t* depth, const int32_t* diff, const int32_t* below) {
  const __m256i less = _mm256_cmpgt_epi32(load_ints(below), signed_sum(depth, diff));
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(less)));
}

}  // namespace
}  // namespace onebit

#include "kernels/epilogue/body.h"

namespace onebit {
const EpilogueKernel epilogue_avx2 = {Isa::avx2,     "epilogue_avx2", finish_floats, finish_halves,
                                      finish_counts, finish_windows,  widen};
}  // namespace onebit
