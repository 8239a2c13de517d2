// The int8 convolution in plain C++, for any CPU. The loop over channels is written for auto-vectorization: with a
// constant bound, compilers would unroll it instead.
#include <cstring>

#include "kernels/int8_conv/int8_conv.h"

namespace onebit {
namespace {

constexpr size_t kPixels = 4;
constexpr size_t kPanel = kBlock;
constexpr size_t kLanes = 16;  // channels are computed in multiples of this

void multiply_pixel(const Int8Tile& t, size_t pixel) {
  const size_t channels = round_up(t.channels, kLanes);
  int32_t sum[kBlock];
  std::memcpy(sum, t.start[pixel], sizeof sum);
  const auto* weights = reinterpret_cast<const int16_t*>(t.weights);
  for (size_t r = 0; r < t.run_count; ++r) {
    const auto* run = reinterpret_cast<const int16_t*>(t.pixels[pixel] + t.runs[r]);
    for (size_t w = 0; w < t.run_words; ++w, weights += kPanel) {
      const int16_t value = run[w];
      for (size_t c = 0; c < channels; ++c) sum[c] += static_cast<int32_t>(value) * weights[c];
    }
  }
  float* y = t.y + pixel * kBlock;
  for (size_t c = 0; c < channels; ++c) y[c] = t.scale[c] * static_cast<float>(sum[c]);
}

void multiply(const Int8Tile& t) {
  for (size_t p = 0; p < t.pixel_count; ++p) multiply_pixel(t, p);
}

}  // namespace

const Int8ConvKernel int8_conv_portable = {
    .isa = Isa::portable,
    .feature = Feature::none,
    .name = "int8_conv_portable",
    .pixels = kPixels,
    .panel = kPanel,
    .value_bytes = 2,
    .word_values = 1,
    .offset = 0,
    .multiply = multiply,
};

}  // namespace onebit
