// Binary convolution for 64-bit ARM: broadcast 32 activations, XOR with the weights of 4 output channels, count the
// bits of each byte, add: three instructions for 128 products. The four bytes of a channel are adjacent and are summed
// at the end.
#include "kernels/vec/neon.h"

#include "kernels/binary_conv/binary_conv.h"

namespace onebit {
namespace {

constexpr size_t kPixels = 4;
constexpr size_t kVectors = 4;  // 4 pixels x 4 vectors of 4 channels: 16 of 32 registers are accumulators
constexpr size_t kLanes = Vec::kLanes;
constexpr size_t kWordsPerByte = 31;  // words whose counts (at most 8 a byte) fit in a byte

void pack_weights(const uint32_t* const* rows, size_t channels, size_t runs, size_t run_words, uint8_t* packed) {
  for (size_t w = 0; w < runs * run_words; ++w) {
    for (size_t c = 0; c < channels; ++c) __builtin_memcpy(packed + 4 * (w * kBlock + c), rows[c] + w, 4);
  }
}

// Counts for the channels from `channel` on.
template <size_t pixels>
void count_channels(const BinaryTile& t, size_t channel) {
  constexpr size_t kSums = pixels * kVectors;
  const uint8_t* pixel[pixels];
  unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA { pixel[p] = t.spans[p]; });
  const uint8_t* weights = t.weights + 4 * channel;
  uint8x16_t bytes[kSums];
  uint32x4_t sum_u32x4[kSums];
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA {
    bytes[i] = vdupq_n_u8(0);
    sum_u32x4[i] = vdupq_n_u32(0);
  });
  const auto widen = [&]() ONEBIT_INLINE_LAMBDA {
    unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA {
      sum_u32x4[i] = vpadalq_u16(sum_u32x4[i], vpaddlq_u8(bytes[i]));
      bytes[i] = vdupq_n_u8(0);
    });
  };
  size_t room = kWordsPerByte;
  for (size_t r = 0; r < t.run_count; ++r) {
    ptrdiff_t at = t.runs[r];
    for (size_t w = 0; w < t.run_words; ++w, at += 4, weights += 4 * kBlock) {
      uint8x16_t weight[kVectors];
      unroll<kVectors>([&](auto v) ONEBIT_INLINE_LAMBDA { weight[v] = vld1q_u8(weights + 16 * v); });
      unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA {
        const uint8x16_t activation = vreinterpretq_u8_s32(IntVec::broadcast(pixel[p] + at).x);
        unroll<kVectors>([&](auto v) ONEBIT_INLINE_LAMBDA {
          const size_t i = p * kVectors + v;
          bytes[i] = vaddq_u8(bytes[i], vcntq_u8(veorq_u8(activation, weight[v])));
        });
      });
      if (--room == 0) {
        widen();
        room = kWordsPerByte;
      }
    }
  }
  widen();
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA {
    int32_t* out = t.diff + i / kVectors * kBlock + channel + i % kVectors * kLanes;
    vst1q_s32(out, vreinterpretq_s32_u32(sum_u32x4[i]));
  });
}

template <size_t pixels>
void count_pixels(const BinaryTile& t) {
  for (size_t c = 0; c < t.channels; c += kVectors * kLanes) count_channels<pixels>(t, c);
}

void count(const BinaryTile& t) {
  constexpr void (*by_pixels[kPixels])(const BinaryTile&) = {count_pixels<1>, count_pixels<2>, count_pixels<3>,
                                                             count_pixels<4>};
  by_pixels[t.span_count - 1](t);
}

}  // namespace

const BinaryConvKernel binary_conv_neon = {
    .isa = Isa::neon,
    .name = "binary_conv_neon",
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
