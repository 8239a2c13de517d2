// Binary convolution for AVX-512 with VPOPCNTDQ: broadcast 32 activations, xor with the weights of 16 output channels,
// count, add. Four operations for 512 products, of which the count (one a cycle) is the bound.
#include "kernels/avx512.h"

#include "kernels/binary_conv/binary_conv.h"
#include "kernels/inline.h"

namespace onebit {
namespace {

constexpr size_t kPixels = 6;  // 6 pixels x 4 vectors of channels: 24 of 32 registers accumulate
constexpr size_t kLanes = 16;

void pack_weights(const uint32_t* const* rows, size_t channels, size_t runs, size_t run_words, uint8_t* packed) {
  for (size_t w = 0; w < runs * run_words; ++w) {
    for (size_t c = 0; c < channels; ++c) __builtin_memcpy(packed + 4 * (w * kBlock + c), rows[c] + w, 4);
  }
}

template <size_t pixels, size_t vectors>
void count_tile(const BinaryTile& t) {
  const uint8_t* pixel[pixels];
  unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA { pixel[p] = t.spans[p]; });
  const uint8_t* weights = t.weights;
  __m512i sum_u32x16[pixels * vectors];
  unroll<pixels * vectors>([&](auto i) ONEBIT_INLINE_LAMBDA { sum_u32x16[i] = _mm512_setzero_si512(); });

  for (size_t r = 0; r < t.run_count; ++r) {
    const ptrdiff_t end = t.runs[r] + static_cast<ptrdiff_t>(4 * t.run_words);
    for (ptrdiff_t at = t.runs[r]; at < end; at += 4) {
      __m512i weight[vectors];
      unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA { weight[v] = _mm512_load_si512(weights + 4 * kLanes * v); });
      weights += 4 * kBlock;
      unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA {
        int32_t word;
        __builtin_memcpy(&word, pixel[p] + at, 4);
        const __m512i activation = _mm512_set1_epi32(word);
        unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA {
          __m512i& sum = sum_u32x16[p * vectors + v];
          sum = _mm512_add_epi32(sum, _mm512_popcnt_epi32(_mm512_xor_si512(activation, weight[v])));
        });
      });
    }
  }
  unroll<pixels * vectors>([&](auto i) ONEBIT_INLINE_LAMBDA {
    _mm512_storeu_si512(t.diff + i / vectors * kBlock + i % vectors * kLanes, sum_u32x16[i]);
  });
}

template <size_t pixels>
void count_pixels(const BinaryTile& t) {
  constexpr void (*by_vectors[])(const BinaryTile&) = {count_tile<pixels, 1>, count_tile<pixels, 2>,
                                                       count_tile<pixels, 3>, count_tile<pixels, 4>};
  by_vectors[(t.channels - 1) / kLanes](t);
}

void count(const BinaryTile& t) {
  constexpr void (*by_pixels[])(const BinaryTile&) = {count_pixels<1>, count_pixels<2>, count_pixels<3>,
                                                      count_pixels<4>, count_pixels<5>, count_pixels<6>};
  by_pixels[t.span_count - 1](t);
}

}  // namespace

const BinaryConvKernel binary_conv_avx512 = {Isa::avx512, "binary_conv_avx512", kPixels, 1, 4, 4, 1,
                                             nullptr,     pack_weights,         count};

}  // namespace onebit
