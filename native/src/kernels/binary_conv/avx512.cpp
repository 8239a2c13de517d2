// Binary convolution for AVX-512 with VPOPCNTDQ: broadcast 32 activations, XOR with the weights of 16 output channels,
// popcount, add. Four instructions for 512 products, bound by the throughput of the popcount, one per cycle.
#include "kernels/vec/avx512.h"

#include "kernels/binary_conv/binary_conv.h"

namespace onebit {
namespace {

constexpr size_t kPixels = 6;  // 6 pixels x 4 vectors of channels: 24 of 32 registers are accumulators
constexpr size_t kLanes = Vec::kLanes;

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
  IntVec sum[pixels * vectors];
  unroll<pixels * vectors>([&](auto i) ONEBIT_INLINE_LAMBDA { sum[i] = {_mm512_setzero_si512()}; });

  for (size_t r = 0; r < t.run_count; ++r) {
    const ptrdiff_t end = t.runs[r] + static_cast<ptrdiff_t>(4 * t.run_words);
    for (ptrdiff_t at = t.runs[r]; at < end; at += 4) {
      IntVec weight[vectors];
      unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA { weight[v] = IntVec::load_aligned(weights + 4 * kLanes * v); });
      weights += 4 * kBlock;
      unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA {
        const IntVec activation = IntVec::broadcast(pixel[p] + at);
        unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA {
          const __m512i differing = _mm512_xor_si512(activation.x, weight[v].x);
          sum[p * vectors + v] = IntVec::add(sum[p * vectors + v], {_mm512_popcnt_epi32(differing)});
        });
      });
    }
  }
  unroll<pixels * vectors>(
      [&](auto i) ONEBIT_INLINE_LAMBDA { sum[i].store(t.diff + i / vectors * kBlock + i % vectors * kLanes); });
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

const BinaryConvKernel binary_conv_avx512 = {
    .isa = Isa::avx512,
    .name = "binary_conv_avx512",
    .pixels = kPixels,
    .span = 1,
    .word_bytes = 4,
    .weight_bytes = 4,
    .best_from = 1,
    .prepare = nullptr,
    .pack_weights = pack_weights,
    .count = count,
};

}  // namespace onebit
