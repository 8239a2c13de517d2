// The epilogue for AVX-512: 16 channels per vector; comparisons give the bits directly.
#include "kernels/vec/avx512.h"

#include "kernels/epilogue/epilogue.h"

namespace onebit {
namespace {

constexpr size_t kRegisters = 12;  // vectors that are processed at once

}  // namespace
}  // namespace onebit

#include "kernels/epilogue/body.h"

namespace onebit {
const EpilogueKernel epilogue_avx512 = {
    .isa = Isa::avx512bw,
    .name = "epilogue_avx512",
    .floats = finish_floats,
    .halves = finish_halves,
    .counts = finish_counts,
    .windows = finish_windows,
    .widen = widen,
};
}  // namespace onebit
