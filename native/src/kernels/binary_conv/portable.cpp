// Binary convolution in plain C++, for any CPU. The loop over channels is written for auto-vectorization.
#include <cstring>

#include "kernels/binary_conv/binary_conv.h"

namespace onebit {
namespace {

constexpr size_t kPixels = 4;
constexpr size_t kLanes = 16;         // channels counted at a time: they and the temporaries fit in 128-bit registers
constexpr size_t kWordsPerByte = 31;  // words whose counts (at most 8 a byte) fit in a byte

void pack_weights(const uint32_t* const* rows, size_t channels, size_t runs, size_t run_words, uint8_t* packed) {
  for (size_t w = 0; w < runs * run_words; ++w) {
    for (size_t c = 0; c < channels; ++c) std::memcpy(packed + 4 * (w * kBlock + c), rows[c] + w, 4);
  }
}

// Adds the number of bits of x in each byte to the bytes of `counts`.
inline uint32_t add_byte_counts(uint32_t counts, uint32_t x) {
  x -= (x >> 1) & 0x55555555u;
  x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
  return counts + ((x + (x >> 4)) & 0x0F0F0F0Fu);
}

void count_lanes(const BinaryTile& t, const uint8_t* pixel, size_t lane, int32_t* diff) {
  uint32_t bytes[kLanes] = {}, total[kLanes] = {};
  const auto flush = [&] {
    for (size_t i = 0; i < kLanes; ++i) {
      const uint32_t pairs = (bytes[i] & 0x00FF00FFu) + ((bytes[i] >> 8) & 0x00FF00FFu);
      total[i] += (pairs & 0xFFFFu) + (pairs >> 16);
      bytes[i] = 0;
    }
  };
  const uint8_t* weights = t.weights + 4 * lane;
  size_t room = kWordsPerByte;
  for (size_t r = 0; r < t.run_count; ++r) {
    const uint8_t* run = pixel + t.runs[r];
    for (size_t w = 0; w < t.run_words; ++w) {
      uint32_t activation, weight[kLanes];
      std::memcpy(&activation, run + 4 * w, 4);
      std::memcpy(weight, weights, sizeof weight);
      weights += 4 * kBlock;
      for (size_t i = 0; i < kLanes; ++i) bytes[i] = add_byte_counts(bytes[i], activation ^ weight[i]);
      if (--room == 0) {
        flush();
        room = kWordsPerByte;
      }
    }
  }
  flush();
  for (size_t i = 0; i < kLanes; ++i) diff[i] = static_cast<int32_t>(total[i]);
}

void count(const BinaryTile& t) {
  for (size_t lane = 0; lane < t.channels; lane += kLanes) {
    for (size_t p = 0; p < t.span_count; ++p) count_lanes(t, t.spans[p], lane, t.diff + p * kBlock + lane);
  }
}

}  // namespace

const BinaryConvKernel binary_conv_portable = {
    .isa = Isa::portable,
    .name = "binary_conv_portable",
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
