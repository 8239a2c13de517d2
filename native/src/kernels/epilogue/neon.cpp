// The epilogue for 64-bit ARM: 4 channels per vector.
#include "kernels/vec/neon.h"

#include "kernels/epilogue/epilogue.h"

namespace onebit {
namespace {

constexpr size_t kRegisters = 16;  // vectors that are processed at once

}  // namespace
}  // namespace onebit

#include "kernels/epilogue/body.h"

namespace onebit {
const EpilogueKernel epilogue_neon = {
    .isa = Isa::neon,
    .name = "epilogue_neon",
    .floats = finish_floats,
    .halves = finish_halves,
    .counts = finish_counts,
    .windows = finish_windows,
    .widen = widen,
};
}  // namespace onebit
