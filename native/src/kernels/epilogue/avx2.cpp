// The epilogue for AVX2: 8 channels per vector.
#include "kernels/vec/avx2.h"

#include "kernels/epilogue/epilogue.h"

namespace onebit {
namespace {

constexpr size_t kRegisters = 8;  // vectors that are processed at once

}  // namespace
}  // namespace onebit

#include "kernels/epilogue/body.h"

namespace onebit {
const EpilogueKernel epilogue_avx2 = {
    .isa = Isa::avx2,
    .name = "epilogue_avx2",
    .floats = finish_floats,
    .halves = finish_halves,
    .counts = finish_counts,
    .windows = finish_windows,
    .widen = widen,
};
}  // namespace onebit
