// The int8 convolution for AVX-512 with VNNI: one instruction multiplies four pixel values with the weights of 16
// output channels and adds all products, exactly. 6 pixels x 64 channels in registers.
#include "kernels/vec/avx512.h"

#include "kernels/int8_conv/int8_conv.h"

namespace onebit {
namespace {

// One int32 for each channel.
struct Sum {
  IntVec s32;

  ONEBIT_INLINE static Sum start(const int32_t* p) { return {IntVec::load(p)}; }
  ONEBIT_INLINE void add(IntVec pixel, IntVec weights) { s32.x = _mm512_dpbusd_epi32(s32.x, pixel.x, weights.x); }
  ONEBIT_INLINE IntVec total() const { return s32; }
};

constexpr size_t kPixels = 6;
constexpr size_t kVectors = 4;

}  // namespace
}  // namespace onebit

#include "kernels/int8_conv/body.h"

namespace onebit {
const Int8ConvKernel int8_conv_vnni = {
    .isa = Isa::avx512bw,
    .feature = Feature::vnni,
    .name = "int8_conv_vnni",
    .pixels = kPixels,
    .panel = kPanel,
    .value_bytes = 1,
    .word_values = 4,
    .offset = 0,
    .multiply = multiply,
};
}  // namespace onebit
